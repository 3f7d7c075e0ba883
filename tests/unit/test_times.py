"""Times as reports show them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from worker.times import utc_text

TWO_HOURS_EAST = datetime(2026, 6, 9, 18, 55, 0, 999_999, timezone(timedelta(hours=2)))


@pytest.mark.parametrize("when", [TWO_HOURS_EAST, 1_781_024_100, 1_781_024_100.999])
def test_utc_text_is_in_utc_whole_seconds(when: datetime | float) -> None:
    assert utc_text(when) == "2026-06-09T16:55:00Z"
