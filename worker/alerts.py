"""What people are told of: a host that keeps failing, or is back; a disk that fills. In one message."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

import redis
from celery import current_app

from worker.settings import Settings

KEY = "holystone:alerts"
FAILURES = 3  # in a row, before anybody is told
LONGEST_WAIT = 15  # times `notify_join_s`, from the first alert to its message
MOST_LINES, LONGEST_LINE = 10, 160  # Discord takes 2,000 characters
REMEMBERED_S = 7 * 86_400  # a job that was switched off while it failed must not mute its host for ever
SEND_TASK = "tasks.send_alerts"
LONGEST_COUNTDOWN_S = 30

# Kinds, as a title says them after a host or a number of hosts; the worst first.
FAILING, DISK_FULL, BACK, DISK_OK = KINDS = ("failing", "disk full", "back", "disk has room")


@dataclass(frozen=True)
class Alert:
    """What happened to one host: one of KINDS, a sentence about it, and when in Unix seconds."""

    kind: str
    host: str
    text: str
    ts: float


def decide_wait_s(alerts: Sequence[Alert], now: float, join_s: float) -> float:
    """Seconds until `alerts`, in the order of their coming, are to be sent; 0 is now.

    They wait until nothing new came for `join_s`, so that an outage is one message and not a thousand, but
    not for ever, and not for a clock that was wrong.
    """
    if not alerts:
        return 0
    wait_s = min(alerts[-1].ts + join_s, alerts[0].ts + LONGEST_WAIT * join_s) - now
    return wait_s if 0 < wait_s <= join_s else 0


def compose(alerts: Sequence[Alert]) -> tuple[str, str]:
    """(title, body) of the one message that tells of `alerts`, the worst first."""
    by_kind = {kind: [alert for alert in alerts if alert.kind == kind] for kind in KINDS}
    title = ", ".join(f"{_hosts(some)} {kind}" for kind, some in by_kind.items() if some)
    told = [f"{alert.host}: {' '.join(alert.text.split())}" for some in by_kind.values() for alert in some]
    lines = [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…" for line in dict.fromkeys(told)]
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more"]
    return f"Holystone: {title}", "\n".join(lines)


def _hosts(alerts: Sequence[Alert]) -> str:
    hosts = {alert.host for alert in alerts}
    return hosts.pop() if len(hosts) == 1 else f"{len(hosts)} hosts"


class Alerts:
    """The alerts in Redis. Every method is one round trip; all raise redis.RedisError."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def add(self, alert: Alert) -> int:
        """Puts one with those that wait; returns how many wait now."""
        return cast(int, self._redis.rpush(KEY, json.dumps(asdict(alert))))

    def waiting(self) -> list[Alert]:
        """All that wait, in the order of their coming."""
        return _decode(cast("list[str]", self._redis.lrange(KEY, 0, -1)))

    def take(self, task_id: str) -> list[Alert]:
        """All that wait, now in the hands of one task: no other gets them, and it gets them each time."""
        taken = f"{KEY}:{task_id}"
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.renamenx(KEY, taken)
            pipe.expire(taken, REMEMBERED_S)
            pipe.lrange(taken, 0, -1)
            return _decode(pipe.execute(raise_on_error=False)[2])  # there may be none to rename

    def done(self, task_id: str) -> None:
        """What the task took was sent, or given up."""
        self._redis.delete(f"{KEY}:{task_id}")


def _decode(texts: Sequence[str]) -> list[Alert]:
    """Without what can't be read: another version may have written it."""
    alerts = []
    for text in texts:
        with contextlib.suppress(ValueError, TypeError):
            alerts.append(Alert(**json.loads(text)))
    return alerts


def note_failing(client: redis.Redis, settings: Settings, host: str, job: str, text: str, now: float) -> None:
    """A job has failed on a host FAILURES times in a row, or more: an alert, if no job did before."""
    with client.pipeline() as pipe:
        pipe.sadd(_failing(host), job)
        pipe.scard(_failing(host))
        pipe.expire(_failing(host), REMEMBERED_S)
        is_news = pipe.execute()[:2] == [1, 1]
    if is_news:
        told = f"{job} failed {FAILURES} times in a row. {text}"
        raise_alert(client, settings, Alert(FAILING, host, told, now))


def note_working(client: redis.Redis, settings: Settings, host: str, job: str, now: float) -> None:
    """A job has succeeded: an alert, if it was the last one that was failing on the host."""
    with client.pipeline() as pipe:
        pipe.srem(_failing(host), job)
        pipe.scard(_failing(host))
        is_news = pipe.execute() == [1, 0]
    if is_news:
        raise_alert(client, settings, Alert(BACK, host, f"{job} works again.", now))


def _failing(host: str) -> str:
    return f"holystone:failing:{host}"


def raise_alert(client: redis.Redis, settings: Settings, alert: Alert) -> None:
    """Puts the alert with those that wait, and has them sent in time. Raises redis.RedisError, or what
    Celery raises where a message can't be sent; beat's next one makes up for that."""
    if settings.notify_urls and Alerts(client).add(alert) == 1:
        current_app.send_task(SEND_TASK, countdown=countdown_s(settings.notify_join_s))


def countdown_s(wait_s: float) -> float:
    """How long a message may wait for its time: the visibility timeout gives it to another worker later."""
    return min(wait_s, LONGEST_COUNTDOWN_S)
