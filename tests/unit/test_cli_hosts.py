"""`holystone hosts`: rows from settings and memory, and how a person reads them."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from tasks.cli.host_rows import (
    COLUMNS,
    GAP,
    LATE_S,
    Known,
    Row,
    cells,
    choose_columns,
    error_line,
    left_out_line,
    make_rows,
    next_run,
    other_warnings,
    state,
    to_json,
)
from tasks.cli.hosts import _show, hosts
from worker.disk_memory import DiskMemory
from worker.docker import FileSystem
from worker.fleet import LeftOut
from worker.memory import HostMemory, RunState
from worker.settings import Settings, load_settings

NOW = 1_000_000.0
MEMORY = HostMemory(
    last_run_ts=NOW - 7200,
    last_run_task_id="run",
    last_success_ts=NOW - 7190,
    last_reclaimed_bytes=49_210_000,
    total_reclaimed_bytes=98_420_000,
    engine_id="engine",
)
KNOWN = Known(
    memory={"local": MEMORY},
    watch_memory={"local": HostMemory(last_error="CommandFailed: df")},
    disks={"local": DiskMemory(FileSystem("/", 1000, 85))},
    running={"local": None},
    due={"local": NOW + 14_400},
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HOLYSTONE_HOSTS", "local")
    return load_settings(tmp_path)


def row(settings: Settings, known: Known = KNOWN) -> Row:
    return make_rows(settings, known, NOW)[0]


def test_a_row_holds_the_settings_and_what_is_remembered(settings: Settings) -> None:
    assert row(settings) == Row(
        host="local",
        enabled=True,
        interval_s=21_600,
        until="24h",
        all=False,
        last_run_ts=NOW - 7200,
        last_success_ts=NOW - 7190,
        last_reclaimed="49.21MB",
        last_reclaimed_bytes=49_210_000,
        total_reclaimed_bytes=98_420_000,
        last_error=None,
        consecutive_failures=0,
        running=None,
        next_due_ts=NOW + 14_400,
        paused=None,
        disk_used_percent=91.5,
        disk_error="CommandFailed: df",
        last_run_state=None,
    )


def test_without_redis_the_settings_are_there_and_the_rest_is_none(settings: Settings) -> None:
    found = row(settings, Known())
    assert (found.enabled, found.interval_s, found.until, found.all) == (True, 21_600, "24h", False)
    remembered = [field.name for field in fields(Row)][5:]
    assert {name: getattr(found, name) for name in remembered} == dict.fromkeys(remembered)


def test_a_host_that_is_off_is_never_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLYSTONE_HOSTS", "local")
    monkeypatch.setenv("HOLYSTONE_PRUNE_ENABLED", "false")
    found = row(load_settings(tmp_path))
    assert (found.enabled, found.next_due_ts) == (False, None)
    assert (state(found, True), next_run(found, NOW, True)) == ("off", "-")


def test_json_holds_hosts_left_out_warnings_and_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLYSTONE_HOSTS", "local ssh://build-01:70000")
    monkeypatch.setenv("HOLYSTONE_PRUNE_INTERVAL_S", "soon")
    settings = load_settings(tmp_path)
    told = json.loads(json.dumps(to_json(settings, make_rows(settings, KNOWN, NOW), None)))
    assert [host["host"] for host in told["hosts"]] == ["local"]
    assert list(told["hosts"][0]) == [field.name for field in fields(Row)]
    assert told["left_out"][0]["host"] == "ssh://build-01:70000"
    assert "port" in told["left_out"][0]["reason"]
    assert len(told["warnings"]) == 1
    assert told["warnings"][0].startswith("HOLYSTONE_PRUNE_INTERVAL_S")
    assert told["redis"] == "ok"
    assert to_json(settings, [], "Redis is away")["redis"] == "Redis is away"


def test_warnings_of_hosts_left_out_are_not_said_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLYSTONE_HOSTS", "ssh://build-01:70000")
    settings = load_settings(tmp_path)
    assert settings.warnings
    assert other_warnings(settings) == []


def test_the_state_is_the_word_that_tells_most(settings: Settings) -> None:
    good = row(settings)
    assert state(good, True) == "ok"
    assert state(replace(good, consecutive_failures=2), True) == "failing"
    assert state(replace(good, consecutive_failures=2, paused="by me"), True) == "paused"
    assert state(replace(good, consecutive_failures=2, paused="by me", running="run"), True) == "running"
    assert state(replace(good, last_success_ts=None, last_run_ts=None), True) == "new"
    assert state(good, False) == "?"


@pytest.mark.parametrize("success_ts", [None, NOW - 7190])
@pytest.mark.parametrize(
    ("kept", "word"), [("started", "no result"), ("retrying", "retrying"), ("skipped", "skipped")]
)
def test_what_became_of_the_last_run_comes_before_earlier_successes(
    settings: Settings, kept: RunState, word: str, success_ts: float | None
) -> None:
    known = replace(KNOWN, memory={"local": replace(MEMORY, last_run_state=kept, last_success_ts=success_ts)})
    begun = row(settings, known)
    assert state(begun, True) == word
    assert state(replace(begun, consecutive_failures=1), True) == "failing"
    assert state(replace(begun, paused="by me"), True) == "paused"


@pytest.mark.parametrize(
    ("wait", "text"),
    [(14_400, "in 4 h"), (1, "in 1 s"), (0, "now"), (1 - LATE_S, "now"), (-LATE_S, "late by 1 min")],
)
def test_the_next_run_is_told_from_now_on(settings: Settings, wait: float, text: str) -> None:
    assert next_run(replace(row(settings), next_due_ts=NOW + wait), NOW, True) == text


def test_a_host_that_beat_does_not_know_is_not_scheduled(settings: Settings) -> None:
    found = replace(row(settings), next_due_ts=None)
    assert next_run(found, NOW, True) == "not scheduled"
    assert next_run(found, NOW, False) == "?"


def test_cells_are_short_words(settings: Settings) -> None:
    told = cells(row(settings), NOW, True)
    assert told == ("local", "ok", "1 h ago", "49.21MB", "98.42MB", "92 %", "in 4 h", "6h", "24h")
    assert cells(replace(row(settings), all=True), NOW, True)[-1] == "24h all"
    assert cells(row(settings, Known()), NOW, False) == ("local", "?", "?", "?", "?", "?", "?", "6h", "24h")


@pytest.mark.parametrize(
    ("run", "success", "text"),
    [
        (-7200, -10, "10 s ago"),  # pruned early since
        (-10, -7200, "10 s ago"),
        (None, -10, "10 s ago"),
        (-10, None, "10 s ago"),
        (None, None, "never"),
    ],
)
def test_the_last_run_is_the_later_of_begun_and_succeeded(
    settings: Settings, run: float | None, success: float | None, text: str
) -> None:
    run_ts, success_ts = (None if ts is None else NOW + ts for ts in (run, success))
    found = replace(row(settings), last_run_ts=run_ts, last_success_ts=success_ts)
    assert cells(found, NOW, True)[2] == text


def test_a_narrow_table_leaves_out_what_is_least_needed() -> None:
    rows = [
        ("build-01", "retrying", "12 min ago", "49.21MB", "98.42MB", "92 %", "in 12 min", "6h", "24h all"),
        ("b", "ok", "never", "-", "0B", "-", "late by 12 min", "6h", "24h"),
    ]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    full = sum(widths) + GAP * (len(widths) - 1)
    assert choose_columns(rows, full) == list(COLUMNS)
    assert choose_columns(rows, full - 1) == list(COLUMNS[:-1])
    assert choose_columns(rows, 80) == list(COLUMNS[:-2])
    assert choose_columns(rows, 20) == ["host", "state", "last run", "reclaimed", "disk", "next run"]


def test_a_row_fits_on_one_line_of_80_columns(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = replace(row(settings), host="build-server", last_success_ts=None, last_run_state="retrying")
    monkeypatch.setattr("tasks.cli.hosts.time.time", lambda: NOW)
    _show(Console(width=80, markup=False), settings, [replace(begun, disk_error=None)], True)
    header, _, line = capsys.readouterr().out.splitlines()
    assert re.split(" {2,}", header.strip()) == list(COLUMNS[:-2])
    told = ["build-server", "retrying", "2 h ago", "49.21MB", "98.42MB", "92 %", "in 4 h"]
    assert re.split(" {2,}", line.strip()) == told


def test_the_help_explains_each_state() -> None:
    told = CliRunner().invoke(hosts, ["--help"]).output
    for word in ("running", "off", "paused", "failing", "ok", "retrying", "skipped", "no result", "new", "?"):
        assert re.search(rf"^ +{re.escape(word)}  +\S", told, re.MULTILINE), word


def test_the_error_line_counts_the_failures(settings: Settings) -> None:
    failing = replace(row(settings), last_error="HostUnreachable: gone\nfor good", consecutive_failures=2)
    assert error_line(row(settings), NOW) is None
    assert error_line(failing, NOW) == (
        "local: HostUnreachable: gone for good (2 failures, last success 1 h ago)"
    )
    assert error_line(replace(failing, consecutive_failures=1, last_success_ts=None), NOW) == (
        "local: HostUnreachable: gone for good (1 failure, no success yet)"
    )


def test_a_host_left_out_is_named_once() -> None:
    assert left_out_line(LeftOut("b", "'b' is named twice")) == "left out: 'b' is named twice"
    assert left_out_line(LeftOut("b", "no passwords here")) == "left out: b: no passwords here"
