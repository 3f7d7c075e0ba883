from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tasks.cli.child import Child, ChildEnded
from tasks.cli.host_arguments import NAME_A_HOST
from tasks.cli.narration import result_line
from tasks.cli.services import told
from tasks.cli.up import summary
from worker.settings import load_settings


def summary_text(folder: Path) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(summary(load_settings(folder), "redis://127.0.0.1:1/0 (started here)", 5555))
    return captured.get()


def test_summary_says_what_runs_where_and_how_to_name_a_host(tmp_path: Path) -> None:
    text = summary_text(tmp_path)
    assert "redis://127.0.0.1:1/0 (started here)" in text
    assert "http://127.0.0.1:5555" in text
    assert NAME_A_HOST in text


def test_summary_names_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLYSTONE_HOSTS", "ssh://a")
    text = summary_text(tmp_path)
    assert "a: every 21600 s, cache unused for 24h" in text
    assert NAME_A_HOST not in text


def test_summary_says_that_pruning_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLYSTONE_HOSTS", "ssh://a")
    monkeypatch.setenv("HOLYSTONE_PRUNE_ENABLED", "false")
    assert "a: pruning is off" in summary_text(tmp_path)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("exit 3", "Error: beat ended (exit status 3) without a word"),
        ("echo one; echo two; exit 1", "Error: beat ended (exit status 1); its last lines:\n  one\n  two"),
        ("kill -9 $$", "Error: beat ended (signal 9) without a word"),
    ],
)
def test_told_says_which_child_ended_and_its_last_lines(script: str, text: str) -> None:
    popen = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, text=True)
    child = Child("beat", popen, lambda name, line: None, "", 15, False)
    popen.wait()
    child.wait_for_output(30)
    assert told(ChildEnded(child)) == text


def test_a_reader_that_is_gone_does_not_stop_a_child() -> None:
    popen = subprocess.Popen(
        [sys.executable, "-c", "print('x\\n' * 100_000, 'ready.')"], stdout=subprocess.PIPE, text=True
    )

    def broken(name: str, line: str) -> None:
        raise BrokenPipeError

    child = Child("worker", popen, broken, "ready.", 15, False)
    assert popen.wait() == 0
    child.wait_for_output(30)
    assert child.said_ready.is_set()


def test_result_line_says_what_a_prune_did() -> None:
    report = {
        "outcome": "done",
        "reclaimed": "151MB",
        "passes": 2,
        "duration_s": 0.4,
        "disk": {"freed_bytes": -1_000_000},
    }
    assert result_line(report) == "reclaimed 151MB in 2 passes and 0.4 s, the disk gained -1MB"
    assert result_line(report | {"passes": 1, "disk": None}) == "reclaimed 151MB in 1 pass and 0.4 s"
    assert result_line({"outcome": "skipped", "reason": "ran recently"}) == "skipped: ran recently"
