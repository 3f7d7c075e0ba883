"""The demo's end where something fails: one line, and nothing left."""

from __future__ import annotations

import pytest
import redis
from click.testing import CliRunner

from tasks.cli.demo import demo
from tasks.cli.interrupts import Interrupts
from tasks.cli.programs import Programs


class NoInterrupts(Interrupts):
    """Leaves this process's signals alone."""

    def __enter__(self) -> NoInterrupts:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_a_redis_that_goes_away_ends_the_demo_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        raise redis.ConnectionError("Connection closed by server.")

    monkeypatch.setattr("tasks.cli.demo.Interrupts", NoInterrupts)
    monkeypatch.setattr("tasks.cli.demo.find_programs", lambda: Programs("", "", "", ""))
    monkeypatch.setattr("tasks.cli.demo.Demo", start)
    result = CliRunner().invoke(demo)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.output.startswith("Connection closed by server.\n")
