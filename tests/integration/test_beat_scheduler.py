"""Beat's scheduler in this process, on a real Redis: wrong clocks, a Redis that is full, batches."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from tests.support.redis_server import RedisServer
from worker.beat import Scheduler
from worker.schedule import turn_ts

QUEUE, SCHEDULE, LOCK = "celery", "redbeat::schedule", "redbeat::lock"
HOUR_S = 3600


def scheduler_of(redis: RedisServer, *names: str, **intervals_s: float) -> Scheduler:
    """A scheduler in this process, with an entry an hour for each name, and those of other intervals."""
    app = Celery("test", broker=redis.url, backend=redis.url, set_as_current=False)
    intervals = dict.fromkeys(names, HOUR_S) | intervals_s
    schedule = {
        name: {"task": "t", "schedule": float(interval), "kwargs": {"host": name}, "options": {}}
        for name, interval in intervals.items()
    }
    app.conf.update(redbeat_redis_url=redis.url, redbeat_redis_options={}, beat_schedule=schedule)
    scheduler = Scheduler(app)
    scheduler.setup_schedule()
    return scheduler


def set_clock(patch: pytest.MonkeyPatch, ahead: timedelta) -> None:
    """Beat's clock: this far ahead of the right one."""
    patch.setattr(Celery, "now", lambda app: datetime.now(UTC) + ahead)


def hours_until_due(redis: RedisServer) -> dict[str, float]:
    dues = redis.client().zrange(SCHEDULE, 0, -1, withscores=True)
    return {key.removeprefix("redbeat:"): round((due - time.time()) / HOUR_S, 1) for key, due in dues}


def sent(redis: RedisServer) -> int:
    return int(redis.client().llen(QUEUE))


def test_entries_that_were_lost_while_they_were_written_are_written_again(redis: RedisServer) -> None:
    scheduler = scheduler_of(redis, "a", "b")
    client = redis.client()
    client.zrem(SCHEDULE, "redbeat:a")
    client.delete("redbeat:a", "redbeat::statics")
    client.zadd(SCHEDULE, {"redbeat:c": time.time() + 9})  # of another beat, whose settings differ
    client.hset("redbeat:c", "definition", client.hget("redbeat:b", "definition").replace('"b"', '"c"'))
    scheduler.tick()
    assert client.zscore(SCHEDULE, "redbeat:a")
    assert client.sismember("redbeat::statics", "a")  # so that it goes when it leaves the settings
    assert sent(redis) >= 2


def test_looks_come_in_turn(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"watch-disk:build-{number}" for number in range(20)]
    monkeypatch.setattr("worker.beat.is_routine", lambda task: True)
    scheduler = scheduler_of(redis, *names)
    begin = time.time()
    scheduler.tick()
    end = time.time()
    assert sent(redis) == 20  # never looked at is due now, as any run
    for name in names:
        due = redis.client().zscore(SCHEDULE, f"redbeat:{name}")
        assert due in {turn_ts(name, now, 3600) + 3600 for now in (begin, end)}


