"""What a host's answers say of the prunes that were left there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tasks.followed import (
    Count,
    Followed,
    count_reclaimed,
    decide_known_by,
    decide_wait,
    followed_facts,
    is_anything_left,
    lost_bytes,
    match_events,
)
from tasks.left_prunes import LeftPrune
from worker.docker import CacheRecord, FileSystem, Pruned, PruneEvent

NOW = 1_795_246_000.0
LEFT = LeftPrune("id", "build-01", "24h", False, "classic", 1_750_000_000.0, NOW, 1_000_000, None, None)
OTHER = replace(LEFT, task_id="other")


# Their events


def test_the_first_event_after_it_was_sent_is_its_own() -> None:
    before, own, later = (PruneEvent(NOW + seconds, 1) for seconds in (-1, 10, 20))
    assert match_events([LEFT], [later, before, own]) == [own]
    assert match_events([LEFT], [later, own]) == [own]
    assert match_events([LEFT], [PruneEvent(NOW, 1)]) == [PruneEvent(NOW, 1)]


def test_an_earlier_prunes_event_and_none_at_all_are_none() -> None:
    assert match_events([LEFT], [PruneEvent(NOW - 0.001, 1)]) == [None]
    assert match_events([LEFT], []) == [None]


def test_events_of_this_runs_own_prunes_are_not_the_left_ones() -> None:
    events = [PruneEvent(NOW + 1, 10_256_291), PruneEvent(NOW + 2, 8_170_000), PruneEvent(NOW + 3, 0)]
    own = [Pruned(8_170_000, 1), Pruned(0, 0)]
    assert match_events([LEFT], events, own) == [events[0]]
    assert match_events([LEFT], events[1:], own) == [None]
    assert match_events([LEFT], [], own) == [None]


def test_an_own_prune_that_found_nothing_may_be_done_before_the_left_one_has_freed_all() -> None:
    own_event, left_event = PruneEvent(NOW + 1, 0), PruneEvent(NOW + 2, 10_256_291)
    assert match_events([LEFT], [own_event, left_event], [Pruned(0, 0)]) == [left_event]
    assert match_events([LEFT], [own_event], [Pruned(0, 0)]) == [None]
    assert match_events([LEFT], [left_event], [Pruned(0, 0)]) == [left_event]


def test_prunes_that_queued_have_an_event_each_in_their_order() -> None:
    """The second was sent while the first ran or after it, maybe after a pass that was counted."""
    first, between, second = (PruneEvent(NOW + seconds, 1) for seconds in (10, 20, 30))
    queued = (LEFT, replace(LEFT, begun_ts=NOW + 5))
    later = (LEFT, replace(LEFT, begun_ts=NOW + 25))
    assert match_events(queued, [first, second]) == [first, second]
    assert match_events(later, [first, between, second]) == [first, second]
    assert match_events(queued, [first]) == [first, None]
    assert match_events(later, [first]) == [first, None]
    assert match_events(later, []) == [None, None]


# Their records


def _record(id: str, used_before_s: float, *, shared: bool = False, in_use: bool = False) -> CacheRecord:
    used = datetime.fromtimestamp(LEFT.begun_ts or 0, UTC) - timedelta(seconds=used_before_s)
    return CacheRecord(id, (), "regular", 1, used, in_use, shared)


@pytest.mark.parametrize(
    ("record", "left"),
    [
        (_record("old", 86_400), True),
        (_record("younger", 86_399), False),
        (_record("grew old since, for a later prune", 86_400 - 3600), False),
        (_record("shared", 90_000, shared=True), False),
        (_record("in use", 90_000, in_use=True), False),
    ],
    ids=lambda value: value.id if isinstance(value, CacheRecord) else "",
)
def test_what_the_prune_found_and_would_remove_is_left(record: CacheRecord, left: bool) -> None:
    assert is_anything_left([LEFT], [record]) is left


def test_all_takes_shared_records_as_well() -> None:
    assert is_anything_left([replace(LEFT, all=True)], [_record("shared", 90_000, shared=True)]) is True


def test_without_records_or_a_begin_it_is_not_known_whether_anything_is_left() -> None:
    assert is_anything_left([LEFT], []) is False
    assert is_anything_left([LEFT], None) is None
    assert is_anything_left([LEFT, replace(LEFT, begun_ts=None)], []) is None


# What follows


@pytest.mark.parametrize("event", [None, PruneEvent(NOW, 5)])
@pytest.mark.parametrize("anything_left", [True, False, None])
@pytest.mark.parametrize("is_pruning", [True, False, None])
def test_in_doubt_it_may_still_run(
    event: PruneEvent | None, anything_left: bool | None, is_pruning: bool | None
) -> None:
    known_by = decide_known_by(event, anything_left, is_pruning)
    if event:
        assert known_by == "event"
    elif is_pruning:
        assert known_by is None
    elif anything_left is False:
        assert known_by == "records"
    elif is_pruning is False:
        assert known_by == "process"
    else:
        assert known_by is None


@pytest.mark.parametrize(
    ("followed", "trigger", "waits"),
    [
        (None, "schedule", False),
        (Followed("note", (OTHER, LEFT)), "schedule", False),
        (Followed("note", (LEFT, OTHER)), "schedule", True),
        (Followed("note", (LEFT,)), "schedule", False),  # its own, tried again
        (Followed("note", (OTHER,)), "schedule", True),
        (Followed("note", (OTHER,)), "disk", True),
        (Followed("note", (OTHER,)), "manual", False),
        (Followed("note", (OTHER,), "event", (Count(5, "event"),)), "schedule", False),
        (Followed("unreadable"), "schedule", True),
        (Followed("unreadable"), "manual", False),
    ],
)
def test_only_by_hand_or_tried_again_it_queues_behind_one_that_may_still_run(
    followed: Followed | None, trigger: str, waits: bool
) -> None:
    assert decide_wait(followed, "id", trigger, LEFT.left_ts + 100, 3600) is waits


@pytest.mark.parametrize(("seconds", "waits"), [(-5, True), (3599.9, True), (3600, False)])
def test_no_run_waits_longer_than_an_interval(seconds: float, waits: bool) -> None:
    followed = Followed("note", (OTHER,))
    assert decide_wait(followed, "id", "schedule", LEFT.left_ts + seconds, 3600) is waits


# What they reclaimed


@pytest.mark.parametrize(
    ("cache_before", "free_before", "free_now", "lost"),
    [
        (1000, 10_000, 10_700, 700),  # 700 of cache, and the disk shows it
        (1000, 10_000, 10_600, 600),  # others wrote meanwhile
        (1000, 10_000, 90_000, 700),  # others deleted what is no cache
        (1000, 10_000, 9_000, 0),
        (200, 10_000, 10_700, 0),  # others built meanwhile
        (None, 10_000, 10_700, None),
        (1000, None, 10_700, None),
        (1000, 10_000, None, None),
    ],
)
def test_a_prune_took_no_more_than_both_cache_and_disk_have_lost(
    cache_before: int | None, free_before: int | None, free_now: int | None, lost: int | None
) -> None:
    left = replace(LEFT, cache_bytes=cache_before, free_bytes=free_before)
    now = None if free_now is None else FileSystem("/", 100_000, free_now)
    records = [replace(_record("a", 1), size=100), replace(_record("b", 1, shared=True), size=200)]
    assert lost_bytes(left, records, now) == lost
    assert lost_bytes(left, None, now) is None


@pytest.mark.parametrize(
    ("event", "printed", "lost", "count"),
    [
        (PruneEvent(NOW, 5), 7, 9, Count(5, "event")),
        (PruneEvent(NOW, 0), None, 9, Count(0, "event")),
        (None, 7, 9, Count(9, "disk")),
        (None, 9, 7, Count(9, "printed")),
        (None, 7, None, Count(7, "printed")),
        (None, None, 9, Count(9, "disk")),
        (None, None, 0, Count(None, None)),
        (None, None, None, Count(None, None)),
    ],
)
def test_the_engines_word_counts_else_the_more_of_two_that_are_too_little(
    event: PruneEvent | None, printed: int | None, lost: int | None, count: Count
) -> None:
    assert count_reclaimed(replace(LEFT, printed_bytes=printed), event, lost) == count


def test_unknown_ones_are_not_summed() -> None:
    counts = (Count(5, "event"), Count(), Count(7, "printed"))
    assert Followed("note", (LEFT,) * 3, "event", counts).reclaimed_bytes == 12
    assert Followed("note", (LEFT,), "records", (Count(),)).reclaimed_bytes is None


def test_the_report_says_what_became_of_them() -> None:
    assert followed_facts(Followed("note", (LEFT, OTHER), "event", (Count(), Count(5, "event")), 4)) == {
        "task_ids": ["id", "other"], "ended": True, "reclaimed_bytes": 5, "counted_by": "event",
        "freed_bytes": 4, "known_by": "event",
    }  # fmt: skip
    assert followed_facts(Followed("note")) == {
        "task_ids": [], "ended": False, "reclaimed_bytes": None, "counted_by": None, "freed_bytes": None,
        "known_by": None,
    }  # fmt: skip
