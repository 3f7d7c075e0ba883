"""Runs followed until they are over, with a clock of the test's own; and how that is shown."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import redis
from rich.console import Console

from tasks.cli.follow_runs import NO_WORKER, PING_EVERY_S, Read, follow, show_table, showing
from tasks.cli.run_rows import Sent
from tests.unit.test_cli_run_rows import REPORT, RETRY, RUN, STARTED, after, success
from worker.errors import HostUnreachable


class Scene:
    """Follows one run; each look at it takes a second of the scene's own clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pings = 0
        self.workers = True
        self.shown: list[tuple[str, str]] = []

    def ping(self) -> bool:
        self.pings += 1
        return self.workers

    def sleep(self, _: float) -> None:
        self.now += 1
        assert self.now < 1000, "it never ends"

    def show(self, runs: Sequence[Sent], note: str) -> None:
        self.shown.append((runs[0].state, note))

    def follow(self, read: Read, silence_s: float = 20) -> Sent:
        runs = [RUN]
        follow(runs, silence_s, read, self.ping, self.show, lambda: self.now, self.sleep)
        return runs[0]

    def reads(self, *metas: Mapping[str, Any] | None) -> Read:
        """One of `metas` after the other, then the last again and again."""
        left = list(metas)

        def read(_: Sequence[Sent]) -> list[Mapping[str, Any] | None]:
            return [left.pop(0) if len(left) > 1 else left[0]]

        return read


def test_following_ends_with_the_run() -> None:
    scene = Scene()
    assert scene.follow(scene.reads(None, STARTED, success(REPORT))).state == "done"
    assert [state for state, _ in scene.shown] == ["waiting", "running", "done"]


def test_following_says_that_no_worker_answers_and_ends_after_the_silence() -> None:
    scene = Scene()
    scene.workers = False
    assert scene.follow(scene.reads(None)).state == "waiting"
    assert scene.shown[0] == ("waiting", "")
    assert ("waiting", NO_WORKER) in scene.shown
    assert scene.now == 21
    assert scene.pings == pytest.approx(20 / PING_EVERY_S, abs=1)


def test_each_change_puts_the_end_off() -> None:
    scene = Scene()
    metas = [None] * 15 + [STARTED] * 15 + [RETRY] * 15 + [success(REPORT)]
    assert scene.follow(scene.reads(*metas)).state == "done"
    assert {note for _, note in scene.shown} == {""}


def test_redis_going_away_meanwhile_is_said_and_waited_out() -> None:
    scene = Scene()
    left: list[Any] = [STARTED, redis.ConnectionError("gone"), success(REPORT)]

    def read(_: Sequence[Sent]) -> list[Mapping[str, Any] | None]:
        now = left.pop(0)
        if isinstance(now, Exception):
            raise now
        return [now]

    assert scene.follow(read).state == "done"
    assert "Redis does not answer (ConnectionError)" in scene.shown[1][1]
    assert scene.shown[2] == ("done", "")


def test_following_ends_after_the_silence_where_redis_never_comes_back() -> None:
    scene = Scene()

    def read(_: Sequence[Sent]) -> list[Mapping[str, Any] | None]:
        raise redis.ConnectionError("gone")

    assert scene.follow(read).state == "waiting"
    assert scene.now == 21


def test_a_pipe_gets_a_line_per_change() -> None:
    console = Console(file=io.StringIO(), width=200)
    with showing(console) as show:
        for meta, note in [(None, ""), (None, NO_WORKER), (None, NO_WORKER), (STARTED, ""), (STARTED, "")]:
            show([after(meta)], note)
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "build-01: waiting",
        NO_WORKER,
        "build-01: running, on celery@a",
    ]


def test_a_terminal_gets_lines_that_go_away() -> None:
    console = Console(file=io.StringIO(), width=60, height=10, force_terminal=True, markup=False)
    with showing(console) as show:
        show([after(STARTED)], "")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "build-01  running     0 s  on celery@a" in text
    assert text.endswith("\x1b[2K")  # the line is erased


def test_the_table_fits_100_columns_and_says_in_full_why_a_run_failed() -> None:
    console = Console(file=io.StringIO(), width=100, markup=False, highlight=False)
    why = "because " * 20
    runs = [
        after(success(REPORT), run=Sent("build-" + "x" * 60, "1")),
        after({"status": "FAILURE", "result": HostUnreachable(why)}),
    ]
    show_table(console, runs, False)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("because") == 20
    assert text.count("x") == 60
    assert "…" not in text
