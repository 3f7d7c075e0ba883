"""Sends the alerts that wait as one message, once nothing new came for a while."""

import time
from collections.abc import Sequence

import redis
from celery import Task

from worker.alerts import DISK_FULL, FAILING, Alert, Alerts, compose, countdown_s, decide_wait_s
from worker.celery import app
from worker.limits import message_limits
from worker.logs import get_logger
from worker.notify import Kind, notify
from worker.policies import ALERTS_TASK
from worker.redis_client import open_redis
from worker.runs import tolerating_redis_outage
from worker.schedule import ALERTS_LIMIT_S
from worker.settings import get_settings

log = get_logger(__name__)

_RETRIES = 5
_RETRY_AFTER_S = 30


def kind_of(alerts: Sequence[Alert]) -> Kind:
    """Apprise's kind of the message that tells of `alerts`: by the worst of them."""
    kinds = {alert.kind for alert in alerts}
    if FAILING in kinds:
        return "failure"
    return "warning" if DISK_FULL in kinds else "success"


@app.task(  # type: ignore[untyped-decorator]
    bind=True,
    name=ALERTS_TASK,
    routine=True,
    autoretry_for=(redis.RedisError,),
    retry_kwargs={"max_retries": _RETRIES, "countdown": _RETRY_AFTER_S},
    **message_limits(ALERTS_LIMIT_S),
)
def send_alerts(self: Task, positions: list[int] | None = None) -> dict[str, object]:
    """Returns {"alerts": how many were told of, "delivered": whether every URL took the message}, and
    "waits_s", seconds, where it put itself off because more alerts come. Raises celery's Retry.

    What was taken is sent by this task alone, and again where it was killed. A URL that did not take the
    message gets it again, up to _RETRIES times: `positions` are those of such URLs, None for all (a URL holds
    tokens, and arguments are shown). A worker without URLs leaves the alerts to one that has some.
    """
    settings, task_id = get_settings(), str(self.request.id)
    with open_redis(settings) as client:
        alerts = Alerts(client)
        has_taken = alerts.has_taken(task_id)
        if not settings.notify_urls:
            if has_taken and self.request.retries < _RETRIES:
                raise self.retry(countdown=_RETRY_AFTER_S, max_retries=_RETRIES)
            if has_taken:
                alerts.give_back(task_id)
            return {"alerts": 0, "delivered": False}
        waiting = [] if has_taken else alerts.waiting()
        wait_s = decide_wait_s(waiting, time.time(), settings.notify_join_s)
        # Beat's message expires, and its retries and second deliveries with it: it takes nothing.
        if wait_s or (waiting and self.request.expires):
            self.apply_async(countdown=countdown_s(wait_s))
            return {"alerts": 0, "delivered": False, "waits_s": round(wait_s, 1)}
        told = alerts.take(task_id)
        if not told:
            return {"alerts": 0, "delivered": False}
        urls = [url for at, url in enumerate(settings.notify_urls) if positions is None or at in positions]
        refused = notify(urls, *compose(told), kind_of(told))
        if refused and self.request.retries < _RETRIES:
            again = [at for at, url in enumerate(settings.notify_urls) if url in refused]
            raise self.retry(kwargs={"positions": again}, countdown=_RETRY_AFTER_S, max_retries=_RETRIES)
        with tolerating_redis_outage():  # a retry would send it all again; what is left expires
            alerts.done(task_id)
    delivered = not refused
    log.info("alerts sent", alerts=len(told), delivered=delivered)
    return {"alerts": len(told), "delivered": delivered}
