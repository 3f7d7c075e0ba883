"""What became of a prune that an earlier run left in the engine.

At its soft limit, or when its connection is lost, a run leaves its prune behind, with a note in Redis. The
next visit to that engine reads the note, asks the host, and counts what the prune reclaimed, once.
"""

import asyncio
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tasks.prune_policy import choose_records, preview_argv
from worker.ages import age_seconds
from worker.docker import CacheRecord, PruneEvent, parse_cache_records, parse_prune_events
from worker.engine import Engine
from worker.errors import GateDenied
from worker.look import bounded, disk
from worker.memory import Memory
from worker.shell import Completed, Shell

FOLLOW_LIMIT_S = 20  # of each question: the list of records waits while a prune deletes
_LAST_TS = 10**10  # the gate takes ten digits


@dataclass(frozen=True)
class LeftPrune:
    """A prune that its run left behind.

    `until` is in the engines' form, `left_ts` a Unix time. `begun_ts` is when it was sent, a Unix time of the
    engine's clock, give or take some tenths of a second; `free_bytes` is the disk's before it. Both are None
    where they are not known.
    """

    task_id: str
    host: str
    until: str
    all: bool
    builder: str
    left_ts: float
    begun_ts: float | None
    free_bytes: int | None


@dataclass(frozen=True)
class Followed:
    """What became of the prune that `note` tells of; `left` is None where the note can't be read.

    `known_by` is how it is known to have ended: by the engine's "event"; by the "records", of which none is
    left that it would remove; by the "process", as no such command runs on the host any more; or by a "prune"
    of our own, for which the engine first ended it. `freed_bytes` is what the disk gained since it began.
    """

    note: str
    left: LeftPrune | None
    known_by: str | None = None
    reclaimed_bytes: int | None = None
    freed_bytes: int | None = None

    @property
    def ended(self) -> bool:
        return self.known_by is not None


# Decisions


def engine_ts(engine: Engine, looked_at: float, at: float) -> float | None:
    """`at` as a Unix time of the engine's clock, None where that is not known.

    Both are monotonic times. With `looked_at` from before the look at the engine the result is rather too
    late, with one from after it rather too early, by as long as the look took at most.
    """
    return engine.now.timestamp() + (at - looked_at) if engine.now else None


def to_note(left: LeftPrune) -> str:
    return json.dumps(asdict(left))


def parse_note(note: str) -> LeftPrune | None:
    """The prune that `to_note` wrote down, or None."""
    try:
        left = LeftPrune(**json.loads(note))
        age_seconds(left.until)
    except (TypeError, ValueError, AttributeError, RecursionError):
        return None
    texts = (left.task_id, left.host, left.until, left.builder)
    if not all(isinstance(text, str) for text in texts) or not isinstance(left.all, bool):
        return None
    if not _is_number(left.left_ts, _LAST_TS):
        return None
    return replace(
        left,  # a host's own word, which may be nonsense: then it is not known
        begun_ts=left.begun_ts if _is_number(left.begun_ts, _LAST_TS) else None,
        free_bytes=left.free_bytes if _is_number(left.free_bytes, 2**63) else None,
    )


def _is_number(value: Any, most: int) -> bool:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and 0 <= value < most  # which NaN is not


def choose_event(events: Sequence[PruneEvent], begun_ts: float, own: int = 0) -> PruneEvent | None:
    """The event of the prune that was sent at `begun_ts`: the first after it, prunes being one at a time.

    `own` is how many prunes this run has made meanwhile, whose events are the last. An event says neither
    who pruned nor what, so this one may be of somebody else's prune: of one that ran when ours was sent, or
    of one after ours was cancelled, which makes no event. The engine keeps 256 events of all kinds: none here
    does not mean that the prune has not ended.
    """
    since = sorted((event for event in events if event.ts >= begun_ts), key=lambda event: event.ts)
    return since[0] if len(since) > own else None


def is_anything_left(left: LeftPrune, records: Sequence[CacheRecord] | None) -> bool | None:
    """Whether the cache holds anything that the prune found when it began and would remove; None: not known.

    Not seen from now: what grew old since is not for that prune to take.
    """
    if records is None or left.begun_ts is None:
        return None
    begun = datetime.fromtimestamp(left.begun_ts, UTC)
    return bool(choose_records(records, begun, age_seconds(left.until), left.all))


def decide_known_by(
    event: PruneEvent | None, anything_left: bool | None, is_pruning: bool | None
) -> str | None:
    """How the left prune is known to have ended; None where it may still run. In doubt it may."""
    if event is not None:
        return "event"
    if anything_left is False:
        return "records"
    return "process" if is_pruning is False else None


