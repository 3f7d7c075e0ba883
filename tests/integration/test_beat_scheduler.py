"""What beat's scheduler sends: in turn, in batches, and on a Redis that is full."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.beat_scheduler import LOCK, SCHEDULE, hours_until_due, scheduler_of, sent
from tests.support.redis_server import RedisServer
from worker.schedule import turn_ts


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


def test_another_fleets_run_that_is_refused_as_redis_fills_stays_due(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.beat.CLOCK_CHECK_S", 0)
    scheduler, client = scheduler_of(redis, "b", "c"), redis.client()
    scheduler_of(redis, "a", "b", "c")  # another beat's, which waits
    send = scheduler.app.send_task

    def fill_and_send(task: str, args: Any, kwargs: Any, **options: Any) -> Any:
        if kwargs["host"] == "a":
            client.config_set("maxmemory", 1)
        return send(task, args, kwargs, **options)

    with monkeypatch.context() as filling:
        filling.setattr(scheduler.app, "send_task", fill_and_send)
        assert [scheduler.tick(), scheduler.tick()] == [1.0, 1.0]
    client.config_set("maxmemory", 0)
    client.delete(LOCK)
    for _ in range(3):
        scheduler.tick()
    assert sent(redis) == 3
    assert hours_until_due(redis) == {"a": 1, "b": 1, "c": 1}


def test_a_stop_ends_beat_though_the_signals_own_end_is_lost(redis: RedisServer) -> None:
    scheduler = scheduler_of(redis, "a")
    scheduler.tick()
    scheduler.close()
    assert not redis.client().exists(LOCK)
    with pytest.raises(SystemExit):
        scheduler.tick()
    assert not redis.client().exists(LOCK)
