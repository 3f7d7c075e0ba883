"""What a wrong clock put off."""

from __future__ import annotations

from worker.beat_entry import find_put_off


def test_an_entry_is_put_off_when_it_waits_longer_than_two_of_its_own_intervals() -> None:
    intervals = {"often": 300.0, "other": 300.0, "rare": 604_800.0}
    dues = {"often": 1601.0, "other": 1600.0, "rare": 1000 + 2 * 604_800.0}
    assert find_put_off(dues.items(), intervals, 1000) == ["often"]


def test_an_entry_that_is_in_no_settings_is_looked_at_unless_it_is_due() -> None:
    assert find_put_off({"due": 1000.0, "not due": 1001.0}.items(), {}, 1000) == ["not due"]