def decide_wait(followed: Followed | None, task_id: str, trigger: str, now: float, interval_s: int) -> bool:
    """Whether a run leaves the engine alone because a left prune may still run.

    Not one sent by hand, nor one that follows up its own, nor any after an interval: these queue behind it.
    """
    if followed is None or followed.ended or trigger == "manual":
        return False
    left = followed.left
    return left is None or (left.task_id != task_id and now - left.left_ts < interval_s)


def followed_facts(followed: Followed) -> dict[str, Any]:
    """What a report says of it. `reclaimed_bytes` is in the host's total; `freed_bytes` is not."""
    return {
        "task_id": followed.left.task_id if followed.left else None,
        "ended": followed.ended,
        "reclaimed_bytes": followed.reclaimed_bytes,
        "freed_bytes": followed.freed_bytes,
        "known_by": followed.known_by,
    }


# Commands


def events_argv(since_s: int, until_s: int) -> tuple[str, ...]:
    """The engine's events of the builder between two whole seconds; ends when the second has passed."""
    window = ("--since", str(since_s), "--until", str(until_s))
    filters = ("--filter", "type=builder", "--format", "{{json .}}")
    return bounded(("docker", "events", *window, *filters), FOLLOW_LIMIT_S)


RECORDS = preview_argv(FOLLOW_LIMIT_S)
# Anybody's prune in this form, and any user's that we may see. The brackets keep it from finding itself.
PRUNING = bounded(("pgrep", "-f", "builder prune --forc[e]"), FOLLOW_LIMIT_S)


# Talk


async def follow(shell: Shell, memory: Memory, engine: Engine, looked_at: float) -> Followed | None:
    """What became of the prune that was left on this engine, None where none was.

    To be called with the engine's lock held. Where the prune has ended its bytes are counted and its note is
    gone. Raises HostUnreachable.
    """
    note = await asyncio.to_thread(memory.may_still_run, engine.id)
    if note is None:
        return None
    left = parse_note(note)
    if left is None:
        return Followed(note, None)
    anything_left = is_pruning = None
    event = await _find_event(shell, left, engine, looked_at)
    if event is None:
        anything_left = await _ask_records(shell, left)
        if anything_left is not False:
            is_pruning = await _ask_processes(shell)
        if decide_known_by(None, anything_left, is_pruning):
            event = await _find_event(shell, left, engine, looked_at)  # the records waited for its end
    known_by = decide_known_by(event, anything_left, is_pruning)
    now = await disk(shell, engine.root)
    freed = now.free_bytes - left.free_bytes if now and left.free_bytes is not None else None
    followed = Followed(note, left, known_by, event.reclaimed_bytes if event else None, freed)
    return await _settle(memory, engine, followed) if followed.ended else followed


async def follow_overtaken(
    shell: Shell, memory: Memory, engine: Engine, looked_at: float, followed: Followed, own: int
) -> Followed:
    """`followed`, which might still run, after `own` prunes of this run: these ended after it.

    Counts its bytes, and removes its note. Raises HostUnreachable.
    """
    event = await _find_event(shell, followed.left, engine, looked_at, own) if followed.left else None
    reclaimed = event.reclaimed_bytes if event else None
    known_by = "event" if event else "prune"
    return await _settle(memory, engine, replace(followed, known_by=known_by, reclaimed_bytes=reclaimed))


async def _settle(memory: Memory, engine: Engine, followed: Followed) -> Followed:
    host = followed.left.host if followed.left else ""
    bytes_ = followed.reclaimed_bytes or 0
    await asyncio.to_thread(memory.clear_may_still_run, engine.id, followed.note, host, bytes_)
    return followed


async def _find_event(
    shell: Shell, left: LeftPrune, engine: Engine, looked_at: float, own: int = 0
) -> PruneEvent | None:
    now = engine_ts(engine, looked_at, time.monotonic())
    # What prunes through buildx makes no event; one that is there is somebody else's.
    if left.builder != "classic" or now is None or left.begun_ts is None or left.begun_ts > now:
        return None
    completed = await _ask(shell, events_argv(math.floor(left.begun_ts), math.floor(now) + 1))
    return choose_event(parse_prune_events(completed.stdout), left.begun_ts, own) if completed else None


async def _ask_records(shell: Shell, left: LeftPrune) -> bool | None:
    completed = await _ask(shell, RECORDS)
    whole = completed is not None and completed.exit_status == 0 and not completed.cut
    return is_anything_left(left, parse_cache_records(completed.stdout) if completed and whole else None)


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
