"""The note of prunes that may outlive their run, and the engine's clock."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from tasks.left_prunes import LeftPrune, engine_ts, parse_note, to_note
from worker.engine import Engine

NOW = 1_795_246_000.0
ENGINE = Engine("id", "26.1.5", "26.1.5", "classic", "/", datetime.fromtimestamp(NOW, UTC))
LEFT = LeftPrune("id", "build-01", "24h", False, "classic", 1_750_000_000.0, NOW - 7200, 1_000_000)


def test_a_note_is_read_as_it_was_written() -> None:
    other = replace(LEFT, begun_ts=None, free_bytes=None, all=True, until="90s", printed_bytes=7)
    for prunes in ((LEFT,), (other, LEFT), (LEFT, LEFT, other)):
        assert parse_note(to_note(prunes)) == prunes
    assert json.loads(to_note([LEFT])) == [asdict(LEFT)]


def test_no_prune_makes_no_note() -> None:
    assert (to_note([]), parse_note("")) == ("", ())


@pytest.mark.parametrize(
    "note",
    [
        "2f1c8a5e-an-id-as-an-older-worker-wrote-it",
        "{}",
        "[]",
        "null",
        "[" * 100_000,
        "7",
        "[7]",
        json.dumps(asdict(LEFT)),
        json.dumps([asdict(LEFT), {}]),
        *(
            json.dumps([asdict(LEFT), asdict(LEFT) | changes])
            for changes in (
                {"more": 1},
                {"task_id": 7},
                {"host": None},
                {"until": "soon"},
                {"until": "0s"},
                {"until": 24},
                {"all": "yes"},
                {"builder": None},
                {"left_ts": None},
                {"left_ts": "now"},
            )
        ),
    ],
    ids=lambda note: note[-60:],
)
def test_a_note_that_makes_no_sense_is_none(note: str) -> None:
    assert parse_note(note) == ()


@pytest.mark.parametrize("value", ["yesterday", True, -1, math.nan, math.inf, 1e30], ids=str)
@pytest.mark.parametrize("field", ["begun_ts", "free_bytes", "cache_bytes", "printed_bytes"])
def test_what_the_host_said_and_makes_no_sense_is_not_known(field: str, value: Any) -> None:
    note = json.dumps([asdict(LEFT) | {field: value}])
    assert parse_note(note) == (replace(LEFT, **cast(Any, {field: None})),)


# The engine's clock


@pytest.mark.parametrize("hours", [-26, -1, 0, 1, 26])
def test_times_are_of_the_engines_clock_however_wrong_it_is(hours: int) -> None:
    engine = replace(ENGINE, now=datetime(2026, 11, 21, 5, tzinfo=UTC) + timedelta(hours=hours))
    assert engine.now is not None
    assert engine_ts(engine, 100.0, 107.5) == engine.now.timestamp() + 7.5


def test_an_engine_that_tells_no_time_gives_none() -> None:
    assert engine_ts(replace(ENGINE, now=None), 100.0, 107.5) is None
