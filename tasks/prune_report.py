"""What one run of `prune_build_cache` did to one host: the task's return value (pure)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tasks.followed import followed_facts
from tasks.prune_arguments import PruneArguments
from tasks.prune_on_host import Progress, Step
from tasks.prune_policy import is_complete
from worker.docker import CacheRecord, FileSystem, Pruned
from worker.engine import Engine
from worker.policies import PRUNE_JOB
from worker.runs import Run
from worker.sizes import format_size
from worker.times import utc_text


@dataclass(frozen=True)
class PruneReport:
    """Fields in order of importance, because Flower truncates long results. Sizes are bytes, times seconds.

    `outcome` is "done" or "skipped" (then `reason` says why), `trigger` "schedule",
    "manual" or "disk" (an early prune, whose `until` is the age of its last step).
    `reclaimed_bytes` is what the engine says it removed, None where it said nothing readable.
    `complete` is whether the last pass found nothing left, None where none was made. `disk` is from
    `disk_facts`, `engine` from `engine_facts`; a dry run's report adds `preview_facts`, an early one's
    `steps_facts`, one that found a prune left by an earlier run `followed_facts` as `followed`.
    """

    host: str | None
    outcome: str
    reason: str | None
    reclaimed: str | None = None
    reclaimed_bytes: int | None = None
    duration_s: float = 0.0
    job: str = PRUNE_JOB
    trigger: str = "manual"
    until: str | None = None
    all: bool | None = None
    dry_run: bool = False
    complete: bool | None = None
    passes: int = 0
    caches_deleted: int = 0
    disk: dict[str, Any] | None = None
    engine: dict[str, Any] | None = None
    started_at: str | None = None
    attempt: int = 1


def make_report(
    run: Run, arguments: PruneArguments, progress: Progress, reason: str | None, now: float
) -> dict[str, Any]:
    """The report of a run that is done, or skipped for `reason`. `now` is a Unix time."""
    reclaimed = sum_reclaimed(progress.passes)
    report = PruneReport(
        host=run.host,
        outcome="done" if reason is None else "skipped",
        reason=reason,
        reclaimed=size_text(reclaimed),
        reclaimed_bytes=reclaimed,
        duration_s=round(now - run.started_ts, 2),
        trigger=arguments.trigger,
        until=progress.steps[-1].until if progress.steps else next(iter(arguments.ages), None),
        all=arguments.all,
        dry_run=arguments.dry_run,
        complete=is_complete(progress.passes),
        passes=len(progress.passes),
        caches_deleted=sum(done.caches_deleted for done in progress.passes),
        disk=disk_facts(progress.before, progress.after),
        engine=engine_facts(progress.engine),
        started_at=utc_text(run.started_ts),
        attempt=run.retries + 1,
    )
    facts = asdict(report)
    if progress.preview is not None:
        facts |= preview_facts(progress.preview)
    if arguments.early:
        facts |= steps_facts(progress.steps)
    if progress.followed:
        facts["followed"] = followed_facts(progress.followed)
    return facts


def skipped_without_host(reason: str, started_at: str) -> PruneReport:
    return PruneReport(host=None, outcome="skipped", reason=reason, started_at=started_at)


def sum_reclaimed(passes: Sequence[Pruned]) -> int | None:
    """Bytes of the passes whose total could be read; None if that was none of them."""
    known = [done.reclaimed_bytes for done in passes if done.reclaimed_bytes is not None]
    return sum(known) if known else None


def size_text(size: int | None) -> str | None:
    return None if size is None else format_size(size)


def disk_facts(before: FileSystem | None, after: FileSystem | None) -> dict[str, Any] | None:
    """The file system around a prune, or None where df could not say both times.

    `freed_bytes` is what it gained meanwhile, less than nothing if others wrote more.
    """
    if before is None or after is None:
        return None
    return {
        "path": after.path,
        "size_bytes": after.size_bytes,
        "free_before_bytes": before.free_bytes,
        "free_after_bytes": after.free_bytes,
        "freed_bytes": after.free_bytes - before.free_bytes,
    }


def engine_facts(engine: Engine | None) -> dict[str, Any] | None:
    if engine is None:
        return None
    return {"id": engine.id, "server": engine.server, "client": engine.client, "builder": engine.builder}


def preview_facts(records: Sequence[CacheRecord]) -> dict[str, Any]:
    """What a dry run adds to its report: the records that a prune would remove, and when they were used."""
    used = sorted(record.used for record in records if record.used is not None)
    size = sum(record.size for record in records)
    return {
        "would_reclaim": format_size(size),
        "would_reclaim_bytes": size,
        "records": len(records),
        "oldest_use": utc_text(used[0]) if used else None,
        "newest_use": utc_text(used[-1]) if used else None,
    }


def steps_facts(steps: Sequence[Step]) -> dict[str, Any]:
    """What an early prune adds to its report: each age that it tried, and how full the disk was after it."""
    return {
        "steps": [
            {
                "until": step.until,
                "reclaimed_bytes": sum_reclaimed(step.passes),
                "used_percent": step.after.used_percent if step.after else None,
            }
            for step in steps
        ]
    }
