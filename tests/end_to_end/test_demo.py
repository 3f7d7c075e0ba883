"""`holystone demo`, with whatever Docker engine and sshd this machine has."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.cli.programs import CannotStart, Programs, find_programs
from tests.support.paths import CHECKOUT
from tests.support.processes import Process, Seen, clean_environment, command_line, descendants, send_signal
from tests.support.requirements import require, require_redis
from tests.support.scripts import put_script
from tests.support.waiting import wait_until

FOLDERS = Path("/var/tmp")
HAND = "by hand"
ENDS_IN_S = 90  # runs are waited for, then the host, then what is left is killed: 40 s at most
StartDemo = Callable[..., "Demo"]
pytestmark = pytest.mark.timeout(600)
# Its prunes last for ever: it is midway until it is ended.
_HOLDING_DOCKER = """#!/bin/sh
while [ "$1 $2" = "builder prune" ]; do touch {held}; sleep 0.1; done
exec {docker} "$@"
"""


class Demo:
    """One run of the demo, and every process that was seen below it; `commands` come first on its PATH."""

    def __init__(self, tmp: Path, commands: Path, *args: str) -> None:
        self.home = tmp / "home"
        self.home.mkdir()
        path = f"{commands}{os.pathsep}{os.environ['PATH']}"
        self.process = Process(
            [sys.executable, "-m", "tasks.cli", "demo", *args],
            env=clean_environment(self.home, {"PYTHONPATH": str(CHECKOUT), "PATH": path}),
            cwd=tmp,
            log=tmp / "demo.log",
        )
        self.seen = Seen()
        self.folder: Path | None = None

    def look(self) -> bool:
        """Notes the processes and the folder as they are now; whether it goes on."""
        for pid in descendants(self.process.pid):
            self.seen.add(pid)
            if found := re.search(rf"{FOLDERS}/holystone-demo-\w+", command_line(pid)):
                self.folder = Path(found[0])
        return self.process.running()

    def wait_for(self, text: str) -> None:
        def said() -> bool:
            assert self.look(), self.process.log()
            return text in self.process.log()

        wait_until(said, 180, f"{text!r} to be said", detail=self.process.log)

    def check_gone(self) -> None:
        """No process, mount or folder of it is left."""
        self.seen.check_gone()
        assert len(self.seen) > 16
        assert self.folder
        wait_until(lambda: not self.folder or not self.folder.exists(), 60, "the folder to be gone")
        assert str(self.folder) not in Path("/proc/mounts").read_text()
        assert not list(self.home.iterdir())  # no ~/.docker, no ~/.ssh


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[StartDemo]:
    require_redis()
    commands, held = tmp_path / "commands", tmp_path / "held"
    commands.mkdir()
    try:
        programs = find_programs()
    except CannotStart as error:
        require(str(error), False)
    started: list[Demo] = []

    def start(*args: str, hold: bool = False) -> Demo:
        if hold:
            hold_prunes(programs, commands, held)
        started.append(Demo(tmp_path, commands, *args))
        return started[0]

    yield start
    for demo in started:
        demo.look()
        demo.process.kill_all()
        demo.seen.kill_left()


def hold_prunes(programs: Programs, commands: Path, held: Path) -> None:
    """The docker beside dockerd is a stand-in that makes the file `held` and waits, where it is to prune."""
    (commands / "dockerd").symlink_to(programs.dockerd)
    put_script(commands / "docker", _HOLDING_DOCKER.format(held=held, docker=programs.docker))


def test_demo_reclaims_cache_and_removes_all_it_made(start_demo: StartDemo) -> None:
    demo = start_demo()
    wait_until(lambda: not demo.look(), 240, "the demo to end", detail=demo.process.log)

    said = demo.process.log()
    assert demo.process.returncode() == 0, said
    for trigger in ('"trigger": "schedule"', HAND):
        assert trigger in said
    prunes = re.findall(r"reclaimed ([\d.]+)MB in (\d) pass", said)
    assert len(prunes) == 2, said
    assert all(float(megabytes) > 20 for megabytes, _ in prunes)
    assert re.search(r"Reclaimed [\d.]+MB", said)
    assert re.search(r"Flower: http://127\.0\.0\.1:\d+", said)
    assert str(demo.folder) in said
    demo.check_gone()


def test_demo_keeps_everything_up_until_ctrl_c(start_demo: StartDemo) -> None:
    demo = start_demo("--keep")
    demo.wait_for("Still running")

    demo.process.signal(signal.SIGINT)

    assert demo.process.wait(ENDS_IN_S) == 0
    demo.check_gone()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_demo_that_is_ended_midway_leaves_nothing(start_demo: StartDemo, number: int) -> None:
    demo = start_demo(hold=True)
    demo.wait_for("Flower: http")
    demo.look()

    demo.process.signal(number)

    assert demo.process.wait(ENDS_IN_S) == (130 if number == signal.SIGTERM else -number)
    demo.check_gone()


def test_demo_whose_engine_dies_says_so_and_leaves_nothing(start_demo: StartDemo, tmp_path: Path) -> None:
    demo = start_demo(hold=True)
    demo.wait_for("Flower: http")
    # From then on nothing asks the engine, which would fail sooner.
    wait_until((tmp_path / "held").exists, 60, "its prune", detail=demo.process.log)
    demo.look()
    (engine,) = [pid for pid in demo.seen.left() if "/dockerd " in command_line(pid).split("--")[0]]

    send_signal(engine, signal.SIGKILL)

    assert demo.process.wait(ENDS_IN_S) == 1
    assert "dockerd ended" in demo.process.log()
    demo.check_gone()
