"""Beat after a clock that was wrong: what it put off is sent, once, and keeps back nothing else."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.beat_scheduler import (
    HOUR_S,
    LOCK,
    QUEUE,
    SCHEDULE,
    hours_until_due,
    scheduler_of,
    sent,
    set_clock,
    stop_clock,
)
from tests.support.redis_server import RedisServer


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
    assert (first, readings()) == (1, 1)


@pytest.mark.parametrize("ahead_s", [HOUR_S + 5, 3 * HOUR_S])
def test_what_was_put_off_by_little_more_than_an_interval_is_sent_too(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    monkeypatch.setattr("worker.beat.BATCH", 2)
    names, now = ("a", "b", "c", "d", "e"), datetime.now(UTC)
    stop_clock(monkeypatch, now + timedelta(seconds=ahead_s))
    beat = scheduler_of(redis, *names)
    while beat.tick() == 0:
        pass
    redis.client().delete(LOCK, QUEUE)
    stop_clock(monkeypatch, now)
    beat = scheduler_of(redis, *names)
    beat.tick()
    stop_clock(monkeypatch, now + timedelta(seconds=10))  # it took that long
    for _ in range(3):
        beat.tick()
    assert sent(redis) == 5


def test_what_is_due_later_in_this_second_is_sent_in_it(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores are whole seconds."""
    second = datetime.now(UTC).replace(microsecond=0)
    stop_clock(monkeypatch, second)
    scheduler = scheduler_of(redis, "a", "b", "c")
    for entry, tenths in zip(list(scheduler.schedule.values()), (2, 3, 4), strict=True):
        entry.reschedule(second - timedelta(seconds=HOUR_S) + timedelta(milliseconds=100 * tenths))
    for tenths, expected in ((2, 1), (9, 3)):
        stop_clock(monkeypatch, second + timedelta(milliseconds=100 * tenths + 50))
        scheduler.tick()
        assert sent(redis) == expected


def test_what_is_due_by_its_score_alone_is_put_in_its_place_and_keeps_back_nothing(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, client = scheduler_of(redis, "a", "b", "c", "late"), redis.client()
    for entry in scheduler.schedule.values():
        entry.reschedule()
    monkeypatch.setattr("worker.beat.BATCH", 2)
    due_s = time.time() - 10
    client.zadd(SCHEDULE, {"redbeat:a": due_s, "redbeat:b": due_s, "redbeat:c": due_s})
    client.hdel("redbeat:late", "meta")
    client.zadd(SCHEDULE, {"redbeat:late": due_s + 1})
    waits_s = [scheduler.tick() for _ in range(3)]
    assert sent(redis) == 1
    assert waits_s[-1] > 0
    assert hours_until_due(redis) == {"a": 1, "b": 1, "c": 1, "late": 1}
