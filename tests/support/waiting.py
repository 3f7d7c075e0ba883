"""Wait for a condition by polling it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T],
    timeout_s: float,
    what: str,
    *,
    poll_s: float = 0.03,
    detail: Callable[[], str] = str,
) -> T:
    """Poll `condition` until it returns something truthy, and return that.

    AssertionError naming `what`, and what `detail` returns then, after `timeout_s`. An exception from
    `condition` is not caught.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            message = f"not within {timeout_s:g} s: {what} (last seen: {value!r})"
            raise AssertionError(f"{message}\n{detail()}".rstrip())
        time.sleep(poll_s)
