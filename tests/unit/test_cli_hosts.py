"""`holystone hosts`: rows from settings and memory, and how a person reads them."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from tasks.cli.host_rows import (
    LATE_S,
    Known,
    Row,
    cells,
    error_line,
    left_out_line,
    make_rows,
    next_run,
    other_warnings,
    state,
    to_json,
)
from worker.disk_memory import DiskMemory
from worker.docker import FileSystem
from worker.fleet import LeftOut
from worker.memory import HostMemory
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
    assert state(replace(good, last_success_ts=None), True) == "no result"
    assert state(replace(good, last_success_ts=None, last_run_ts=None), True) == "new"
    assert state(good, False) == "?"


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
    assert told == ("local", "ok", "2 h ago", "49.21MB", "98.42MB", "92 %", "in 4 h", "6h", "24h")
    assert cells(replace(row(settings), all=True), NOW, True)[-1] == "24h all"
    assert cells(row(settings, Known()), NOW, False) == ("local", "?", "?", "?", "?", "?", "?", "6h", "24h")


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
