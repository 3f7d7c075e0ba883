"""Beat's schedule: what is due, what is remembered, and who sends."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import redis as redis_py

from tests.support.beat_scheduler import LOCK, QUEUE, SCHEDULE, entry_of
from tests.support.celery_processes import Beat
from tests.support.client import environment
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from worker.beat_queue import QUEUE_FLOOR
from worker.schedule import DUE_HEADER

LONG_S = 3600


@pytest.fixture
def client(redis: RedisServer) -> redis_py.Redis:
    """One for all polls of a test: each of RedisServer's keeps a connection to the end."""
    return redis.client()  # type: ignore[no-any-return]


def start_beat(redis: RedisServer, tmp: Path, hosts: str = "ssh://a ssh://b", **settings: Any) -> Beat:
    env = environment(redis.url, hosts, **({"prune_interval_s": LONG_S} | settings))
    beat = Beat(env, tmp=tmp)
    beat.wait_ready()
    return beat


def messages(client: redis_py.Redis) -> list[dict[str, Any]]:
    """The messages in the queue, oldest first."""
    return [json.loads(text) for text in reversed(cast("list[str]", client.lrange(QUEUE, 0, -1)))]


def arguments(message: Mapping[str, Any]) -> dict[str, Any]:
    kwargs: dict[str, Any] = json.loads(base64.b64decode(message["body"]))[1]
    return kwargs


def sent_hosts(client: redis_py.Redis) -> list[str]:
    return [arguments(message)["host"] for message in messages(client)]


def scheduled(client: redis_py.Redis) -> set[str]:
    return {name.removeprefix("redbeat:") for name in cast("list[str]", client.zrange(SCHEDULE, 0, -1))}


def test_a_host_that_was_never_pruned_is_due_now(
    redis: RedisServer, client: redis_py.Redis, tmp_path: Path
) -> None:
    with start_beat(redis, tmp_path) as beat:
        wait_until(lambda: len(messages(client)) == 2, 60, "both hosts to be sent", detail=beat.log)
    assert sorted(sent_hosts(client)) == ["a", "b"]
    assert arguments(messages(client)[0])["trigger"] == "schedule"


def test_a_message_carries_its_limits_its_due_time_and_an_expiry_within_the_interval(
    redis: RedisServer, client: redis_py.Redis, tmp_path: Path
) -> None:
    begin = time.time()
    with start_beat(redis, tmp_path, "ssh://a", prune_timeout_s=77) as beat:
        wait_until(lambda: messages(client), 60, "the message", detail=beat.log)
    end = time.time()
    headers = messages(client)[0]["headers"]
    assert headers["timelimit"] == [107, 77]
    assert begin < headers[DUE_HEADER] < end
    expires = datetime.fromisoformat(headers["expires"]).timestamp()
    assert begin < expires - (LONG_S - 1) < end  # a second before the next is due, counted from its sending


def test_a_restart_of_beat_neither_repeats_nor_forgets_a_run(
    redis: RedisServer, client: redis_py.Redis, tmp_path: Path
) -> None:
    with start_beat(redis, tmp_path, "ssh://a") as beat:
        wait_until(lambda: messages(client), 60, "the first run", detail=beat.log)
        beat.terminate()
    entry = entry_of(redis, "prune-build-cache:a")
    assert entry.last_run_at.timestamp() == messages(client)[0]["headers"][DUE_HEADER]
    due = datetime.now(UTC) + timedelta(seconds=8)  # so that it can be waited for
    entry.reschedule(due - timedelta(seconds=LONG_S))
    with start_beat(redis, tmp_path, "ssh://a") as beat:
        wait_until(lambda: len(messages(client)) == 2, 60, "the second run", detail=beat.log)
    assert messages(client)[1]["headers"][DUE_HEADER] >= due.timestamp()


@pytest.mark.timeout(600)
def test_two_beats_send_one_message_and_the_second_succeeds_a_killed_one_within_a_minute(
    redis: RedisServer, client: redis_py.Redis, tmp_path: Path
) -> None:
    interval_s = 4
    with start_beat(redis, tmp_path, "ssh://a", prune_interval_s=interval_s) as first:
        first.wait_for_log("beat lock taken", 60)
        with start_beat(redis, tmp_path, "ssh://a", prune_interval_s=interval_s) as second:
            wait_until(lambda: len(messages(client)) >= 3, 60, "three runs", detail=first.log)
            dues = [message["headers"][DUE_HEADER] for message in messages(client)]
            assert all(later - earlier >= interval_s for earlier, later in pairwise(dues))
            assert "run sent" in first.log()
            assert "run sent" not in second.log()
            first.kill_all()
            assert 0 < cast(int, client.ttl(LOCK)) <= 30  # and the second looks for it every 5 s
            second.wait_for_log("run sent", 90)  # a minute, and some for a busy machine


