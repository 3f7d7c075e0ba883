"""The log of real processes: a run is a few lines, each with its host and id, whatever way it ends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.celery_processes import Beat, Flower, Worker
from tests.support.client import Client, environment
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.soft_limit import run_pid
from tests.support.sshd import SshServer
from tests.support.stand_in_docker import StandInDocker
from tests.support.waiting import wait_until

Line = dict[str, Any]
MOST_LINES, MOST_BYTES = 5, 1500  # of a run at INFO, as JSON


class Host:
    """A Redis and a host behind sshd, whose `docker` is a stand-in; `env` is for worker, beat and Flower."""

    def __init__(self, redis: RedisServer, server: SshServer, tmp: Path) -> None:
        self.docker = StandInDocker(tmp / "docker")
        server.stand_in("docker", self.docker.script)
        self.tmp, self.name, self.client = tmp, server.name, Client(redis.url)
        self.env = environment(
            redis.url,
            f"{server.url} local",
            self.docker.folder,
            ssh_known_hosts=server.known_hosts,
            ssh_identity=server.identity,
            log_format="json",
            disk_enabled="true",
        )

    def worker(self, *args: str, **changes: str) -> Worker:
        env = self.env | {f"HOLYSTONE_{name.upper()}": value for name, value in changes.items()}
        return Worker(env, "--concurrency=2", *args, tmp=self.tmp)


@pytest.fixture
def host(redis: RedisServer, own_ssh_server: SshServer, tmp_path: Path) -> Host:
    return Host(redis, own_ssh_server, tmp_path)


@pytest.fixture
def worker(host: Host) -> Iterator[Worker]:
    with host.worker() as worker:
        worker.wait_ready(90)
        yield worker


def written(log: str) -> list[str]:
    """Its lines, but for one that is just being written."""
    return log.rpartition("\n")[0].splitlines()


def lines_in(log: str) -> list[Line]:
    return [json.loads(line) for line in written(log) if line.startswith("{")]


def lines_of(log: str, task_id: str) -> list[Line]:
    """Every line that holds the run's id, wherever in it; each must name the run where lines do."""
    return [json.loads(line) for line in written(log) if task_id in line]


def ended(worker: Worker, task_id: str, event: str) -> list[Line]:
    """The run's lines, once the last of them is there."""

    def there() -> bool:
        return any(line["event"] == event for line in lines_of(worker.log(), task_id))

    wait_until(there, 90, f"{event!r} of {task_id}", detail=worker.log)
    return lines_of(worker.log(), task_id)


def events(lines: list[Line]) -> list[str]:
    return [line["event"] for line in lines]


def test_a_run_is_four_lines_each_with_its_host_and_id(host: Host, worker: Worker) -> None:
    before = len(worker.log())
    sent = host.client.send(host.name)
    sent.get()
    lines = ended(worker, sent.id, "run finished")
    assert events(lines) == ["run started", "host looked at", "age pruned", "run finished"]
    assert {(line["host"], line["task_id"], line["level"]) for line in lines} == {
        (host.name, sent.id, "info")
    }
    _, looked, pruned, finished = lines
    assert (looked["engine"], looked["builder"]) == ("26.1.5", "buildx 0.13.1")
    assert (pruned["until"], pruned["passes"], pruned["reclaimed_bytes"]) == ("24h", 2, 49_210_000)
    assert finished["reclaimed_bytes"] == 49_210_000
    assert finished["duration_s"] > 0
    said = worker.log()[before:]
    assert len(said.splitlines()) == len(lines) <= MOST_LINES
    assert len(said) <= MOST_BYTES


def test_what_is_skipped_or_refused_is_one_line_and_what_is_routine_none(host: Host, worker: Worker) -> None:
    host.client.run(host.name)
    skipped = host.client.send(host.name, trigger="schedule")
    assert skipped.get()["outcome"] == "skipped"
    (line,) = ended(worker, skipped.id, "run skipped")
    assert (line["host"], line["reason"]) == (host.name, "ran recently")
    refused = host.client.send("no-such-host")
    (line,) = ended(worker, refused.id, "run failed")
    assert (line["host"], line["error"], line["level"]) == ("no-such-host", "UnknownHost", "error")
    watched = host.client.send(host.name, task="tasks.watch_disk")
    wait_until(watched.ready, 60, "the look at the disk", detail=worker.log)
    later = host.client.send(host.name, dry_run=True)
    ended(worker, later.id, "run failed")  # the stand-in has no `docker system df`
    assert lines_of(worker.log(), watched.id) == []


def test_a_failure_is_one_line_with_type_and_text(host: Host, worker: Worker) -> None:
    host.docker.prunes("echo 'no space left' >&2; exit 3\n")
    sent = host.client.send(host.name)
    wait_until(sent.ready, 60, "the run to fail", detail=worker.log)
    lines = ended(worker, sent.id, "run failed")
    assert events(lines) == ["run started", "host looked at", "run failed"]
    assert lines[-1]["error"] == "CommandFailed"
    assert "exited with status 3: no space left" in lines[-1]["text"]
    assert "Traceback" not in worker.log()


