"""Times as reports and messages show them."""

from datetime import UTC, datetime


def utc_text(when: datetime | float) -> str:
    """A moment, or Unix seconds, in UTC to the second: `2026-06-09T16:55:00Z`."""
    moment = when.astimezone(UTC) if isinstance(when, datetime) else datetime.fromtimestamp(when, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
