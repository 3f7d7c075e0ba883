"""The note of a prune before it is sent: what of it is left, and counted, however the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis

from tasks.followed import Followed
from tasks.left_prunes import LeftPrune, parse_note, to_note
from tasks.prune_journal import PruneJournal
from tests.unit.fakes import FakeMemory

OWN = LeftPrune("id", "build-01", "24h", False, "classic", 1_750_000_000.0, 1_795_246_000.0, 1_000_000)
EARLIER = replace(OWN, task_id="earlier", host="by-another-name")


def _journal(memory: FakeMemory, earlier: Followed | None = None) -> PruneJournal:
    used: Any = memory
    memory.note = earlier.note if earlier else None
    return PruneJournal(used, "engine", 600, lambda: OWN, earlier)


def _away(memory: FakeMemory, monkeypatch: pytest.MonkeyPatch, *methods: str) -> Callable[[], None]:
    """Redis is away for these until it is called."""

    for method in methods:
        monkeypatch.setattr(memory, method, _fail)
    return monkeypatch.undo


def _fail(*_: Any) -> None:
    raise redis.ConnectionError("away")


def test_it_is_noted_while_it_runs_and_counted_when_it_ends() -> None:
    memory = FakeMemory()
    journal = _journal(memory)
    for reclaimed, total in ((5, 5), (None, 5), (2, 7)):
        journal.begin()
        assert parse_note(memory.note or "") == (OWN,)
        journal.end(reclaimed)
        assert (memory.note, memory.totals["build-01"]) == (None, total)
    journal.close()
    assert len(memory.calls) == 6


def test_one_whose_run_is_killed_stays_noted() -> None:
    memory = FakeMemory()
    journal = _journal(memory)
    journal.begin()
    journal.end(5)
    journal.begin()
    assert (memory.note, memory.totals["build-01"]) == (to_note([OWN]), 5)


def test_one_that_is_left_stays_noted_with_what_it_printed() -> None:
    memory = FakeMemory()
    journal = _journal(memory)
    journal.begin()
    journal.leave(42)
    (left,) = parse_note(memory.note or "")
    assert left.left_ts > OWN.left_ts
    assert replace(left, left_ts=OWN.left_ts) == replace(OWN, printed_bytes=42)
    assert memory.totals["build-01"] == 0


@pytest.mark.parametrize("earlier", [Followed(to_note([EARLIER]), (EARLIER,)), Followed("garbage")])
def test_what_earlier_runs_left_stays_noted(earlier: Followed) -> None:
    memory = FakeMemory()
    journal = _journal(memory, earlier)
    journal.begin()
    assert parse_note(memory.note or "") == (*earlier.prunes, OWN)
    journal.end(5)
    assert (memory.note, memory.totals) == (earlier.note, {"build-01": 5})
    journal.leave(None)
    assert [left.task_id for left in parse_note(memory.note or "")] == [
        *(left.task_id for left in earlier.prunes),
        "id",
    ]


def test_one_that_never_began_is_noted_no_more_once_the_run_ends() -> None:
    memory = FakeMemory()
    journal = _journal(memory)
    journal.begin()
    journal.close()
    assert (memory.note, memory.totals["build-01"]) == (None, 0)


def test_a_redis_that_was_away_at_the_end_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FakeMemory()
    journal = _journal(memory)
    journal.begin()
    back = _away(memory, monkeypatch, "settle_prune")
    journal.end(5)
    assert memory.totals["build-01"] == 0
    back()
    journal.close()
    assert (memory.note, memory.totals["build-01"]) == (None, 5)


def test_what_could_not_be_counted_is_counted_at_the_end_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FakeMemory()
    journal = _journal(memory)
    journal.begin()
    back = _away(memory, monkeypatch, "settle_prune", "note_prunes")
    journal.end(5)
    journal.begin()
    journal.end(2)
    back()
    journal.close()
    assert (memory.note, memory.totals["build-01"]) == (None, 7)


def test_a_redis_that_is_away_is_tried_once_and_not_again_before_the_run_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = FakeMemory()
    journal = _journal(memory)
    tries = []

    def fail(*values: Any) -> None:
        tries.append(values)
        _fail()

    monkeypatch.setattr(memory, "note_prunes", fail)
    for _ in range(3):
        journal.begin()
        journal.end(5)
    assert len(tries) == 1
    journal.close()
    assert memory.totals["build-01"] == 15


def test_what_could_not_be_counted_before_is_counted_where_the_next_one_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = FakeMemory()
    journal = _journal(memory)
    journal.begin()
    back = _away(memory, monkeypatch, "settle_prune")
    journal.end(5)
    journal.begin()
    back()
    journal.leave(42)
    (left,) = parse_note(memory.note or "")
    assert (left.printed_bytes, memory.totals["build-01"]) == (42, 5)


@pytest.mark.parametrize("method", ["settle_prune", "note_prunes"])
def test_what_redis_did_though_its_answer_was_lost_is_not_done_twice(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    memory = FakeMemory()
    journal, do = _journal(memory), getattr(memory, method)

    def do_and_fail(*values: Any) -> None:
        do(*values)
        _fail()

    monkeypatch.setattr(memory, method, do_and_fail)
    journal.begin()
    journal.end(5)
    monkeypatch.undo()
    journal.begin()
    journal.end(2)
    journal.close()
    assert memory.note is None
    # Where the count's own answer was lost, what came after it can't be told apart from it.
    assert memory.totals["build-01"] == {"settle_prune": 5, "note_prunes": 7}[method]


def test_another_run_s_note_stays_where_this_one_leaves_late() -> None:
    memory = FakeMemory()
    journal = _journal(memory)
    journal.begin()
    memory.note = to_note([EARLIER])
    journal.leave(42)
    assert memory.note == to_note([EARLIER])


def test_a_note_that_expired_counts_nothing_twice() -> None:
    memory = FakeMemory()
    journal = _journal(memory)
    journal.begin()
    memory.note = None
    journal.end(5)
    journal.close()
    assert (memory.note, memory.totals["build-01"]) == (None, 0)


def test_one_that_could_not_be_noted_is_counted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FakeMemory()
    journal = _journal(memory)
    back = _away(memory, monkeypatch, "note_prunes")
    journal.begin()
    back()
    journal.end(5)
    journal.close()
    assert memory.totals["build-01"] == 5
