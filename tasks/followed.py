"""What the host's answers say of the prunes that were left there (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from tasks.left_prunes import LeftPrune
from tasks.prune_policy import choose_records
from worker.ages import age_seconds
from worker.docker import CacheRecord, FileSystem, Pruned, PruneEvent
from worker.sizes import format_size, parse_size

CountedBy = Literal["event", "disk", "printed"]
KnownBy = Literal["event", "records", "process", "prune"]


class Count(NamedTuple):
    """What one prune reclaimed, and whether its "event", the "disk" or what it "printed" says so.

    Both are None where it is not known.
    """

    reclaimed_bytes: int | None = None
    counted_by: CountedBy | None = None


@dataclass(frozen=True)
class Followed:
    """What became of the `prunes` that `note` tells of, oldest first; none where it can't be read.

    An engine prunes once at a time, so the last one's end is the end of all. `known_by` is how that is known:
    by the engine's "event"; by the "records", of which none is left that they would remove; by the "process",
    as no such command runs on the host any more; or by a "prune" of our own, for which the engine first ended
    them. `counts` has as many entries as `prunes`, once they ended. `freed_bytes` is what the disk gained
    since the first began.
    """

    note: str
    prunes: tuple[LeftPrune, ...] = ()
    known_by: KnownBy | None = None
    counts: tuple[Count, ...] = ()
    freed_bytes: int | None = None

    @property
    def ended(self) -> bool:
        return self.known_by is not None

    @property
    def reclaimed_bytes(self) -> int | None:
        """Bytes of those that are known; None if that is none."""
        known = [count.reclaimed_bytes for count in self.counts if count.reclaimed_bytes is not None]
        return sum(known) if known else None


# Whether they ended


def match_events(
    prunes: Sequence[LeftPrune], events: Sequence[PruneEvent], own: Sequence[Pruned] = ()
) -> list[PruneEvent | None]:
    """For each prune its event: the first one after it was sent that no earlier prune has.

    `own` are the prunes that this run has made meanwhile. An event says neither who pruned nor what, so it
    may be of somebody else's prune: of one that ran when ours was sent, or of one after ours was cancelled,
    which makes no event; or of a counted pass of ours, where that one made none. The engine keeps 256 events
    of all kinds: none here does not mean that the prune has not ended.
    """
    others = sorted(events, key=lambda event: event.ts)
    for pruned in own:
        others = _without_last(others, pruned.reclaimed_bytes)
    found: list[PruneEvent | None] = []
    for prune in prunes:
        begun = prune.begun_ts
        event = next((event for event in others if begun is not None and event.ts >= begun), None)
        found.append(event)
        if event is not None:
            others = others[others.index(event) + 1 :]
    return found


def _without_last(events: list[PruneEvent], reclaimed_bytes: int | None) -> list[PruneEvent]:
    """Without the last event of a prune that printed this total.

    Their order does not tell: what comes second and finds nothing can be done while the first still frees.
    """
    for number in reversed(range(len(events))):
        if parse_size(format_size(events[number].reclaimed_bytes)) == reclaimed_bytes:
            return events[:number] + events[number + 1 :]
    return events


def is_anything_left(prunes: Sequence[LeftPrune], records: Sequence[CacheRecord] | None) -> bool | None:
    """Whether the cache holds anything that a prune found when it began and would remove; None: not known.

    Not seen from now: what grew old since is not for that prune to take.
    """
    if records is None:
        return None
    left = False
    for prune in prunes:
        if prune.begun_ts is None:
            return None
        begun = datetime.fromtimestamp(prune.begun_ts, UTC)
        left = left or bool(choose_records(records, begun, age_seconds(prune.until), prune.all))
    return left


def decide_known_by(
    event: PruneEvent | None, anything_left: bool | None, is_pruning: bool | None
) -> KnownBy | None:
    """How the last prune is known to have ended; None where it may still run. In doubt it may."""
    if event is not None:
        return "event"
    if is_pruning:  # records go first, what they held is freed after
        return None
    if anything_left is False:
        return "records"
    return "process" if is_pruning is False else None


def decide_wait(followed: Followed | None, task_id: str, trigger: str, now: float, interval_s: int) -> bool:
    """Whether a run leaves the engine alone because a left prune may still run.

    Not one sent by hand, nor where the last one left is its own (tried again), nor once an interval has
    passed since: these queue behind it in the engine.
    """
    if followed is None or followed.ended or trigger == "manual":
        return False
    if not followed.prunes:
        return True
    last = followed.prunes[-1]
    return last.task_id != task_id and now - last.left_ts < interval_s


# What they reclaimed


def lost_bytes(
    prune: LeftPrune, records: Sequence[CacheRecord] | None, disk: FileSystem | None
) -> int | None:
    """What both the build cache lost and the disk gained since before `prune`; None where not known.

    The lesser of the two: others build meanwhile, and others delete what is no cache.
    """
    if prune.cache_bytes is None or prune.free_bytes is None or records is None or disk is None:
        return None
    cache_lost = prune.cache_bytes - sum(record.size for record in records)
    return max(0, min(cache_lost, disk.free_bytes - prune.free_bytes))


def count_reclaimed(prune: LeftPrune, event: PruneEvent | None, lost: int | None = None) -> Count:
    """The engine's own word if there is one; else the more of what it printed and what was `lost`.

    Both of these are rather too little.
    """
    if event is not None:
        return Count(event.reclaimed_bytes, "event")
    if lost and lost > (prune.printed_bytes or 0):
        return Count(lost, "disk")
    return Count() if prune.printed_bytes is None else Count(prune.printed_bytes, "printed")


def followed_facts(followed: Followed) -> dict[str, Any]:
    """What a report says of them. `reclaimed_bytes` is in the host's total; `freed_bytes` is not."""
    return {
        "task_ids": [prune.task_id for prune in followed.prunes],
        "ended": followed.ended,
        "reclaimed_bytes": followed.reclaimed_bytes,
        "counted_by": next((count.counted_by for count in followed.counts if count.counted_by), None),
        "freed_bytes": followed.freed_bytes,
        "known_by": followed.known_by,
    }
