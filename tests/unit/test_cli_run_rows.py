"""Runs as far as their results tell: states, lines, rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billiard.exceptions import TimeLimitExceeded

from tasks.cli.run_rows import Sent, advance, cells, line, live_lines
from worker.errors import CommandFailed, HostUnreachable

RUN = Sent("build-01", "id")
STARTED = {"status": "STARTED", "result": {"hostname": "celery@a", "pid": 1}}
RETRY = {"status": "RETRY", "result": HostUnreachable("build-01: refused")}
REPORT: dict[str, Any] = {
    "host": "build-01",
    "outcome": "done",
    "reason": None,
    "reclaimed_bytes": 49_210_000,
    "duration_s": 1.84,
    "complete": True,
    "passes": 2,
    "disk": {"freed_bytes": -3_000_000},
}
PREVIEW = REPORT | {
    "dry_run": True,
    "reclaimed_bytes": None,
    "complete": None,
    "would_reclaim_bytes": 5000,
    "records": 3,
    "oldest_use": "1970-01-02T00:00:00Z",
}


def success(report: Mapping[str, Any]) -> dict[str, Any]:
    return {"status": "SUCCESS", "result": report}


def after(*metas: Mapping[str, Any] | None, run: Sent = RUN) -> Sent:
    for meta in metas:
        run = advance(run, meta)
    return run


def test_a_run_waits_until_a_worker_starts_it() -> None:
    assert line(after(None)) == "build-01: waiting"
    assert line(after(STARTED)) == "build-01: running, on celery@a"


def test_a_retried_run_says_why_also_when_it_runs_again() -> None:
    assert line(after(STARTED, RETRY)) == "build-01: retried, HostUnreachable: build-01: refused"
    assert line(after(STARTED, RETRY, STARTED)) == (
        "build-01: running, on celery@a, again after HostUnreachable: build-01: refused"
    )


def test_nothing_new_is_the_same_run_and_another_process_is_not() -> None:
    running = after(STARTED)
    assert advance(running, STARTED) is running
    assert after(STARTED, RETRY, STARTED, STARTED) == after(STARTED, RETRY, STARTED)
    again = {"status": "STARTED", "result": {"hostname": "celery@b", "pid": 2}}
    assert line(advance(running, again)) == "build-01: running, on celery@b"


def test_the_outcome_is_told_in_a_line() -> None:
    assert line(after(success(REPORT))) == "build-01: done, 49.21MB reclaimed"
    assert line(after(success(REPORT | {"reclaimed_bytes": None}))) == "build-01: done, unknown reclaimed"
    assert line(after(success(PREVIEW))) == "build-01: done, 5kB would go"
    skipped = {"outcome": "skipped", "reason": "already running"}
    assert line(after(success(skipped))) == "build-01: skipped, already running"
    failed = after({"status": "FAILURE", "result": CommandFailed("docker info", 1, "no\nsuch\x1b socket")})
    assert (
        line(failed) == "build-01: failed, CommandFailed: `docker info` exited with status 1: no such? socket"
    )


def test_the_hard_limit_is_explained() -> None:
    failed = after({"status": "FAILURE", "result": TimeLimitExceeded(150)})
    assert failed.note.startswith("TimeLimitExceeded: did not end at its soft limit")
    assert "150 s" in failed.note


def test_a_run_that_is_over_stays_so() -> None:
    assert advance(after(success(REPORT)), STARTED).over


def test_a_row_says_what_a_prune_did() -> None:
    run = after(success(REPORT))
    assert cells(run, False, 0) == ("build-01", "done", "49.21MB", "-3MB", "2", "1.8 s", "")
    cut = after(success(REPORT | {"complete": False, "disk": None}))
    assert cells(cut, False, 0)[3:] == ("unknown", "2", "1.8 s", "not complete: run it again")


def test_a_row_says_what_a_dry_run_would_do() -> None:
    run = after(success(PREVIEW))
    assert cells(run, True, 3 * 86_400) == ("build-01", "done", "5kB", "3", "2 d ago", "1.8 s", "")
    nothing = after(success(PREVIEW | {"oldest_use": None, "records": 0, "would_reclaim_bytes": 0}))
    assert cells(nothing, True, 0)[2:5] == ("0B", "0", "-")


def test_a_row_without_a_result_says_so() -> None:
    assert cells(after(STARTED), False, 0) == ("build-01", "no result", "-", "-", "-", "-", "")
    failed = after({"status": "FAILURE", "result": HostUnreachable("build-01: refused")})
    assert cells(failed, False, 0) == ("build-01", "failed", "-", "-", "-", "-", "HostUnreachable")


def test_live_lines_leave_none_out_where_there_is_room() -> None:
    runs = [RUN, after(STARTED, run=Sent("b", "2"))]
    assert live_lines(runs, 2, lambda _: "3 s") == [
        "build-01  waiting     3 s",
        "b         running     3 s  on celery@a",
    ]


def test_live_lines_show_what_moves_first_and_count_the_rest() -> None:
    runs = [Sent(f"w{n}", f"w{n}") for n in range(8)]
    runs += [after(success(REPORT), run=Sent("d", "d")), after(STARTED, RETRY, run=Sent("r", "r"))]
    lines = live_lines(runs, 4, lambda _: "")
    assert [shown.split()[0] for shown in lines[:3]] == ["r", "w0", "w1"]
    assert lines[3] == "and 7 more: 6 waiting, 1 done"
