"""Ages as people write them, and as every Docker engine understands them."""

import re

_UNITS = {
    "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1,
    "m": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hr": 3600, "hrs": 3600, "hour": 3600, "hours": 3600,
    "d": 86400, "day": 86400, "days": 86400,
    "w": 604800, "week": 604800, "weeks": 604800,
}  # fmt: skip
_PART = re.compile(r"([0-9]+)\s*([a-z]+)\s*")
_LONGEST_TEXT = 100
_LONGEST_S = 100 * 366 * 86400  # Go's durations end at 292 years


def age_seconds(age: str) -> int:
    """Seconds in an age such as `30m`, `1h30m`, `7 days`, `1w` or `3600` (bare seconds).

    Raises ValueError for anything else, for zero, and beyond 100 years.
    """
    if len(age) > _LONGEST_TEXT:
        raise ValueError(f"{age[:20]!r}... is not an age; write for example 30m, 24h, 7d or 1w")
    text = age.strip().lower()
    if re.fullmatch(r"[0-9]+", text, re.ASCII):
        text += "s"
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text) or any(unit not in _UNITS for _, unit in parts):
        raise ValueError(f"{age!r} is not an age; write for example 30m, 24h, 7d, 1w or 3600 (seconds)")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < seconds <= _LONGEST_S:
        raise ValueError(f"{age!r} is out of range; an age is at least one second, at most 100 years")
    return seconds


def to_until(age: str | int) -> str:
    """The same age as the engines take it: whole hours, minutes or seconds, always with a unit.

    `until=7d` is an error on every engine, and a bare number means a Unix time on Engine 24 and later.
    """
    seconds = age_seconds(str(age))
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
