"""When beat's queue is too long."""

from __future__ import annotations

import pytest

from worker.beat_queue import is_too_long


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
