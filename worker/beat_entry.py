"""An entry of beat's schedule: when it is due, also after a clock that was wrong."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from redbeat.decoder import to_timestamp
from redbeat.schedulers import RedBeatSchedulerEntry, get_redis

from worker.logs import get_logger

log = get_logger(__name__)


class Entry(RedBeatSchedulerEntry):  # type: ignore[misc]
    """Due one interval after its last run, or now where only a wrong clock can have written that one.

    RedBeat's own counts the time since the last run twice: after a restart of beat, many that only seem due
    would keep it from those that are.
    """

    @property
    def due_at(self) -> datetime:
        now: datetime = self._default_now()
        if self.last_run_at is None or self._is_from_a_wrong_clock(now):
            return now
        due: datetime = self.last_run_at + self.schedule.run_every
        return max(due, now)

    def is_due(self) -> Any:
        if self.last_run_at is not None and self._is_from_a_wrong_clock(self._default_now()):
            return True, self.schedule.seconds
        return super().is_due()

    def _is_from_a_wrong_clock(self, now: datetime) -> bool:
        """A last run further ahead than an interval is no reason to wait for it, as in `decide_prune`."""
        return bool(self.last_run_at - now > self.schedule.run_every)


def load_entries(app: Any, keys: Iterable[str]) -> Iterator[Entry]:
    """The entries of these keys; a key of none leaves the schedule."""
    client, keys = get_redis(app), list(keys)
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hmget(key, "definition", "meta")
        found = pipe.execute()
    for key, (definition, meta) in zip(keys, found, strict=True):
        if not definition:
            log.warning("no such entry, removed", key=key)
            client.zrem(app.redbeat_conf.schedule_key, key)
            continue
        known = Entry.decode_definition(definition) | Entry.decode_meta(meta)
        entry = Entry(app=app, **known)
        entry.last_run_at = known["last_run_at"]  # Celery says "now" for None
        yield entry


def find_put_off(dues: Iterable[tuple[str, float]], intervals: Mapping[str, float], now: float) -> list[str]:
    """The keys that are due later than two intervals from `now`; without an interval, any that is not due.

    Times are Unix seconds, intervals seconds. A clock that is right, and was, puts nothing off so far.
    """
    return [key for key, due in dues if due > now + 2 * intervals.get(key, 0)]


def set_due_times_right(app: Any) -> None:
    """What a wrong clock put off is due by this one. Reads all due times, but loads such entries only."""
    client, key = get_redis(app), app.redbeat_conf.schedule_key
    entries = app.conf.beat_schedule.items()
    intervals = {Entry.generate_key(app, name): entry["schedule"] for name, entry in entries}
    dues = client.zrange(key, 0, -1, withscores=True)
    put_off = load_entries(app, find_put_off(dues, intervals, to_timestamp(app.now())))
    scores = {entry.key: entry.score for entry in put_off}
    changed = client.zadd(key, scores, xx=True, ch=True) if scores else 0
    if changed:
        log.warning("clock was wrong, due times set right", entries=changed)
