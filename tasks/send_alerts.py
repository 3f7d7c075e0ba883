"""Sends the alerts that wait as one message, once nothing new came for a while."""

import time

from celery import Task

from worker.alerts import SEND_TASK, Alerts, compose, decide_wait_s
from worker.celery import app
from worker.limits import message_limits
from worker.logs import get_logger
from worker.memory import open_redis
from worker.notify import notify
from worker.settings import get_settings

log = get_logger(__name__)

_LIMIT_S = 60


@app.task(bind=True, name=SEND_TASK, routine=True, **message_limits(_LIMIT_S))  # type: ignore[untyped-decorator]
def send_alerts(self: Task) -> dict[str, object]:
    """Returns {"alerts": how many were told of, "delivered": whether every URL took the message}.

    Waits, as a message of its own, while more alerts come. Raises redis.RedisError.
    """
    settings = get_settings()
    with open_redis(settings) as client:
        alerts = Alerts(client)
        if wait_s := decide_wait_s(alerts.waiting(), time.time(), settings.notify_join_s):
            self.apply_async(countdown=wait_s)
            return {"alerts": 0, "delivered": False, "waits_s": round(wait_s, 1)}
        told = alerts.drain()
    if not told:
        return {"alerts": 0, "delivered": False}
    delivered = notify(settings.notify_urls, *compose(told))
    log.info("alerts sent", alerts=len(told), delivered=delivered)
    return {"alerts": len(told), "delivered": delivered}
