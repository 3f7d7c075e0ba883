"""What must not be lost when Redis or a worker goes away in the middle of a prune."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import TimeLimitExceeded

from tests.support.celery_processes import Worker
from tests.support.client import Client, environment
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.soft_limit import run_pid
from tests.support.stand_in_docker import StandInDocker
from tests.support.waiting import wait_until
from worker.errors import GivenUp
from worker.limits import GRACE_S
from worker.memory import LOCK_TTL_S

LOCK = "holystone:prune_build_cache:lock:stand-in-engine"
HOST = "holystone:prune_build_cache:host:local"


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[StandInDocker]:
    stand_in = StandInDocker(tmp_path / "docker")
    yield stand_in
    stand_in.go()  # ends the prunes that were left to finish


def start_worker(redis_url: str, docker: StandInDocker, tmp: Path, **settings: Any) -> Worker:
    env = environment(redis_url, commands=docker.folder, **settings)
    worker = Worker(env, "--concurrency=2", tmp=tmp)
    worker.wait_ready(90)
    return worker


def test_a_restart_of_redis_during_a_prune_leaves_the_worker_up_and_the_result_stored(
    redis: RedisServer, docker: StandInDocker, tmp_path: Path
) -> None:
    docker.prunes_on_go()
    with start_worker(redis.url, docker, tmp_path) as worker:
        sent = Client(redis.url).send()
        wait_until(lambda: docker.prunes_started, 60, "the prune to start", detail=worker.log)
        redis.restart()
        docker.go()
        report = sent.get(60, worker.log)
        assert (report["outcome"], report["reclaimed_bytes"]) == ("done", 49_210_000)
        assert worker.running()
        # The lost connection may deliver the message again; that copy prunes nothing and changes nothing, but
        # holds the engine for a moment.
        wait_until(lambda: Client(redis.url).run()["outcome"] == "done", 60, "another run", detail=worker.log)
        assert sent.get() == report
        assert redis.client().hget(HOST, "total_reclaimed_bytes") == "49210000"


@pytest.mark.timeout(600)
def test_a_run_whose_worker_was_killed_is_done_again_within_the_hard_limit_plus_three_minutes(
    redis: RedisServer, docker: StandInDocker, tmp_path: Path
) -> None:
    docker.prunes_on_go()
    timeout_s = 5
    with (
        start_worker(redis.url, docker, tmp_path, prune_timeout_s=timeout_s) as first,
        start_worker(redis.url, docker, tmp_path, prune_timeout_s=timeout_s) as second,
    ):
        # The worker's limit says when a lost message comes again; this run's own is not to strike before.
        sent = Client(redis.url).send(options={"soft_time_limit": 200, "time_limit": 230})
        wait_until(lambda: docker.prunes_started, 60, "the prune to start")
        at_work = first if f"task_id={sent.id}" in first.log() else second
        other = second if at_work is first else first
        at_work.kill_all()
        docker.go()
        wait_until(sent.ready, timeout_s + GRACE_S + 180, "the run to be done again", detail=other.log)
        assert sent.get()["outcome"] == "done"
        assert f"run started host=local task_id={sent.id}" in other.log()


def test_a_half_open_connection_to_redis_is_left_within_a_minute(
    redis: RedisServer, docker: StandInDocker, tmp_path: Path
) -> None:
    with Proxy(redis.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        with start_worker(url, docker, tmp_path) as worker:
            assert Client(redis.url).run()["outcome"] == "done"
            proxy.swallow()
            proxy.restore()  # the connections of before stay half-open
            # A BRPOP that Redis still holds would take the message with it into the void.
            held = redis.client()
            wait_until(lambda: held.info("clients")["blocked_clients"] == 0, 60, "the last BRPOP to end")
            sent = Client(redis.url).send()
            wait_until(sent.ready, 60, "the worker to leave the half-open connection", detail=worker.log)
            assert sent.get()["outcome"] == "done"


def test_a_message_delivered_twice_prunes_once_and_keeps_the_first_report(
    redis: RedisServer, docker: StandInDocker, tmp_path: Path
) -> None:
    docker.prunes_on_go()
    client = Client(redis.url)
    with start_worker(redis.url, docker, tmp_path) as worker:
        sent = client.send(options={"task_id": "twice"})
        wait_until(lambda: docker.prunes_started, 60, "the prune to start", detail=worker.log)
        client.send(options={"task_id": "twice"})
        wait_until(
            lambda: worker.log().count("run started host=local task_id=twice") == 2, 60, "the second delivery"
        )
        wait_until(lambda: len(docker.calls("info")) == 2, 60, "the second delivery to reach the engine")
        docker.go()
        ended = "run finished host=local task_id=twice"
        wait_until(lambda: worker.log().count(ended) == 2, 60, "both to end", detail=worker.log)
    assert sent.get()["outcome"] == "done"
    assert docker.prunes_started == 2  # two passes of the one run


def test_a_run_that_keeps_killing_its_worker_is_given_up_after_three_deliveries(
    redis: RedisServer, docker: StandInDocker, tmp_path: Path
) -> None:
    docker.prunes("kill -9 $PPID\n")
    with start_worker(redis.url, docker, tmp_path) as worker:
        sent = Client(redis.url).send()
        with pytest.raises(GivenUp, match="delivered 3 times"):
            sent.get(3 * LOCK_TTL_S + 60)
        assert worker.running()
        assert docker.prunes_started == 3
    assert "GivenUp" in (redis.client().hget(HOST, "last_error") or "")


def test_the_hard_limit_ends_a_run_that_ignores_the_soft_one_and_a_dead_ones_lock_expires(
    redis: RedisServer, docker: StandInDocker, tmp_path: Path
) -> None:
    docker.prunes_on_go()
    client, memory = Client(redis.url), redis.client()
    with start_worker(redis.url, docker, tmp_path) as worker:
        sent = client.send(options={"soft_time_limit": 15, "time_limit": 17})
        wait_until(lambda: docker.prunes_started, 60, "the prune to start", detail=worker.log)
        os.kill(run_pid(client, sent), signal.SIGSTOP)  # a stopped process hears no soft limit
        assert 0 < memory.pttl(LOCK) <= LOCK_TTL_S * 1000
        memory.persist(LOCK)  # until this test is done with it
        with pytest.raises(TimeLimitExceeded):
            sent.get(60)
        wait_until(lambda: memory.hget(HOST, "last_error"), 60, "the failure to be recorded")
        assert memory.hget(HOST, "consecutive_failures") == "1"
        assert "TimeLimitExceeded" in memory.hget(HOST, "last_error")
        docker.go()
        assert client.run()["reason"] == "already running"
        memory.pexpire(LOCK, 1000)
        wait_until(lambda: not memory.exists(LOCK), 60, "the dead run's lock to expire")
        assert client.run()["outcome"] == "done"
        assert worker.running()


def test_a_worker_that_is_told_to_stop_lets_its_prune_finish(
    redis: RedisServer, docker: StandInDocker, tmp_path: Path
) -> None:
    docker.prunes_on_go()
    with start_worker(redis.url, docker, tmp_path) as worker:
        sent = Client(redis.url).send()
        wait_until(lambda: docker.prunes_started, 60, "the prune to start", detail=worker.log)
        os.kill(worker.pid, signal.SIGTERM)
        wait_until(lambda: "Warm shutdown" in worker.log(), 60, "the warm shutdown", detail=worker.log)
        docker.go()
        assert sent.get()["outcome"] == "done"
        assert worker.wait(60) == 0
