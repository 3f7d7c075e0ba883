"""What people are told of: a host that keeps failing, or is back; a disk that fills. In one message."""

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
MOST_LINES = 20
SEND_TASK = "tasks.send_alerts"

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
    not for ever.
    """
    if not alerts:
        return 0
    quiet_at, latest = alerts[-1].ts + join_s, alerts[0].ts + LONGEST_WAIT * join_s
    return min(max(min(quiet_at, latest) - now, 0), join_s)  # not longer, should a clock be wrong


def compose(alerts: Sequence[Alert]) -> tuple[str, str]:
    """(title, body) of the one message that tells of `alerts`, the worst first."""
    by_kind = {kind: [alert for alert in alerts if alert.kind == kind] for kind in KINDS}
    title = ", ".join(f"{_hosts(some)} {kind}" for kind, some in by_kind.items() if some)
    lines = [f"{alert.host}: {alert.text}" for some in by_kind.values() for alert in some]
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more; `holystone hosts` shows all"]
    return f"Holystone: {title}", "\n".join(lines)


def _hosts(alerts: Sequence[Alert]) -> str:
    hosts = {alert.host for alert in alerts}
    return hosts.pop() if len(hosts) == 1 else f"{len(hosts)} hosts"


class Alerts:
    """The alerts that wait in Redis. Every method is one round trip; all raise redis.RedisError."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def add(self, alert: Alert) -> tuple[int, Alert]:
        """Appends one; returns how many wait now, and the first of them."""
        with self._redis.pipeline() as pipe:
            pipe.rpush(KEY, json.dumps(asdict(alert)))
            pipe.lindex(KEY, 0)
            count, first = pipe.execute()
        return count, _decode(first)

    def waiting(self) -> list[Alert]:
        """All that wait, in the order of their coming."""
        return [_decode(text) for text in cast("list[str]", self._redis.lrange(KEY, 0, -1))]

    def drain(self) -> list[Alert]:
        """All that wait, which wait no longer: no other call returns them."""
        with self._redis.pipeline() as pipe:
            pipe.lrange(KEY, 0, -1)
            pipe.delete(KEY)
            return [_decode(text) for text in pipe.execute()[0]]


def _decode(text: str) -> Alert:
    return Alert(**json.loads(text))


def decide_sending(count: int, first: Alert, now: float, join_s: float) -> bool:
    """Whether a new alert, now one of `count`, needs a task that sends them: none is on its way yet, or it
    was lost."""
    return count == 1 or now - first.ts > 2 * LONGEST_WAIT * join_s


def note_failing(client: redis.Redis, settings: Settings, host: str, job: str, text: str, now: float) -> None:
    """A job has failed on a host FAILURES times in a row, or more: an alert, if no job did before."""
    with client.pipeline() as pipe:
        pipe.sadd(_failing(host), job)
        pipe.scard(_failing(host))
        if pipe.execute() == [1, 1]:
            told = f"failed {FAILURES} times in a row. {text}"
            raise_alert(client, settings, Alert(FAILING, host, told, now))


def note_working(client: redis.Redis, settings: Settings, host: str, job: str, now: float) -> None:
    """A job that was failing on a host has succeeded: an alert, if that was the last one."""
    with client.pipeline() as pipe:
        pipe.srem(_failing(host), job)
        pipe.scard(_failing(host))
        if pipe.execute() == [1, 0]:
            raise_alert(client, settings, Alert(BACK, host, f"{job} works again.", now))


def _failing(host: str) -> str:
    return f"holystone:failing:{host}"


def raise_alert(client: redis.Redis, settings: Settings, alert: Alert) -> None:
    """Puts the alert with those that wait, and has them sent in time. Raises redis.RedisError, or what
    Celery raises where a message can't be sent."""
    if not settings.notify_urls:
        return
    count, first = Alerts(client).add(alert)
    if decide_sending(count, first, alert.ts, settings.notify_join_s):
        current_app.send_task(SEND_TASK, countdown=settings.notify_join_s)
