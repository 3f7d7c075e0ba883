"""The `holystone` command as its users start it, with a real Redis and a real worker."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.celery_processes import Beat, Worker
from tests.support.client import Client, environment
from tests.support.holystone_command import Holystone, holystone
from tests.support.network import Blackhole, SilentServer
from tests.support.ports import LOOPBACK, free_port
from tests.support.redis_server import RedisServer
from tests.support.stand_in_docker import StandInDocker
from tests.support.waiting import wait_until
from worker.memory import Memory
from worker.policies import PRUNE_JOB
from worker.runs import ALREADY_RUNNING
from worker.schedule import DUE_HEADER

USAGE = {
    "BuildCache": [
        {
            "ID": "abc",
            "Size": "5kB",
            "CacheType": "regular",
            "InUse": "false",
            "Shared": "false",
            "LastUsedAt": "2020-01-02T00:00:00Z",
        }
    ]
}
NO_DOCKER = 'echo "Cannot connect to the Docker daemon" >&2; exit 1\n'


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[StandInDocker]:
    stand_in = StandInDocker(tmp_path / "docker")
    yield stand_in
    stand_in.go()  # ends the prunes that were left to finish


@contextlib.contextmanager
def working(redis_url: str, docker: StandInDocker, tmp: Path, **settings: Any) -> Iterator[dict[str, str]]:
    """The environment of a worker that is ready."""
    env = environment(redis_url, commands=docker.folder, **settings)
    with Worker(env, "--concurrency=2", tmp=tmp) as worker:
        worker.wait_ready()
        yield env


def row(output: str, host: str) -> list[str]:
    """The cells of the host's row in a table."""
    found = [line for line in output.splitlines() if line.startswith(f"{host} ")]
    assert len(found) == 1, output
    return found[0].split()


def test_prune_sends_follows_and_prints_a_table(
    redis: RedisServer, docker: StandInDocker, tmp_path: Path
) -> None:
    docker.prunes_on_go()
    with working(redis.url, docker, tmp_path, hosts="local ssh://build-01:70000") as env:
        with Holystone(env, "prune", "--until=7d", "--all", tmp=tmp_path) as process:
            wait_until(lambda: "local: running, on " in process.output(), 60, "the run", detail=process.log)
            docker.go()
            assert process.wait(60) == 0
        assert "local: done, 49.21MB reclaimed" in process.output()
        assert row(process.output(), "local")[:3] == ["local", "done", "49.21MB"]
        assert process.log().count("the port is a number") == 1  # Celery's settings don't say it again
        assert set(docker.calls("builder prune")) == {"builder prune --force --filter until=168h --all"}

        shown = holystone(env, "hosts", tmp=tmp_path)
        assert row(shown.output(), "local")[:2] == ["local", "ok"]
        assert shown.output().count("the port is a number") == 1
        assert shown.log() == ""


def test_a_host_whose_pruning_is_off_is_left_out_aloud(
    redis: RedisServer, docker: StandInDocker, tmp_path: Path
) -> None:
    env = environment(redis.url, prune_enabled=False, commands=docker.folder)
    assert "Left out, pruning is off there: local" in holystone(env, "prune", tmp=tmp_path).output()
    assert redis.client().llen("celery") == 0


def test_the_message_carries_the_hosts_own_limits(
    redis: RedisServer, docker: StandInDocker, tmp_path: Path
) -> None:
    env = environment(redis.url, prune_timeout_s=7)
    with Holystone(env, "prune", "local", tmp=tmp_path) as process:
        queue = redis.client()
        wait_until(lambda: queue.llen("celery"), 60, "the message", detail=process.log)
    headers = json.loads(queue.lindex("celery", 0))["headers"]
    assert headers["timelimit"] == [37, 7]
    assert headers["kwargsrepr"] == "{'host': 'local'}"


def test_a_failed_run_is_shown_and_exits_with_1(
    redis: RedisServer, docker: StandInDocker, tmp_path: Path
) -> None:
    docker.prunes(NO_DOCKER)
    with working(redis.url, docker, tmp_path) as env:
        failed = holystone(env, "prune", tmp=tmp_path, status=1)
        assert row(failed.output(), "local")[-1] == "CommandFailed"
        sentence = (
            "local: CommandFailed: `docker builder prune --force --filter until=24h` exited with status 1"
        )
        assert f"{sentence}: Cannot connect to the Docker daemon" in failed.output()

        shown = holystone(env, "hosts", tmp=tmp_path).output()
        assert row(shown, "local")[1] == "failing"
        assert f"{sentence}: Cannot connect to the Docker daemon (1 failure, no success yet)" in shown


