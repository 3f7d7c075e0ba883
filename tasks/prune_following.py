"""What became of prunes that an earlier run left in the engine.

A prune is noted in Redis before it is sent (tasks.prune_journal). Its note stays where the run reached its
soft limit, lost its connection or was killed meanwhile. The next visit to that engine reads the note, asks
the host, and counts what was reclaimed, once.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import replace

from tasks.followed import (
    Followed,
    KnownBy,
    count_reclaimed,
    decide_known_by,
    is_anything_left,
    lost_bytes,
    match_events,
)
from tasks.left_prunes import LeftPrune, engine_ts, parse_note, to_note
from tasks.prune_policy import preview_argv
from worker.docker import CacheRecord, Pruned, PruneEvent, parse_cache_records, parse_prune_events
from worker.engine import Engine
from worker.errors import GateDenied
from worker.look import bounded, disk
from worker.memory import Memory
from worker.shell import Completed, Shell

FOLLOW_LIMIT_S = 20  # of each question: the list of records waits while a prune deletes
_TRIES = 5  # of a second each, for the event of a prune that still frees what it took


def events_argv(since_s: int, until_s: int) -> tuple[str, ...]:
    """The engine's events of the builder between two whole seconds; ends when the second has passed."""
    window = ("--since", str(since_s), "--until", str(until_s))
    filters = ("--filter", "type=builder", "--format", "{{json .}}")
    return bounded(("docker", "events", *window, *filters), FOLLOW_LIMIT_S)


def events_argv_for(prunes: Sequence[LeftPrune], now: float | None) -> tuple[str, ...] | None:
    """Asks for the events of these prunes; None where none can tell. `now` is a Unix time of the engine's."""
    begun = [prune.begun_ts for prune in prunes if prune.begun_ts is not None]
    # What prunes through buildx makes no event; one that is there is somebody else's.
    is_classic = all(prune.builder == "classic" for prune in prunes)
    if not begun or len(begun) < len(prunes) or not is_classic or now is None or max(begun) > now:
        return None
    return events_argv(math.floor(min(begun)), math.floor(now) + 1)


RECORDS = preview_argv(FOLLOW_LIMIT_S)
# Anybody's prune in this form, and any user's that we may see. The brackets keep it from finding itself.
PRUNING = bounded(("pgrep", "-f", "builder prune --forc[e]"), FOLLOW_LIMIT_S)


async def follow(shell: Shell, memory: Memory, engine: Engine, looked_at: float) -> Followed | None:
    """What became of the prunes that were left on this engine, None where there were none.

    To be called with the engine's lock held. Where they have ended their bytes are counted and their note is
    gone. Raises HostUnreachable.
    """
    note = await asyncio.to_thread(memory.noted_prunes, engine.id)
    if note is None:
        return None
    prunes = parse_note(note)
    if not prunes:
        return Followed(note)
    argv = events_argv_for(prunes, engine_ts(engine, looked_at, time.monotonic()))
    events = match_events(prunes, await _ask_events(shell, argv))
    records = anything_left = is_pruning = None
    if events[-1] is None:
        records = await _ask_records(shell)
        anything_left = is_anything_left(prunes, records)
        is_pruning = await _ask_processes(shell)
        if decide_known_by(None, anything_left, is_pruning):
            argv = events_argv_for(prunes, engine_ts(engine, looked_at, time.monotonic()))
            events = match_events(prunes, await _ask_events(shell, argv))  # the records waited for its end
    now = await disk(shell, engine.root)
    before = prunes[0].free_bytes
    followed = Followed(
        note,
        prunes,
        known_by=decide_known_by(events[-1], anything_left, is_pruning),
        freed_bytes=now.free_bytes - before if now and before is not None else None,
    )
    if not followed.ended:
        return followed
    lost = lost_bytes(prunes[0], records, now) if len(prunes) == 1 else None  # it can't be told apart
    counts = tuple(count_reclaimed(*each, lost) for each in zip(prunes, events, strict=True))
    return await asyncio.to_thread(settle, memory, engine.id, replace(followed, counts=counts))


async def follow_overtaken(
    shell: Shell,
    memory: Memory,
    engine: Engine,
    looked_at: float,
    followed: Followed,
    own: Sequence[Pruned],
) -> Followed:
    """`followed`, which might still run, after the prunes `own` of this run, which waited for it.

    Counts its bytes, and removes its note. Raises HostUnreachable.
    """
    prunes = followed.prunes
    events: list[PruneEvent | None] = [None] * len(prunes)
    for _ in range(_TRIES):
        argv = events_argv_for(prunes, engine_ts(engine, looked_at, time.monotonic()))
        if argv is None or events[-1]:
            break
        events = match_events(prunes, await _ask_events(shell, argv), own)
    return await asyncio.to_thread(settle_overtaken, memory, engine.id, followed, events)


def settle_overtaken(
    memory: Memory, engine_id: str, followed: Followed, events: Sequence[PruneEvent | None]
) -> Followed:
    """`settle` after prunes of our own, with what is known of each one's event."""
    counts = tuple(count_reclaimed(*each) for each in zip(followed.prunes, events, strict=True))
    known_by: KnownBy = "event" if events and events[-1] else "prune"
    return settle(memory, engine_id, replace(followed, known_by=known_by, counts=counts))


def settle(memory: Memory, engine_id: str, followed: Followed) -> Followed:
    """Counts each prune with its host, once, and removes its note. Raises redis.RedisError."""
    note, prunes = followed.note, followed.prunes
    if not prunes:
        memory.settle_prune(engine_id, note, "", "", 0)
    for number, (prune, count) in enumerate(zip(prunes, followed.counts, strict=True), start=1):
        rest = to_note(prunes[number:])
        memory.settle_prune(engine_id, note, rest, prune.host, count.reclaimed_bytes or 0)
        note = rest
    return followed


async def _ask_events(shell: Shell, argv: tuple[str, ...] | None) -> list[PruneEvent]:
    completed = await _ask(shell, argv) if argv else None
    return parse_prune_events(completed.stdout) if completed else []


async def _ask_records(shell: Shell) -> list[CacheRecord] | None:
    completed = await _ask(shell, RECORDS)
    if completed is None or completed.exit_status != 0 or completed.cut:
        return None
    return parse_cache_records(completed.stdout)


async def _ask_processes(shell: Shell) -> bool | None:
    completed = await _ask(shell, PRUNING)
    status = completed.exit_status if completed else None
    return status == 0 if status in (0, 1) else None  # more: a host without pgrep


async def _ask(shell: Shell, argv: tuple[str, ...]) -> Completed | None:
    """None where an older gate does not know the command: that is not known, and no failure of the run."""
    try:
        return await shell.run(argv)
    except GateDenied:
        return None
