"""Beat's liveness: the decision, and the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.liveness import MAX_AGE_S, VARIABLE, find_trouble, main, read_heartbeat, touch_heartbeat


@pytest.mark.parametrize(
    ("last_tick_ts", "trouble"),
    [
        (None, "beat had no tick yet"),
        (1000.0, None),
        (1000.0 - MAX_AGE_S, None),
        (1000.0 - MAX_AGE_S - 1, f"beat's last tick was {MAX_AGE_S + 1} s ago"),
        (
            2000.0,
            "beat's last tick was -1000 s ago",
        ),  # the clock was set back: a live one's next tick ends it
    ],
)
def test_a_beat_is_judged_by_its_last_tick(last_tick_ts: float | None, trouble: str | None) -> None:
    assert find_trouble(last_tick_ts, 1000) == trouble


def test_a_tick_makes_the_heartbeat_young_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "heartbeat"
    monkeypatch.setenv(VARIABLE, str(path))
    assert read_heartbeat(path) is None
    touch_heartbeat()
    first = read_heartbeat(path)
    assert first is not None
    assert main() == 0
    touch_heartbeat()
    assert (read_heartbeat(path) or 0) >= first


def test_a_heartbeat_that_can_not_be_written_does_not_stop_beat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch_heartbeat()  # no file is named
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing" / "heartbeat"))
    touch_heartbeat()


def test_the_check_says_that_no_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 1
    assert capsys.readouterr().out == f"{VARIABLE} names no file\n"


@pytest.mark.parametrize(("answers", "status"), [(True, 1), (False, 0)])
def test_without_a_tick_beat_is_dead_only_while_redis_answers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answers: bool,
    status: int,
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "heartbeat"))
    monkeypatch.setattr("worker.liveness.redis_answers", lambda: answers)
    assert main() == status
    assert capsys.readouterr().out == ("beat had no tick yet\n" if status else "")
