"""Beat's scheduler in this process, on a real Redis."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery

from tests.support.redis_server import RedisServer
from worker.beat import Scheduler

QUEUE, SCHEDULE, LOCK, STATICS = "celery", "redbeat::schedule", "redbeat::lock", "redbeat::statics"
HOUR_S = 3600


def scheduler_of(redis: RedisServer, *names: str, **intervals_s: float) -> Scheduler:
    """A scheduler with an entry an hour for each name, and those of other intervals."""
    app = Celery("test", broker=redis.url, backend=redis.url, set_as_current=False)
    intervals = dict.fromkeys(names, HOUR_S) | intervals_s
    schedule = {
        name: {"task": "t", "schedule": float(interval), "kwargs": {"host": name}, "options": {}}
        for name, interval in intervals.items()
    }
    app.conf.update(redbeat_redis_url=redis.url, redbeat_redis_options={}, beat_schedule=schedule)
    return Scheduler(app)


def set_clock(patch: pytest.MonkeyPatch, ahead: timedelta) -> None:
    """Beat's clock: this far ahead of the right one."""
    patch.setattr(Celery, "now", lambda app: datetime.now(UTC) + ahead)


def hours_until_due(redis: RedisServer) -> dict[str, float]:
    dues = redis.client().zrange(SCHEDULE, 0, -1, withscores=True)
    return {key.removeprefix("redbeat:"): round((due - time.time()) / HOUR_S, 1) for key, due in dues}


def sent(redis: RedisServer) -> int:
    return int(redis.client().llen(QUEUE))