def test_after_a_restart_what_is_not_due_keeps_back_nothing_that_is(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("a", "b", "c", "late")
    for entry in scheduler_of(redis, *names).schedule.values():
        ago_s = 3700 if entry.name == "late" else 3000
        entry.reschedule(datetime.now(UTC) - timedelta(seconds=ago_s))
    monkeypatch.setattr("worker.beat.BATCH", 2)
    scheduler = scheduler_of(redis, *names)
    scheduler.tick()
    assert sent(redis) == 1
    now, due = time.time(), dict(redis.client().zrange(SCHEDULE, 0, -1, withscores=True))
    assert [round((due[f"redbeat:{name}"] - now) / 100) for name in names] == [6, 6, 6, 36]


def test_a_last_run_from_a_wrong_clock_is_not_waited_for(redis: RedisServer) -> None:
    scheduler = scheduler_of(redis, "a", "b")
    for entry in scheduler.schedule.values():
        days = 365 if entry.name == "a" else 0
        entry.reschedule(datetime.now(UTC) + timedelta(days=days))
    redis.client().zadd(SCHEDULE, {"redbeat:a": time.time() + 365 * 86_400})  # by that clock
    scheduler.tick()
    assert sent(redis) == 1
    due = redis.client().zscore(SCHEDULE, "redbeat:a")
    assert 3500 < due - time.time() <= 3600
    scheduler.tick()
    assert sent(redis) == 1


@pytest.mark.parametrize("another_takes_over", [False, True])
def test_a_wrong_clock_is_waited_for_no_longer_than_two_of_an_entrys_own_intervals(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, another_takes_over: bool
) -> None:
    monkeypatch.setattr("worker.beat.CLOCK_CHECK_S", 0)
    intervals_s = {"often": 300.0, "rare": 6.0 * HOUR_S, "weekly": 168.0 * HOUR_S}
    beat, other = (scheduler_of(redis, **intervals_s) for _ in range(2))
    with monkeypatch.context() as wrong:
        set_clock(wrong, timedelta(hours=2))
        beat.tick()
    assert hours_until_due(redis) == {"often": 2.1, "rare": 8, "weekly": 170}
    if another_takes_over:
        redis.client().delete(LOCK)
        beat = other
    beat.tick()
    assert sent(redis) == 4
    assert hours_until_due(redis) == {"often": 0.1, "rare": 8, "weekly": 170}
    beat.tick()
    assert sent(redis) == 4


def test_however_many_a_wrong_clock_put_off_each_is_sent_once(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("worker.beat.BATCH", 2)
    names = ("a", "b", "c", "d", "e")
    with monkeypatch.context() as wrong:
        set_clock(wrong, timedelta(days=30))
        beat = scheduler_of(redis, *names)
        while beat.tick() == 0:
            pass
    redis.client().delete(LOCK, QUEUE)
    beat = scheduler_of(redis, *names)
    with monkeypatch.context() as wrong:  # another beat starts then, as a stand-by
        set_clock(wrong, timedelta(days=30))
        scheduler_of(redis, *names)
    counts = []
    for _ in range(4):
        beat.tick()
        counts.append(sent(redis))
    assert counts == [2, 4, 5, 5]
    assert caplog.text.count("clock was wrong") == 1


def test_another_beats_longer_intervals_are_no_wrong_clock(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("worker.beat.CLOCK_CHECK_S", 0)
    standby = scheduler_of(redis, "a", "b")
    scheduler_of(redis, a=24 * HOUR_S, b=24 * HOUR_S).tick()
    redis.client().delete(LOCK)
    assert [standby.tick(), standby.tick()] == [standby.max_interval] * 2
    assert sent(redis) == 2
    assert hours_until_due(redis) == {"a": 24, "b": 24}
    assert "clock was wrong" not in caplog.text


def test_all_due_times_are_read_when_the_lock_is_taken_and_then_not_at_each_tick(redis: RedisServer) -> None:
    scheduler, client = scheduler_of(redis, "a", "b"), redis.client()

    def readings() -> int:
        return int(client.info("commandstats").get("cmdstat_zrange", {}).get("calls", 0))

    client.config_resetstat()
    scheduler.tick()
    first = readings()
    for _ in range(5):
        scheduler.tick()
    assert (first, readings()) == (2, 2)


def test_a_redis_that_takes_no_writes_is_tried_once_a_tick_and_loses_nothing(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("worker.beat.BATCH", 3)
    scheduler = scheduler_of(redis, "a", "b", "c", "d")
    assert scheduler._take_lock()
    client = redis.client()
    client.config_set("maxmemory", 1)
    assert [scheduler.tick(), scheduler.tick()] == [1.0, 1.0]
    warnings = [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert [record.name for record in warnings] == ["worker.beat"] * 2
    client.config_set("maxmemory", 0)
    client.delete(LOCK)
    while scheduler.tick() == 0:
        pass
    assert sent(redis) == 4


def test_a_run_that_cannot_be_sent_stays_due(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = scheduler_of(redis, "entry")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("broker full")

    with monkeypatch.context() as broken:
        broken.setattr(scheduler.app, "send_task", refuse)
        scheduler.tick()
    assert sent(redis) == 0
    scheduler.tick()
    assert sent(redis) == 1
    scheduler.tick()
    assert sent(redis) == 1


def test_a_run_that_is_refused_as_redis_fills_right_before_it_is_sent_stays_due(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, client = scheduler_of(redis, "a", "b"), redis.client()
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    send = scheduler.app.send_task

    def fill_and_send(*args: Any, **options: Any) -> Any:
        client.config_set("maxmemory", 1)
        return send(*args, **options)

    with monkeypatch.context() as filling:
        filling.setattr(scheduler.app, "send_task", fill_and_send)
        assert [scheduler.tick(), scheduler.tick()] == [1.0, 1.0]
    assert sent(redis) == 0
    client.config_set("maxmemory", 0)
    client.delete(LOCK)
    for _ in range(3):
        scheduler.tick()
    assert sent(redis) == 2
    assert hours_until_due(redis) == {"a": 1, "b": 1}


def test_more_due_runs_than_one_tick_takes_are_each_sent_once(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.beat.BATCH", 2)
    scheduler = scheduler_of(redis, "a", "b", "c", "d", "e")
    counts = []
    for _ in range(4):
        waits = scheduler.tick()
        counts.append((sent(redis), waits == 0))
    # The lock is renewed at each tick, so that not even ten thousand due runs outlast it.
    assert counts == [(2, True), (4, True), (5, False), (5, False)]
