"""Beat's schedule: what is due, what is remembered, and who sends."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.support.celery_processes import Beat
from tests.support.client import environment
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from worker.beat import QUEUE_FLOOR, Scheduler, is_too_long
from worker.schedule import DUE_HEADER, turn_ts

QUEUE = "celery"
LONG_S = 3600


def start_beat(redis: RedisServer, tmp: Path, hosts: str = "ssh://a ssh://b", **settings: Any) -> Beat:
    env = environment(redis.url, hosts, **({"prune_interval_s": LONG_S} | settings))
    beat = Beat(env, tmp=tmp)
    beat.wait_ready()
    return beat


def messages(redis: RedisServer) -> list[dict[str, Any]]:
    """The messages in the queue, oldest first."""
    return [json.loads(text) for text in reversed(redis.client().lrange(QUEUE, 0, -1))]


def arguments(message: Mapping[str, Any]) -> dict[str, Any]:
    kwargs: dict[str, Any] = json.loads(base64.b64decode(message["body"]))[1]
    return kwargs


def sent_hosts(redis: RedisServer) -> list[str]:
    return [arguments(message)["host"] for message in messages(redis)]


def scheduled(redis: RedisServer) -> set[str]:
    return {str(name).removeprefix("redbeat:") for name in redis.client().zrange("redbeat::schedule", 0, -1)}


def test_a_host_that_was_never_pruned_is_due_now(redis: RedisServer, tmp_path: Path) -> None:
    with start_beat(redis, tmp_path) as beat:
        wait_until(lambda: len(messages(redis)) == 2, 20, "both hosts to be sent", detail=beat.log)
    assert sorted(sent_hosts(redis)) == ["a", "b"]
    assert arguments(messages(redis)[0])["trigger"] == "schedule"


def test_a_message_carries_its_limits_its_due_time_and_an_expiry_within_the_interval(
    redis: RedisServer, tmp_path: Path
) -> None:
    with start_beat(redis, tmp_path, "ssh://a", prune_timeout_s=77) as beat:
        wait_until(lambda: messages(redis), 20, "the message", detail=beat.log)
    headers = messages(redis)[0]["headers"]
    assert headers["timelimit"] == [107, 77]
    expires = datetime.fromisoformat(headers["expires"]).timestamp()
    assert LONG_S - 5 <= expires - headers[DUE_HEADER] < LONG_S


def test_a_restart_of_beat_neither_repeats_nor_forgets_a_run(redis: RedisServer, tmp_path: Path) -> None:
    interval_s = 8
    with start_beat(redis, tmp_path, "ssh://a", prune_interval_s=interval_s) as beat:
        wait_until(lambda: messages(redis), 20, "the first run", detail=beat.log)
        beat.terminate()
    with start_beat(redis, tmp_path, "ssh://a", prune_interval_s=interval_s) as beat:
        wait_until(lambda: len(messages(redis)) == 2, 20, "the second run", detail=beat.log)
    first, second = (message["headers"][DUE_HEADER] for message in messages(redis))
    assert interval_s <= second - first < interval_s + 3


def test_two_beats_send_one_message_and_the_second_succeeds_a_killed_one_within_a_minute(
    redis: RedisServer, tmp_path: Path
) -> None:
    interval_s = 4
    with (
        start_beat(redis, tmp_path, "ssh://a", prune_interval_s=interval_s) as first,
        start_beat(redis, tmp_path, "ssh://a", prune_interval_s=interval_s) as second,
    ):
        wait_until(lambda: len(messages(redis)) >= 3, 30, "three runs", detail=first.log)
        dues = [message["headers"][DUE_HEADER] for message in messages(redis)]
        assert all(later - earlier >= interval_s for earlier, later in pairwise(dues))
        assert "run sent" in first.log()
        assert "run sent" not in second.log()
        first.kill_all()
        before = len(messages(redis))
        wait_until(lambda: len(messages(redis)) > before, 60, "the second beat", detail=second.log)


def test_a_redis_that_comes_back_empty_does_not_stop_beat(redis: RedisServer, tmp_path: Path) -> None:
    with start_beat(redis, tmp_path) as beat:
        wait_until(lambda: len(messages(redis)) == 2, 20, "both hosts", detail=beat.log)
        redis.wipe()
        wait_until(lambda: len(messages(redis)) == 2, 60, "both hosts to be due again", detail=beat.log)
        assert scheduled(redis) == {"prune-build-cache:a", "prune-build-cache:b"}
        assert beat.running()


def test_of_two_beats_the_one_that_takes_over_from_an_empty_redis_writes_the_schedule(
    redis: RedisServer, tmp_path: Path
) -> None:
    with start_beat(redis, tmp_path) as first, start_beat(redis, tmp_path) as second:
        wait_until(lambda: len(messages(redis)) == 2, 20, "both hosts", detail=first.log)
        for _ in range(3):
            redis.wipe()
            wait_until(lambda: len(messages(redis)) == 2, 60, "both hosts to be due again", detail=second.log)
            assert len(scheduled(redis)) == 2


def test_a_beat_that_starts_before_redis_waits_for_it(redis: RedisServer, tmp_path: Path) -> None:
    redis.stop()
    env = environment(redis.url, "ssh://a", prune_interval_s=LONG_S)
    with Beat(env, tmp=tmp_path) as beat:
        beat.wait_for_log("Retrying Redis connection", 20)
        redis.start()
        wait_until(lambda: messages(redis), 60, "the run to be sent", detail=beat.log)


def test_hosts_that_leave_the_settings_leave_the_schedule(redis: RedisServer, tmp_path: Path) -> None:
    with start_beat(redis, tmp_path, "ssh://a ssh://b") as beat:
        wait_until(lambda: len(messages(redis)) == 2, 20, "both hosts", detail=beat.log)
        beat.terminate()
    with start_beat(redis, tmp_path, "ssh://b ssh://c") as beat:
        wait_until(lambda: len(messages(redis)) == 3, 20, "the new host", detail=beat.log)
        assert scheduled(redis) == {"prune-build-cache:b", "prune-build-cache:c"}
        beat.terminate()
    with start_beat(redis, tmp_path, "") as beat:
        wait_until(lambda: not scheduled(redis), 20, "the schedule to be empty", detail=beat.log)


def test_the_kill_switch_leaves_no_schedule_entry(redis: RedisServer, tmp_path: Path) -> None:
    with start_beat(redis, tmp_path, "ssh://a") as beat:
        wait_until(lambda: scheduled(redis), 20, "the entry", detail=beat.log)
        beat.terminate()
    with start_beat(redis, tmp_path, "ssh://a", prune_enabled="false") as beat:
        wait_until(lambda: not scheduled(redis), 20, "the entry to go", detail=beat.log)


def scheduler_of(redis: RedisServer, *names: str) -> Scheduler:
    """A scheduler in this process, with an entry an hour for each name."""
    app = Celery("test", broker=redis.url, backend=redis.url, set_as_current=False)
    entry = {"task": "t", "schedule": 3600.0, "kwargs": {}, "options": {}}
    schedule = dict.fromkeys(names, entry)
    app.conf.update(redbeat_redis_url=redis.url, redbeat_redis_options={}, beat_schedule=schedule)
    scheduler = Scheduler(app)
    scheduler.setup_schedule()
    return scheduler


def test_entries_that_were_lost_while_they_were_written_are_written_again(redis: RedisServer) -> None:
    scheduler = scheduler_of(redis, "a", "b")
    client = redis.client()
    client.zrem("redbeat::schedule", "redbeat:a")
    client.delete("redbeat:a")
    scheduler.tick()
    assert client.zcard("redbeat::schedule") == 2
    assert client.llen(QUEUE) == 2


def test_looks_come_in_turn(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"watch-disk:build-{number}" for number in range(20)]
    monkeypatch.setattr("worker.beat.is_routine", lambda task: True)
    scheduler = scheduler_of(redis, *names)
    begin = time.time()
    scheduler.tick()
    end = time.time()
    assert redis.client().llen(QUEUE) == 20  # never looked at is due now, as any run
    for name in names:
        due = redis.client().zscore("redbeat::schedule", f"redbeat:{name}")
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
    assert redis.client().llen(QUEUE) == 1
    now, due = time.time(), dict(redis.client().zrange("redbeat::schedule", 0, -1, withscores=True))
    assert [round((due[f"redbeat:{name}"] - now) / 100) for name in names] == [6, 6, 6, 36]


def test_a_last_run_from_a_wrong_clock_is_not_waited_for(redis: RedisServer) -> None:
    scheduler = scheduler_of(redis, "a", "b")
    for entry in scheduler.schedule.values():
        days = 365 if entry.name == "a" else 0
        entry.reschedule(datetime.now(UTC) + timedelta(days=days))
    redis.client().zadd("redbeat::schedule", {"redbeat:a": time.time() + 365 * 86_400})  # by that clock
    scheduler.tick()
    assert redis.client().llen(QUEUE) == 1
    due = redis.client().zscore("redbeat::schedule", "redbeat:a")
    assert 3500 < due - time.time() <= 3600
    scheduler.tick()
    assert redis.client().llen(QUEUE) == 1


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
    client.delete("redbeat::lock")
    while scheduler.tick() == 0:
        pass
    assert client.llen(QUEUE) == 4


def test_a_run_that_cannot_be_sent_stays_due(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = scheduler_of(redis, "entry")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("broker full")

    with monkeypatch.context() as broken:
        broken.setattr(scheduler.app, "send_task", refuse)
        scheduler.tick()
    assert redis.client().llen(QUEUE) == 0
    scheduler.tick()
    assert redis.client().llen(QUEUE) == 1
    scheduler.tick()
    assert redis.client().llen(QUEUE) == 1


def test_more_due_runs_than_one_tick_takes_are_each_sent_once(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.beat.BATCH", 2)
    scheduler = scheduler_of(redis, "a", "b", "c", "d", "e")
    sent = []
    for _ in range(4):
        waits = scheduler.tick()
        sent.append((redis.client().llen(QUEUE), waits == 0))
    # The lock is renewed at each tick, so that not even ten thousand due runs outlast it.
    assert sent == [(2, True), (4, True), (5, False), (5, False)]


def test_while_the_queue_is_too_long_prunes_are_sent_and_looks_at_disks_are_not(
    redis: RedisServer, tmp_path: Path
) -> None:
    client = redis.client()
    client.rpush(QUEUE, *["{}"] * (QUEUE_FLOOR + 1))  # as if no worker had been there for long
    interval_s = 10

    def sent() -> list[str]:
        return [json.loads(text)["headers"]["task"] for text in client.lrange(QUEUE, 0, -1) if text != "{}"]

    def next_look() -> float:
        return client.zscore("redbeat::schedule", "redbeat:watch-disk:a") or 0.0

    with start_beat(redis, tmp_path, "ssh://a", disk_enabled="true", disk_interval_s=interval_s) as beat:
        wait_until(sent, 20, "the prune", detail=beat.log)
        first = next_look()
        wait_until(lambda: next_look() > first + interval_s, 40, "looks to be left out", detail=beat.log)
        assert sent() == ["tasks.prune_build_cache"]
        assert beat.log().count("queue too long") == 1
        client.lrem(QUEUE, 0, "{}")  # a worker is back
        wait_until(lambda: "tasks.watch_disk" in sent(), 40, "a look", detail=beat.log)
        assert beat.log().count("queue short again") == 1


@pytest.mark.parametrize(
    ("messages", "entries", "was_too_long", "too_long"),
    [
        (1000, 2, False, False),  # a small fleet's burst
        (1001, 2, False, True),
        (6000, 2000, False, False),
        (6001, 2000, False, True),
        (3001, 2000, True, True),
        (3000, 2000, True, False),
    ],
)
def test_a_queue_is_too_long_at_three_messages_per_entry_and_short_again_at_half_of_that(
    messages: int, entries: int, was_too_long: bool, too_long: bool
) -> None:
    assert is_too_long(messages, entries, was_too_long) == too_long