def test_a_retried_run_says_so_and_why(
    redis: RedisServer, docker: StandInDocker, silent_server: SilentServer, tmp_path: Path
) -> None:
    host = f"{LOOPBACK}:{silent_server.port}"
    with (
        working(redis.url, docker, tmp_path, hosts=f"ssh://{host}", ssh_connect_timeout_s=2) as env,
        Holystone(env, "prune", tmp=tmp_path) as process,
    ):
        wait_until(lambda: f"{host}: retried, HostUnreachable: " in process.output(), 60, "the retry")
        wait_until(lambda: ", again after HostUnreachable: " in process.output(), 60, "the second attempt")


def test_a_dry_run_says_what_would_go(redis: RedisServer, docker: StandInDocker, tmp_path: Path) -> None:
    script = docker.folder / "docker"
    listing = f"\"system df\") cat <<'END'\n{json.dumps(USAGE)}\nEND\n;;\n"
    script.write_text(docker.script.replace('"builder prune")', f'{listing}"builder prune")'))
    with working(redis.url, docker, tmp_path) as env:
        output = holystone(env, "prune", "--dry-run", tmp=tmp_path).output()
    assert "would reclaim" in output
    assert row(output, "local")[:4] == ["local", "done", "5kB", "1"]
    assert "local: done, 5kB would go" in output
    assert docker.prunes_started == 0


def test_without_a_worker_prune_says_so_and_ctrl_c_leaves_the_run_in_the_queue(
    redis: RedisServer, tmp_path: Path
) -> None:
    with Holystone(environment(redis.url), "prune", tmp=tmp_path) as process:
        wait_until(lambda: "No worker answers" in process.output(), 60, "the line", detail=process.log)
        process.signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert "Stopped following; 1 of 1 have no result yet" in process.log()
    assert "celery -A worker result" in process.log()
    assert "Traceback" not in process.log()
    (message,) = redis.client().lrange("celery", 0, -1)
    assert json.loads(message)["headers"]["id"] in process.log()


def test_with_redis_down_prune_says_it_in_a_line_without_the_password(tmp_path: Path) -> None:
    port = free_port()
    env = environment(f"redis://:hush@{LOOPBACK}:{port}/0")
    failed = holystone(env, "prune", tmp=tmp_path, status=1, deadline_s=40)
    assert (
        failed.log()
        == f"Redis at {LOOPBACK}:{port} (HOLYSTONE_REDIS_URL) can't be used: Connection refused; "
        "nothing was sent\n"
    )
    assert failed.output() == ""


def test_hosts_does_not_wait_for_long_for_a_redis_that_says_nothing(
    silent_server: SilentServer, blackhole: Blackhole, tmp_path: Path
) -> None:
    for port, why in [(silent_server.port, "reading"), (blackhole.port, "connecting")]:
        env = environment(f"redis://{LOOPBACK}:{port}/0")
        shown = holystone(env, "hosts", tmp=tmp_path, status=1, deadline_s=40, redis_patience_s=None)
        assert f"can't be used: Timeout {why}" in shown.log()


def test_with_redis_down_hosts_shows_the_settings_and_says_so(tmp_path: Path) -> None:
    port = free_port()
    env = environment(f"redis://:hush@{LOOPBACK}:{port}/0")
    shown = holystone(env, "hosts", tmp=tmp_path, status=1)
    assert row(shown.output(), "local") == ["local", "?", "?", "?", "?", "?", "?", "6h", "24h"]
    assert (
        f"Redis at {LOOPBACK}:{port} (HOLYSTONE_REDIS_URL) can't be used: Connection refused" in shown.log()
    )
    told = json.loads(holystone(env, "hosts", "--json", tmp=tmp_path, status=1).output())
    assert "Connection refused" in told["redis"]
    assert told["hosts"][0]["last_run_ts"] is None
    assert "hush" not in json.dumps(told) + shown.log()


def state_of(env: dict[str, str], host: str, tmp: Path) -> str:
    """The host's state in the table."""
    shown = holystone(env, "hosts", tmp=tmp).output()
    (found,) = re.findall(rf"^{host} +(\w+(?: \w+)?)  ", shown, re.MULTILINE)
    return str(found)


