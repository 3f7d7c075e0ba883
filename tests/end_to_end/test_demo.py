"""`holystone demo`, with whatever Docker engine and sshd this machine has."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.cli.programs import CannotStart, find_programs
from tests.support.paths import CHECKOUT
from tests.support.processes import (
    Process,
    clean_environment,
    command_line,
    descendants,
    is_running,
    send_signal,
)
from tests.support.requirements import require, require_redis
from tests.support.waiting import wait_until

FOLDERS = Path("/var/tmp")
HAND = "by hand"
StartDemo = Callable[..., "Demo"]


class Demo:
    """One run of the demo, and every process that was seen below it."""

    def __init__(self, tmp: Path, *args: str) -> None:
        self.home = tmp / "home"
        self.home.mkdir()
        self.process = Process(
            [sys.executable, "-m", "tasks.cli", "demo", *args],
            env=clean_environment(self.home, {"PYTHONPATH": str(CHECKOUT)}),
            cwd=tmp,
            log=tmp / "demo.log",
        )
        self.seen: set[int] = set()
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

        wait_until(said, 60, f"{text!r} to be said", detail=self.process.log)

    def check_gone(self) -> None:
        """No process, mount or folder of it is left."""

        def left() -> list[str]:
            return [command_line(pid) for pid in self.seen if is_running(pid)]

        wait_until(lambda: not left(), 20, "every process to be gone", detail=lambda: str(left()))
        assert len(self.seen) > 16
        assert self.folder
        wait_until(lambda: not self.folder or not self.folder.exists(), 20, "the folder to be gone")
        assert str(self.folder) not in Path("/proc/mounts").read_text()
        assert not list(self.home.iterdir())  # no ~/.docker, no ~/.ssh


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[StartDemo]:
    require_redis()
    try:
        find_programs()
    except CannotStart as error:
        require(str(error), False)
    started: list[Demo] = []

    def start(*args: str) -> Demo:
        started.append(Demo(tmp_path, *args))
        return started[0]

    yield start
    for demo in started:
        demo.look()
        demo.process.kill_all()
        for pid in demo.seen:
            send_signal(pid, signal.SIGKILL)


def test_demo_reclaims_cache_and_removes_all_it_made(start_demo: StartDemo) -> None:
    demo = start_demo()
    wait_until(lambda: not demo.look(), 120, "the demo to end", detail=demo.process.log)

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

    assert demo.process.wait(30) == 0
    demo.check_gone()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_demo_that_is_ended_midway_leaves_nothing(start_demo: StartDemo, number: int) -> None:
    demo = start_demo()
    demo.wait_for("Flower: http")
    demo.look()

    demo.process.signal(number)

    assert demo.process.wait(30) == (130 if number == signal.SIGTERM else -number)
    demo.check_gone()


def test_demo_whose_engine_dies_says_so_and_leaves_nothing(start_demo: StartDemo) -> None:
    demo = start_demo()
    demo.wait_for("Flower: http")
    (engine,) = [pid for pid in demo.seen if "/dockerd " in command_line(pid).split("--")[0]]

    send_signal(engine, signal.SIGKILL)

    assert demo.process.wait(30) == 1
    assert "dockerd ended" in demo.process.log()
    demo.check_gone()
