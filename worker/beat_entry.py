"""An entry of beat's schedule: when it is due, also after a clock that was wrong."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from celery.schedules import schedstate
from redbeat.decoder import RedBeatJSONEncoder, to_timestamp
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
        if self.last_run_at is None or self.last_run_is_ahead:
            return now
        due: datetime = self.last_run_at + self.schedule.run_every
        return max(due, now)

    @property
    def last_run_is_ahead(self) -> bool:
        """By more than an interval, which is no reason to wait for it, as in `decide_prune`."""
        if self.last_run_at is None:
            return False
        return bool(self.last_run_at - self._default_now() > self.schedule.run_every)

    def is_due(self) -> schedstate:
        if self.last_run_is_ahead:
            return schedstate(is_due=True, next=self.schedule.seconds)
        return schedstate(*super().is_due())

    def save_by(self, pipe: Any) -> None:
        """`save`, with the pipeline's next execution: a last run that is there stays, and its due time too
        if a wrong clock wrote both. That is judged by the beat that holds the lock: `set_due_times_right`."""
        fields = ("name", "task", "args", "kwargs", "options", "schedule", "enabled")
        definition = {field: getattr(self, field) for field in fields}
        pipe.hset(self.key, "definition", json.dumps(definition, cls=RedBeatJSONEncoder))
        pipe.hsetnx(self.key, "meta", json.dumps({"last_run_at": self.last_run_at}, cls=RedBeatJSONEncoder))
        conf = self.app.redbeat_conf
        pipe.zadd(conf.schedule_key, {self.key: self.score}, nx=self.last_run_is_ahead)
        pipe.sadd(conf.statics_key, self.name)  # so that it goes when it leaves the settings


def make_entry(app: Any, name: str) -> Entry:
    """The settings' entry of this name, as never run. Raises KeyError."""
    entry = Entry(app=app, name=name, **app.conf.beat_schedule[name])
    entry.last_run_at = None  # Celery says "now", so that a new entry would wait one interval first
    return entry


def load_entries(app: Any, keys: Iterable[str]) -> list[Entry]:
    """The entries of these keys. Where Redis lost one, the settings' is written; a key of none is removed."""
    client, keys = get_redis(app), list(keys)
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hmget(key, "definition", "meta")
        found = pipe.execute()
    entries = []
    for key, (definition, meta) in zip(keys, found, strict=True):
        name, known = key.removeprefix(app.redbeat_conf.key_prefix), Entry.decode_meta(meta)
        if definition:
            entry = Entry(app=app, **Entry.decode_definition(definition) | known)
        elif name in app.conf.beat_schedule:
            entry = make_entry(app, name)
        else:
            log.warning("no such entry, removed", key=key)
            client.zrem(app.redbeat_conf.schedule_key, key)
            continue
        entry.last_run_at = known["last_run_at"]  # Celery says "now" for None
        if not definition:
            log.warning("entry lost, written again", key=key)
            with client.pipeline() as pipe:
                entry.save_by(pipe)
                pipe.execute()
        entries.append(entry)
    return entries


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
    if not put_off:
        return
    with client.pipeline() as pipe:
        for entry in put_off:
            if entry.last_run_is_ahead:
                pipe.hdel(entry.key, "meta")  # else it may not be due any more once a tick gets to it
                entry.last_run_at = None
        pipe.zadd(key, {entry.key: entry.score for entry in put_off}, xx=True, ch=True)
        *_, changed = pipe.execute()
    if changed:
        log.warning("clock was wrong, due times set right", entries=changed)
