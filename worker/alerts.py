"""Alerts: a host keeps failing or recovers, a disk fills or has room. Those close in time are one message."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple, cast

import redis
from celery import current_app

from worker.disk_memory import ABOVE
from worker.policies import ALERTS_TASK, TABLE_OF
from worker.settings import Settings

KEY = "holystone:alerts"
ALERT_AFTER_FAILURES = 3  # in a row
MAX_WAIT_JOINS = 15  # an alert is sent after this many times `notify_join_s`, even while others keep coming
MOST_LINES, LONGEST_LINE = 10, 160  # Discord takes 2,000 characters
KEPT_S = 7 * 86_400  # alerts that no worker sends
FAILING_KEPT_S = 2 * 366 * 86_400  # of a host that is no longer served; longer than any interval
LONGEST_COUNTDOWN_S = 30
# Applies a Change and queues its alert in one step, so that neither a killed worker nor a lost answer leaves
# one without the other. Returns how many alerts are queued then, -1 where it is no news.
_CHANGE = """
local command, member, alert, kept_s, queue_kept_s = unpack(ARGV)
local among, before = {}, redis.call('scard', KEYS[1])
for at = 6, #ARGV do among[ARGV[at]] = true end
for _, other in ipairs(next(among) and redis.call('smembers', KEYS[1]) or {}) do
  if not among[other] then redis.call('srem', KEYS[1], other) end
end
local news = redis.call(command, KEYS[1], member) == 1
if next(among) then
  local after = redis.call('scard', KEYS[1])
  if command == 'sadd' then
    redis.call('expire', KEYS[1], kept_s)
    news = news and after == 1
  else
    news = before > 0 and after == 0
  end
end
if not news then return -1 end
if alert == '' then return 0 end
local queued = redis.call('rpush', KEYS[2], alert)
redis.call('expire', KEYS[2], queue_kept_s)
return queued
"""

# Alert kinds, worst first. A title says `<host or number of hosts> <kind>`.
FAILING, DISK_FULL, BACK, DISK_OK = KINDS = ("failing", "disk full", "back", "disk has room")


@dataclass(frozen=True)
class Alert:
    """What happened to one host: one of KINDS, a sentence about it, and when in Unix seconds."""

    kind: str
    host: str
    text: str
    ts: float


def decide_wait_s(alerts: Sequence[Alert], now: float, join_s: float) -> float:
    """Seconds to wait before `alerts` (oldest first) are sent; 0 means now.

    Until none has come for `join_s`, so that an outage is one message and not a thousand; at most
    MAX_WAIT_JOINS times that after the first. An alert from the future (a wrong clock) is not waited for.
    """
    if not alerts:
        return 0
    wait_s = min(alerts[-1].ts + join_s, alerts[0].ts + MAX_WAIT_JOINS * join_s) - now
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

    def waiting(self) -> list[Alert]:
        """All queued alerts, oldest first."""
        return _decode(cast("list[str]", self._redis.lrange(KEY, 0, -1)))

    def has_taken(self, task_id: str) -> bool:
        """Whether the task holds alerts: it is a retry, or was killed."""
        return bool(self._redis.exists(f"{KEY}:{task_id}"))

    def take(self, task_id: str) -> list[Alert]:
        """Claims all queued alerts for one task: no other gets them, and its retries get the same ones."""
        taken = f"{KEY}:{task_id}"
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.renamenx(KEY, taken)
            pipe.expire(taken, KEPT_S)
            pipe.lrange(taken, 0, -1)
            return _decode(pipe.execute(raise_on_error=False)[2])  # with none queued, RENAMENX is an error

    def give_back(self, task_id: str) -> None:
        """Queues again what the task took, unless others are queued by now. It must have taken some."""
        self._redis.renamenx(f"{KEY}:{task_id}", KEY)

    def done(self, task_id: str) -> None:
        """Forgets what the task took: it was sent, or given up."""
        self._redis.delete(f"{KEY}:{task_id}")


def _decode(texts: Sequence[str]) -> list[Alert]:
    """Leaves out what can't be decoded: another version may have written it."""
    alerts = []
    for text in texts:
        with contextlib.suppress(ValueError, TypeError):
            alerts.append(Alert(**json.loads(text)))
    return alerts


def note_failure(
    client: redis.Redis, settings: Settings, host: str, job: str, failures: int, text: str, now: float
) -> None:
    """A job has failed `failures` times in a row on a host: at ALERT_AFTER_FAILURES an alert, unless another
    job raised one already."""
    if failures < ALERT_AFTER_FAILURES:
        return
    told = f"{job} failed {ALERT_AFTER_FAILURES} times in a row. {text}"
    alert = Alert(FAILING, host, told, now)
    note_change(client, settings, _failing(settings, host, job, True), alert)


def note_working(client: redis.Redis, settings: Settings, host: str, job: str, now: float) -> None:
    """A job has succeeded: an alert, if it was the last job failing on the host."""
    alert = Alert(BACK, host, f"{job} works again.", now)
    note_change(client, settings, _failing(settings, host, job, False), alert)


def note_disk(client: redis.Redis, settings: Settings, above: bool, alert: Alert) -> bool:
    """A host's disk is above its alert threshold, or no longer: an alert. True for who says so first."""
    return note_change(client, settings, Change(ABOVE, alert.host, above), alert)


def _failing(settings: Settings, host: str, job: str, is_in: bool) -> "Change":
    """A job of a host fails, or no longer. One that was switched off while it failed counts no more."""
    known = settings.fleet.get(host)
    enabled = [each for each in TABLE_OF if known is None or known.policy_of(each).enabled]
    return Change(f"holystone:failing:{host}", job, is_in, among=(job, *enabled))


class Change(NamedTuple):
    """`member` enters or leaves a set in Redis, which is news.

    With `among`, what is in the set and not among these leaves it too, and news is only that the set is no
    longer empty, or empty again. Such a set is kept for FAILING_KEPT_S.
    """

    key: str
    member: str
    is_in: bool
    among: tuple[str, ...] = ()


def note_change(client: redis.Redis, settings: Settings, change: Change, alert: Alert) -> bool:
    """Queues `alert` where the change is news, and says whether it is.

    The first in the queue also sends the task that delivers them all. Raises redis.RedisError, or what Celery
    raises where that task can't be sent; then beat's next `send-alerts` delivers them.
    """
    text = json.dumps(asdict(alert)) if settings.notify_urls else ""
    command = "sadd" if change.is_in else "srem"
    argv = (command, change.member, text, str(FAILING_KEPT_S), str(KEPT_S), *change.among)
    queued = cast(int, client.eval(_CHANGE, 2, change.key, KEY, *argv))
    if queued == 1:
        current_app.send_task(ALERTS_TASK, countdown=countdown_s(settings.notify_join_s))
    return queued >= 0


def countdown_s(wait_s: float) -> float:
    """`wait_s`, capped: a countdown longer than the visibility timeout has the message delivered twice."""
    return min(wait_s, LONGEST_COUNTDOWN_S)
