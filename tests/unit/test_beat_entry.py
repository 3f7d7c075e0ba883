"""Beat's own decisions: when a queue is too long, and what a wrong clock put off."""

from __future__ import annotations

import pytest

from worker.beat import is_too_long
from worker.beat_entry import find_put_off


@pytest.mark.parametrize(
    ("messages", "entries", "was_too_long", "too_long"),
    [
        (1000, 2, False, False),  # a small fleet's burst
        (1001, 2, False, True),
        (6000, 2000, False, False),
        (6001, 2000, False, True),
        (3001, 2000, True, True),
        (3000, 2000, True, False),
    ],
)
def test_a_queue_is_too_long_at_three_messages_per_entry_and_short_again_at_half_of_that(
    messages: int, entries: int, was_too_long: bool, too_long: bool
) -> None:
    assert is_too_long(messages, entries, was_too_long) == too_long


def test_an_entry_is_put_off_when_it_waits_longer_than_two_of_its_own_intervals() -> None:
    intervals = {"often": 300.0, "other": 300.0, "rare": 604_800.0}
    dues = {"often": 1601.0, "other": 1600.0, "rare": 1000 + 2 * 604_800.0}
    assert find_put_off(dues.items(), intervals, 1000) == ["often"]


def test_an_entry_that_is_in_no_settings_is_looked_at_unless_it_is_due() -> None:
    assert find_put_off({"due": 1000.0, "not due": 1001.0}.items(), {}, 1000) == ["not due"]
