"""Prunes that may outlive their run, and the note of them that is kept in Redis (pure)."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from worker.ages import age_seconds
from worker.engine import Engine

_LAST_TS = 10**10  # the gate takes ten digits


@dataclass(frozen=True)
class LeftPrune:
    """A prune that was sent to an engine, and may still run there.

    `until` is in the engines' form. `left_ts` is when its run left it, a Unix time; when it was sent, where
    the run was killed. The rest is None where it is not known: `begun_ts` is when it was sent, a Unix time of
    the engine's clock, give or take some tenths of a second; `free_bytes` is the disk's and `cache_bytes` the
    build cache's size before it; `printed_bytes` what it said it had reclaimed by the time it was left.
    """

    task_id: str
    host: str
    until: str
    all: bool
    builder: str
    left_ts: float
    begun_ts: float | None
    free_bytes: int | None
    cache_bytes: int | None = None
    printed_bytes: int | None = None


def to_note(prunes: Sequence[LeftPrune]) -> str:
    """What is kept of `prunes` in Redis; empty for none."""
    return json.dumps([asdict(prune) for prune in prunes]) if prunes else ""


def parse_note(note: str) -> tuple[LeftPrune, ...]:
    """The prunes that `to_note` wrote down; none if any makes no sense."""
    try:
        prunes = tuple(LeftPrune(**fields) for fields in json.loads(note))
        for prune in prunes:
            age_seconds(prune.until)
    except (TypeError, ValueError, AttributeError, RecursionError):
        return ()
    return tuple(map(_without_nonsense, prunes)) if all(map(_makes_sense, prunes)) else ()


def _makes_sense(prune: LeftPrune) -> bool:
    texts = (prune.task_id, prune.host, prune.until, prune.builder)
    is_typed = all(isinstance(text, str) for text in texts) and isinstance(prune.all, bool)
    return is_typed and _is_number(prune.left_ts, _LAST_TS)


def _without_nonsense(prune: LeftPrune) -> LeftPrune:
    """What began as a host's own word may be nonsense: then it is not known."""

    def number(value: Any, most: int) -> Any:
        return value if _is_number(value, most) else None

    return replace(
        prune,
        begun_ts=number(prune.begun_ts, _LAST_TS),
        free_bytes=number(prune.free_bytes, 2**63),
        cache_bytes=number(prune.cache_bytes, 2**63),
        printed_bytes=number(prune.printed_bytes, 2**53),
    )


def _is_number(value: Any, most: int) -> bool:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and 0 <= value < most  # which NaN is not


def engine_ts(engine: Engine, looked_at: float, at: float) -> float | None:
    """`at` as a Unix time of the engine's clock, None where that is not known.

    Both are monotonic times. With `looked_at` from before the look at the engine the result is rather too
    late, with one from after it rather too early, by as long as the look took at most.
    """
    return engine.now.timestamp() + (at - looked_at) if engine.now else None
