"""Beat's scheduler in this process, on a real Redis."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from redbeat.schedulers import ensure_conf

from tests.support.redis_server import RedisServer
from worker.beat import Scheduler
from worker.beat_entry import Entry, load_entries

QUEUE, SCHEDULE, LOCK, STATICS = "celery", "redbeat::schedule", "redbeat::lock", "redbeat::statics"
HOUR_S = 3600


def scheduler_of(redis: RedisServer, *names: str, **intervals_s: float) -> Scheduler:
    """A scheduler with an entry an hour for each name, and those of other intervals."""
    intervals = dict.fromkeys(names, HOUR_S) | intervals_s
    schedule = {
        name: {"task": "t", "schedule": float(interval), "kwargs": {"host": name}, "options": {}}
        for name, interval in intervals.items()
    }
    return Scheduler(_app(redis, schedule))


def entry_of(redis: RedisServer, name: str) -> Entry:
    """An entry as a beat has left it in Redis."""
    app = _app(redis, {})
    ensure_conf(app)
    (entry,) = load_entries(app, [f"redbeat:{name}"])
    return entry


def _app(redis: RedisServer, schedule: dict[str, dict[str, Any]]) -> Celery:
    app = Celery("test", broker=redis.url, backend=redis.url, set_as_current=False)
    app.conf.update(redbeat_redis_url=redis.url, redbeat_redis_options={}, beat_schedule=schedule)
    return app


def set_clock(patch: pytest.MonkeyPatch, ahead: timedelta) -> None:
    """Beat's clock: this far ahead of the right one."""
    patch.setattr(Celery, "now", lambda app: datetime.now(UTC) + ahead)


def stop_clock(patch: pytest.MonkeyPatch, at: datetime) -> None:
    """Beat's clock: it stands still, however long the test takes."""
    patch.setattr(Celery, "now", lambda app: at)


def hours_until_due(redis: RedisServer) -> dict[str, float]:
    dues = redis.client().zrange(SCHEDULE, 0, -1, withscores=True)
    return {key.removeprefix("redbeat:"): round((due - time.time()) / HOUR_S, 1) for key, due in dues}


def sent(redis: RedisServer) -> int:
    return int(redis.client().llen(QUEUE))