def test_a_redis_that_comes_back_empty_does_not_stop_beat(
    redis: RedisServer, client: redis_py.Redis, tmp_path: Path
) -> None:
    with start_beat(redis, tmp_path) as beat:
        wait_until(lambda: set(sent_hosts(client)) == {"a", "b"}, 60, "both hosts", detail=beat.log)
        redis.wipe()
        wait_until(lambda: set(sent_hosts(client)) == {"a", "b"}, 60, "both to be due again", detail=beat.log)
        assert scheduled(client) == {"prune-build-cache:a", "prune-build-cache:b"}
        assert beat.running()


def test_of_two_beats_the_one_that_takes_over_from_an_empty_redis_writes_the_schedule(
    redis: RedisServer, client: redis_py.Redis, tmp_path: Path
) -> None:
    with start_beat(redis, tmp_path) as first, start_beat(redis, tmp_path) as second:
        wait_until(lambda: set(sent_hosts(client)) == {"a", "b"}, 60, "both hosts", detail=first.log)
        for _ in range(3):
            redis.wipe()
            wait_until(
                lambda: set(sent_hosts(client)) == {"a", "b"}, 60, "both to be due again", detail=second.log
            )
            assert len(scheduled(client)) == 2


def test_a_beat_that_starts_before_redis_waits_for_it(
    redis: RedisServer, client: redis_py.Redis, tmp_path: Path
) -> None:
    redis.stop()
    env = environment(redis.url, "ssh://a", prune_interval_s=LONG_S)
    with Beat(env, tmp=tmp_path) as beat:
        beat.wait_for_log("Retrying Redis connection", 60)
        redis.start()
        wait_until(lambda: messages(client), 90, "the run to be sent", detail=beat.log)


def test_hosts_that_leave_the_settings_leave_the_schedule(
    redis: RedisServer, client: redis_py.Redis, tmp_path: Path
) -> None:
    with start_beat(redis, tmp_path, "ssh://a ssh://b") as beat:
        wait_until(lambda: len(messages(client)) == 2, 60, "both hosts", detail=beat.log)
        beat.terminate()
    with start_beat(redis, tmp_path, "ssh://b ssh://c") as beat:
        wait_until(lambda: len(messages(client)) == 3, 60, "the new host", detail=beat.log)
        assert scheduled(client) == {"prune-build-cache:b", "prune-build-cache:c"}
        beat.terminate()
    with start_beat(redis, tmp_path, "") as beat:
        wait_until(lambda: not scheduled(client), 60, "the schedule to be empty", detail=beat.log)


def test_the_kill_switch_leaves_no_schedule_entry(
    redis: RedisServer, client: redis_py.Redis, tmp_path: Path
) -> None:
    with start_beat(redis, tmp_path, "ssh://a") as beat:
        wait_until(lambda: scheduled(client), 60, "the entry", detail=beat.log)
        beat.terminate()
    with start_beat(redis, tmp_path, "ssh://a", prune_enabled="false") as beat:
        wait_until(lambda: not scheduled(client), 60, "the entry to go", detail=beat.log)


def test_while_the_queue_is_too_long_prunes_are_sent_and_looks_at_disks_are_not(
    redis: RedisServer, client: redis_py.Redis, tmp_path: Path
) -> None:
    client.rpush(QUEUE, *["{}"] * (QUEUE_FLOOR + 1))  # as if no worker had been there for long
    interval_s = 10

    def sent() -> list[str]:
        return [message["headers"]["task"] for message in messages(client) if message]

    def next_look() -> float:
        return cast("float | None", client.zscore(SCHEDULE, "redbeat:watch-disk:a")) or 0.0

    with start_beat(redis, tmp_path, "ssh://a", disk_enabled="true", disk_interval_s=interval_s) as beat:
        wait_until(sent, 60, "the prune", detail=beat.log)
        first = next_look()
        wait_until(lambda: next_look() > first + interval_s, 60, "looks to be left out", detail=beat.log)
        assert sent() == ["tasks.prune_build_cache"]
        assert beat.log().count("queue too long") == 1
        client.lrem(QUEUE, 0, "{}")  # a worker is back
        wait_until(lambda: "tasks.watch_disk" in sent(), 60, "a look", detail=beat.log)
        assert beat.log().count("queue short again") == 1
