"""Beat's liveness: the decision, and the file."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import pytest
import redis
from pydantic import SecretStr

from worker.liveness import MAX_AGE_S, VARIABLE, find_trouble, main, read_heartbeat, touch_heartbeat
from worker.settings import Settings


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


class Redis:
    """A client whose `ping` raises what a test says."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ping(self) -> bool:
        if self._error:
            raise self._error
        return True


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (None, "beat had no tick yet\n"),
        (redis.ConnectionError("refused"), ""),
        (redis.TimeoutError("late"), ""),
        (redis.BusyLoadingError("Redis is loading the dataset in memory"), ""),
        (
            redis.AuthenticationError("Authentication required."),
            "beat had no tick yet; Redis refuses: Authentication required.\n",
        ),
        (
            redis.ResponseError("MISCONF Redis is configured to save\nRDB snapshots"),
            "beat had no tick yet; Redis refuses: MISCONF Redis is configured to save RDB snapshots\n",
        ),
        (redis.InvalidResponse("HTTP/1.1"), "beat had no tick yet; Redis refuses: HTTP/1.1\n"),
    ],
)
def test_without_a_tick_beat_is_dead_unless_redis_is_away(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception | None,
    told: str,
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "heartbeat"))
    monkeypatch.setattr("worker.redis_client.open_redis_at_once", lambda *_: Redis(error))
    assert main() == (1 if told else 0)
    assert capsys.readouterr().out == told


def test_a_url_that_can_not_be_read_is_one_line_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "heartbeat"))
    settings = Settings(redis_url=SecretStr("redis://:hunter/2@127.0.0.1:1/0"))
    monkeypatch.setattr("worker.settings.get_settings", lambda: settings)
    assert main() == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("beat had no tick yet; HOLYSTONE_REDIS_URL can't be read; it is written redis://")
    assert "hunter" not in line


def test_a_heartbeat_that_can_not_be_looked_at_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert read_heartbeat(tmp_path / "file" / "heartbeat") is None
