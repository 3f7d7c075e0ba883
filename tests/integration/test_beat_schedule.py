"""Beat's schedule in Redis: written in few round trips, also where Redis lost some of it."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from redis.connection import AbstractConnection

from tests.support.beat_scheduler import (
    LOCK,
    QUEUE,
    SCHEDULE,
    STATICS,
    hours_until_due,
    scheduler_of,
    sent,
    set_clock,
)
from tests.support.redis_server import RedisServer


def test_entries_that_were_lost_while_they_were_written_are_written_again(redis: RedisServer) -> None:
    scheduler = scheduler_of(redis, "a", "b")
    client = redis.client()
    client.zrem(SCHEDULE, "redbeat:a")
    client.delete("redbeat:a", STATICS)
    client.zadd(SCHEDULE, {"redbeat:c": time.time() + 9})  # of another beat, whose settings differ
    client.hset("redbeat:c", "definition", client.hget("redbeat:b", "definition").replace('"b"', '"c"'))
    scheduler.tick()
    assert client.zscore(SCHEDULE, "redbeat:a")
    assert client.sismember(STATICS, "a")  # so that it goes when it leaves the settings
    assert sent(redis) >= 2


def test_a_redis_that_comes_back_empty_while_runs_are_sent_loses_no_entry(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"a", "b", "c", "d"}
    scheduler, client = scheduler_of(redis, *names), redis.client()
    send = scheduler.app.send_task

    def flush_and_send(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(scheduler.app, "send_task", send)
        client.flushall()
        return send(*args, **options)

    monkeypatch.setattr(scheduler.app, "send_task", flush_and_send)
    for _ in range(4):
        scheduler.tick()
    assert client.smembers(STATICS) == names
    client.delete(QUEUE)
    set_clock(monkeypatch, timedelta(hours=1, seconds=10))
    for _ in range(2):
        scheduler.tick()
    assert sent(redis) == 4


def test_what_is_written_into_a_redis_that_came_back_empty_goes_when_it_leaves_the_settings(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, client = scheduler_of(redis, "a", "b"), redis.client()
    send = scheduler.app.send_task

    def flush_and_fail(*_: Any, **__: Any) -> None:
        monkeypatch.setattr(scheduler.app, "send_task", send)
        client.flushall()
        raise OSError("away")

    monkeypatch.setattr(scheduler.app, "send_task", flush_and_fail)
    for _ in range(4):
        scheduler.tick()
    assert client.smembers(STATICS) == {"a", "b"}


def test_an_entry_of_the_settings_that_redis_lost_is_written_when_it_is_due(redis: RedisServer) -> None:
    scheduler, client = scheduler_of(redis, "a", "b"), redis.client()
    assert scheduler._take_lock()
    client.delete("redbeat:a", STATICS)  # as a Redis does that may evict
    client.zadd(SCHEDULE, {"redbeat:c": time.time() - 1})  # of no settings
    scheduler.tick()
    assert sent(redis) == 2
    assert client.hkeys("redbeat:a") == client.hkeys("redbeat:b")
    assert set(client.zrange(SCHEDULE, 0, -1)) == {"redbeat:a", "redbeat:b"}
    assert client.smembers(STATICS) == {"a"}


def test_a_last_run_outlives_the_loss_of_what_belongs_to_it(redis: RedisServer) -> None:
    scheduler_of(redis, "a", "b").tick()
    client = redis.client()
    client.delete(LOCK)
    scheduler = scheduler_of(redis, "a", "b")
    client.hdel("redbeat:a", "definition")
    client.zrem(SCHEDULE, "redbeat:b")
    scheduler.tick()
    assert client.hexists("redbeat:a", "definition")
    assert hours_until_due(redis) == {"a": 1, "b": 1}
    assert sent(redis) == 2


def test_a_large_schedule_takes_few_round_trips(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"prune-build-cache:build-{number}" for number in range(400)]
    trips = 0
    send: Any = AbstractConnection.send_packed_command

    def count_and_send(*args: Any, **options: Any) -> None:
        nonlocal trips
        trips += 1
        send(*args, **options)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", count_and_send)
    scheduler, client = scheduler_of(redis, *names), redis.client()
    assert trips < 20
    client.flushall()
    trips = 0
    assert scheduler._take_lock()
    assert client.zcard(SCHEDULE) == 400
    assert trips < 20
    trips = 0
    scheduler_of(redis)
    assert trips < 20
    assert client.keys("redbeat:*") == [LOCK]


def test_beat_looks_alive_and_keeps_its_lock_while_it_writes_a_large_schedule(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, client = scheduler_of(redis, "a", "b", "c", "d", "e"), redis.client()
    client.flushall()
    ttls_s: list[float] = []

    def touch_after_long() -> None:
        ttls_s.append(client.ttl(LOCK))
        client.expire(LOCK, 60)

    monkeypatch.setattr("worker.beat.BATCH", 2)
    monkeypatch.setattr("worker.beat.touch_heartbeat", touch_after_long)
    assert scheduler._take_lock()
    assert len(ttls_s) == 3
    assert min(ttls_s) > 60
    assert client.ttl(LOCK) > 60
