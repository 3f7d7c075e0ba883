"""Byte counts as docker prints them."""

import re

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_FACTORS: dict[str, int] = {unit.lower(): 1000**power for power, unit in enumerate(_DECIMAL)} | {
    unit.lower(): 1024**power for power, unit in enumerate(_BINARY)
}
MOST = 10**16  # 10 PB; more is nonsense, and would not fit when summed
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,2})?)\s*([kmgtp]?i?b)", re.ASCII | re.IGNORECASE)


def parse_size(text: str) -> int | None:
    """Bytes in `49.21MB`, `4.1kB`, `1.5GiB`, `0B`; None for anything that is not such a size."""
    match = _SIZE.fullmatch(text.strip())
    factor = _FACTORS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        return None
    size = float(match[1]) * factor
    return round(size) if size < MOST else None


def format_size(size: int) -> str:
    """A size as docker writes it: four digits, decimal units, lowercase `k` (49210000 -> `49.21MB`)."""
    value, unit = float(size), 0
    while abs(value) >= 1000 and unit < len(_DECIMAL) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.4g}{_DECIMAL[unit]}"