@pytest.mark.parametrize("is_known_to_succeed", [False, True])
@pytest.mark.parametrize(
    ("traces", "state"),
    [
        ([], "no result"),
        (["retried"], "retrying"),
        (["retried", "skipped"], "skipped"),
        (["retried", "success"], "ok"),
        (["failure"], "failing"),
        (["success"], "ok"),
    ],
)
def test_hosts_tells_what_became_of_a_run_that_was_due_a_day_ago(
    redis: RedisServer, tmp_path: Path, traces: list[str], state: str, is_known_to_succeed: bool
) -> None:
    memory = Memory(redis.client(), PRUNE_JOB)
    if is_known_to_succeed:  # since the run was due, too
        memory.record_success("local", 1, 1.0)
    memory.record_start("local", "run", time.time() - 90_000)
    leave: dict[str, Callable[[], object]] = {
        "retried": lambda: memory.finish_retried("run:0", "local"),
        "skipped": lambda: memory.count_skip("local", ALREADY_RUNNING, is_last_run=True),
        "success": lambda: memory.record_success("local", 1, 1.0),
        "failure": lambda: memory.record_failure("local", "Error", "no"),
    }
    for trace in traces:
        leave[trace]()
    assert state_of(environment(redis.url), "local", tmp_path) == state


def test_a_skipped_run_stays_skipped_until_the_next_one(
    redis: RedisServer, docker: StandInDocker, tmp_path: Path
) -> None:
    client, queue = redis.client(), Client(redis.url)
    memory, due = Memory(client, PRUNE_JOB), time.time() - 5
    scheduled: dict[str, Any] = {"trigger": "schedule", "options": {"headers": {DUE_HEADER: due}}}
    with working(redis.url, docker, tmp_path, prune_interval_s=604_800) as env:
        assert queue.send().get()["outcome"] == "done"
        assert queue.send(**scheduled).get()["reason"] == "ran recently"
        assert state_of(env, "local", tmp_path) == "ok"
        client.hset("holystone:prune_build_cache:host:local", "last_run_ts", due - 604_800)
        memory.take("stand-in-engine", "other/1")
        assert queue.send(**scheduled).get()["reason"] == "already running"
        memory.release("stand-in-engine", "other/1")
        client.delete(*client.keys("holystone:prune_build_cache:finished:*"))  # as after a day
        assert state_of(env, "local", tmp_path) == "skipped"
        assert queue.send().get()["outcome"] == "done"
        assert state_of(env, "local", tmp_path) == "ok"


def test_hosts_without_any_host_says_how_to_name_one(redis: RedisServer, tmp_path: Path) -> None:
    env = environment(redis.url, hosts="")
    assert "HOLYSTONE_HOSTS=ssh://" in holystone(env, "hosts", tmp=tmp_path).output()
    assert json.loads(holystone(env, "hosts", "--json", tmp=tmp_path).output())["hosts"] == []


def test_hosts_knows_what_runs_and_when_beat_sends_the_next(
    redis: RedisServer, docker: StandInDocker, tmp_path: Path
) -> None:
    docker.prunes_on_go()
    with working(redis.url, docker, tmp_path, prune_interval_s=3600) as env, Beat(env, tmp=tmp_path):

        def told() -> dict[str, Any]:
            shown: dict[str, Any] = json.loads(holystone(env, "hosts", "--json", tmp=tmp_path).output())
            assert shown["redis"] == "ok"
            host: dict[str, Any] = shown["hosts"][0]
            return host

        wait_until(lambda: docker.prunes_started, 60, "beat's run to start")
        host = told()
        assert host["running"]
        assert host["running"] == redis.client().hget(
            "holystone:prune_build_cache:host:local", "last_run_task_id"
        )
        assert 3500 < host["next_due_ts"] - time.time() < 3601
        assert row(holystone(env, "hosts", tmp=tmp_path).output(), "local")[1] == "running"
        docker.go()
        wait_until(lambda: told()["last_success_ts"], 90, "the run to end")
        host = told()
        assert (host["running"], host["last_reclaimed"]) == (None, "49.21MB")
        assert host["last_reclaimed_bytes"] == host["total_reclaimed_bytes"] == 49_210_000


def test_a_run_sent_by_another_client_is_not_mixed_up(
    redis: RedisServer, docker: StandInDocker, tmp_path: Path
) -> None:
    docker.prunes_on_go()
    with working(redis.url, docker, tmp_path) as env:
        other = Client(redis.url).send()
        wait_until(lambda: docker.prunes_started, 60, "the other's prune to start")
        output = holystone(env, "prune", tmp=tmp_path).output()
        assert row(output, "local")[-2:] == ["already", "running"]
        docker.go()
        assert other.get()["outcome"] == "done"
