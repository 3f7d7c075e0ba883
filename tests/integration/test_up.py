"""`holystone up` as an operator runs it: a process tree of its own, on free ports."""

from __future__ import annotations

import http.client
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.cli.processes import WARM_S
from tests.support.client import Client, environment
from tests.support.paths import CHECKOUT
from tests.support.ports import LOOPBACK, free_port, is_listening
from tests.support.processes import (
    Process,
    Seen,
    clean_environment,
    command_line,
    descendants,
    is_running,
    send_signal,
)
from tests.support.redis_server import RedisServer
from tests.support.requirements import require_redis
from tests.support.stand_in_docker import StandInDocker
from tests.support.waiting import wait_until

UP = "Holystone is up"


class Up:
    """One `holystone up`, which gives runs `warm_s` to end, and every process that was seen below it."""

    def __init__(self, tmp: Path, hosts: str = "", url: str | None = None, warm_s: int = WARM_S) -> None:
        self.docker = StandInDocker(tmp / "commands")
        self.redis_port, self.flower_port = free_port(), free_port()
        self.url = url or f"redis://{LOOPBACK}:{self.redis_port}/0"
        settings = environment(self.url, hosts, self.docker.folder, prune_interval_s=3600)
        script = f"from tasks.cli import main, processes; processes.WARM_S = {warm_s}; main()"
        self.process = Process(
            [sys.executable, "-c", script, "up", "--flower-port", str(self.flower_port)],
            env=clean_environment(
                tmp, settings | {"PYTHONPATH": str(CHECKOUT), "XDG_STATE_HOME": str(tmp / "state")}
            ),
            cwd=tmp,
            log=tmp / "up.log",
        )
        self.seen = Seen()

    def ready(self) -> None:
        self.process.wait_for_log(UP, 120)
        self.look()

    def look(self) -> None:
        for pid in descendants(self.process.pid):
            self.seen.add(pid)

    def pid(self, command: str) -> int:
        """The main process of one celery command."""
        found = [pid for pid in descendants(self.process.pid) if f" -A worker {command}" in command_line(pid)]
        return found[0]

    def check_gone(self) -> None:
        """Nothing that was seen runs, and nothing listens."""
        self.seen.check_gone()
        for port in (self.flower_port, self.redis_port):
            wait_until(lambda: not is_listening(port), 60, f"port {port} to be free")  # noqa: B023


@pytest.fixture(params=[WARM_S])
def up(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Up]:
    """Up with the host `local`, whose docker is a stand-in."""
    require_redis()
    started = Up(tmp_path, "local", warm_s=request.param)
    yield started
    end(started)


def end(up: Up) -> None:
    up.look()
    up.process.kill_all()
    up.seen.kill_left()


def test_up_runs_what_beat_and_others_send_and_sigterm_leaves_nothing(up: Up) -> None:
    up.ready()
    assert f"http://{LOOPBACK}:{up.flower_port}" in up.process.log()
    flower = http.client.HTTPConnection(LOOPBACK, up.flower_port, timeout=60)
    flower.request("GET", "/tasks")
    assert 'data-column="kwargs"' in flower.getresponse().read().decode()  # whose host a run is of
    flower.close()

    up.process.wait_for_log("run finished", 120)  # beat's first run, in the worker's log
    report = Client(up.url).run("local")

    assert (report["outcome"], report["trigger"]) == ("done", "manual")
    up.look()
    assert len(up.seen) > 16  # the worker's slots are among them
    assert up.process.terminate(90) == 0
    up.check_gone()


def test_up_killed_outright_leaves_nothing(up: Up) -> None:
    up.ready()

    up.process.signal(signal.SIGKILL)

    up.check_gone()


@pytest.mark.parametrize("up", [600], indirect=True)
def test_a_second_signal_ends_a_run_that_goes_on(up: Up) -> None:
    write = 'echo $$ > "$folder/pid.new"; mv "$folder/pid.new" "$folder/pid"'
    up.docker.prunes(f'trap "" TERM; {write}; while :; do sleep 0.1; done')
    up.ready()
    pid = up.docker.folder / "pid"
    wait_until(pid.exists, 120, "beat's run to prune", detail=up.process.log)
    up.look()
    pruning = int(pid.read_text())
    assert pruning in up.seen.left()

    up.process.signal(signal.SIGTERM)
    up.process.wait_for_log("stopping", 60)
    assert is_running(pruning)
    up.process.signal(signal.SIGTERM)

    assert up.process.wait(60) == 0
    up.check_gone()


def test_a_child_that_dies_is_named_and_ends_the_rest(up: Up) -> None:
    up.ready()
    up.process.wait_for_log("beat: Starting", 120)

    send_signal(up.pid("beat"), signal.SIGKILL)

    assert up.process.wait(90) == 1
    assert "Error: beat ended (signal 9); its last lines:" in up.process.log()
    up.check_gone()


def test_without_hosts_it_starts_and_says_how_to_name_one(tmp_path: Path, redis: RedisServer) -> None:
    up = Up(tmp_path, "", redis.url)
    try:
        up.ready()
        assert "HOLYSTONE_HOSTS=ssh://user@" in up.process.log()
        assert "was running already" in up.process.log()
        assert up.process.terminate(90) == 0
        up.check_gone()
        assert redis.client().ping()  # not ours to stop
    finally:
        end(up)


@pytest.mark.parametrize("address", [LOOPBACK, "127.0.0.2"])
def test_an_address_where_no_redis_can_be_had_is_one_line_without_the_password(
    tmp_path: Path, address: str
) -> None:
    # Something else listens at the first; the second is not ours to start one on.
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        up = Up(tmp_path, "", f"redis://:pass-word@{address}:{port}/0")
        try:
            assert up.process.wait(90) == 1
        finally:
            end(up)
    (line,) = [line for line in up.process.log().splitlines() if f"redis://{address}:{port}/0" in line]
    assert "HOLYSTONE_REDIS_URL" in line
    assert "pass-word" not in up.process.log()