def test_a_lost_way_is_a_line_for_each_attempt(host: Host, worker: Worker, own_ssh_server: SshServer) -> None:
    own_ssh_server.stop()
    sent = host.client.send(host.name, options={"retries": 2})
    lines = ended(worker, sent.id, "run failed")
    assert events(lines) == ["run started", "run failed, tried again", "run started", "run failed"]
    assert {line["error"] for line in lines if "error" in line} == {"HostUnreachable"}
    assert {line["host"] for line in lines} == {host.name}


def test_a_run_that_is_killed_at_its_hard_limit_is_told_of_once_by_id(host: Host, worker: Worker) -> None:
    host.docker.prunes_on_go()
    sent = host.client.send("local", options={"soft_time_limit": 15, "time_limit": 17})
    try:
        wait_until(lambda: host.docker.prunes_started, 60, "the prune to start", detail=worker.log)
        os.kill(run_pid(host.client, sent), signal.SIGSTOP)  # a stopped process hears no soft limit
        lines = ended(worker, sent.id, "run failed")
    finally:
        host.docker.go()
    assert events(lines) == ["run started", "host looked at", "run failed"]
    assert (lines[-1]["host"], lines[-1]["error"]) == ("local", "TimeLimitExceeded")


def test_a_message_that_comes_too_late_is_one_line(host: Host) -> None:
    sent = host.client.send(host.name, options={"expires": 0.01})
    with host.worker() as worker:
        (line,) = ended(worker, sent.id, "run expired")
    assert (line["host"], line["level"]) == (host.name, "warning")


def test_the_level_and_the_file_are_those_of_the_command(host: Host) -> None:
    log = host.tmp / "worker.log"
    with host.worker("--loglevel=DEBUG", f"--logfile={log}") as worker:
        wait_until(lambda: log.exists() and " ready." in log.read_text(), 60, "the worker", detail=worker.log)
        sent = host.client.send(host.name, task="tasks.watch_disk")
        wait_until(lambda: "run finished" in log.read_text(), 60, "the look", detail=log.read_text)
        text = log.read_text()
        assert lines_in(worker.log()) == []
    lines = lines_in(text)
    assert len(lines) == len(written(text))
    assert any(line["level"] == "debug" and line.get("task_id") == sent.id for line in lines)
    assert not [line for line in lines if line.get("logger", "").startswith("asyncssh")]


def test_at_warning_a_run_that_works_says_nothing(host: Host) -> None:
    with host.worker("--loglevel=WARNING") as worker:
        assert host.client.run(host.name)["outcome"] == "done"
        refused = host.client.send("no-such-host")
        ended(worker, refused.id, "run failed")
        assert {line["level"] for line in lines_in(worker.log())} == {"error"}


def test_no_text_from_elsewhere_passes_for_an_event(host: Host) -> None:
    forged = "2026-06-09T16:55:01.902713Z [info] run finished host=build-01 task_id=1"
    host.docker.prunes(f"printf 'gone\\n{forged}\\n' >&2; exit 3\n")
    odd: dict[str, Any] = {f"x\n{forged}\n": 1}
    with host.worker(log_format="plain") as worker:
        worker.wait_ready(90)
        begun = len(worker.log())
        for sent in (host.client.send(host.name), host.client.send(host.name, **odd)):
            worker.wait_for_log(f"[error] run failed host={host.name} task_id={sent.id} ", 90)
        told = worker.log()[begun:]
    assert " error=CommandFailed " in told
    assert " error=TypeError " in told
    assert told.count(forged) >= 3  # in the text of each, and in the traceback
    assert "\n    Traceback (most recent call last):\n" in told
    for line in told.splitlines():
        assert line.startswith("    ") or (" [" in line and not line.startswith(forged)), line


def test_plain_is_what_people_read_and_what_a_wrong_setting_falls_back_to(host: Host) -> None:
    with host.worker(log_format="xml") as worker:
        worker.wait_ready(90)
        sent = host.client.send(host.name)
        sent.get()
        worker.wait_for_log(f"[info] run finished host={host.name} task_id={sent.id} ", 60)
        told = worker.log()
    assert "[warning] setting set aside why=\"HOLYSTONE_LOG_FORMAT (the environment) holds 'xml'" in told
    assert lines_in(told) == []
    assert "\x1b" not in told


def test_beat_and_flower_say_it_in_the_same_form(host: Host, redis: RedisServer) -> None:
    with Flower(host.env, free_port(), tmp=host.tmp) as flower, Beat(host.env, tmp=host.tmp) as beat:
        beat.wait_for_log("run sent", 90)
        sent = next(line for line in lines_in(beat.log()) if line["event"] == "run sent")
        assert (sent["host"] in (host.name, "local"), sent["task"]) == (True, "tasks.prune_build_cache")
        assert sent["task_id"] in str(redis.client().lrange("celery", 0, -1))
        assert "tasks.watch_disk" not in beat.log()  # routine
        assert "beat lock taken" in events(lines_in(beat.log()))
        assert "Sending due task" not in beat.log()
        flower.wait_ready(90)
        flower.wait_for_log("Visit me at", 60)
        log = flower.log()
        assert len(lines_in(log)) == len(written(log))
    quiet = Flower(host.env | {"FLOWER_LOGGING": "warning"}, free_port(), "--logging=error", tmp=host.tmp)
    with quiet:
        quiet.wait_ready(90)
        assert quiet.log() == ""
