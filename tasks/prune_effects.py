"""What is remembered of a prune, however its run ended."""

import time

from tasks.left_prunes import LeftPrune, engine_ts
from tasks.prune_arguments import PruneArguments
from tasks.prune_following import settle_overtaken
from tasks.prune_on_host import Progress
from tasks.prune_report import sum_reclaimed
from worker.disk_memory import Disks
from worker.docker import parse_pruned_rows
from worker.engine import Engine
from worker.memory import Memory
from worker.runs import Run


def record_effects(run: Run, memory: Memory, progress: Progress) -> None:
    """Remembers what was done on the host, however the run ended."""
    if progress.journal and progress.pruning:
        # First, as it keeps the next run from pruning.
        progress.journal.leave(parse_pruned_rows(progress.printed.decode("utf-8", "replace")))
    elif progress.journal:
        progress.journal.close()
        if progress.engine and progress.passes and progress.followed and not progress.followed.ended:
            # Prunes queue in the engine: the earlier ones are over.
            unknown = [None] * len(progress.followed.prunes)
            settle_overtaken(memory, progress.engine.id, progress.followed, unknown)
    disks = Disks(memory.client)
    if progress.after:
        disks.record(run.host, progress.after, time.time())
    if progress.pruning or any(done.reclaimed_bytes != 0 for done in progress.passes):
        disks.outdate_build_cache(run.host)


def left_prune(
    run: Run, arguments: PruneArguments, progress: Progress, engine: Engine, cache_bytes: int | None
) -> LeftPrune:
    """The prune that this run is about to send. `cache_bytes` is the last known size of the build cache."""
    # After another prune rather too late than too early: else that one's event could be taken for this one's.
    clock_read_at = progress.looked_at if progress.passes or progress.followed else progress.looked_until
    step, before = progress.steps[-1], progress.after
    reclaimed = sum_reclaimed(progress.passes) or 0  # since the cache was read
    return LeftPrune(
        task_id=run.task_id,
        host=run.host,
        until=step.until,
        all=arguments.all,
        builder=engine.builder,
        left_ts=time.time(),
        begun_ts=engine_ts(engine, clock_read_at, progress.sent_at),
        # The disk was read before the first pass of this age.
        free_bytes=before.free_bytes + (sum_reclaimed(step.passes) or 0) if before else None,
        cache_bytes=None if cache_bytes is None else max(0, cache_bytes - reclaimed),
    )
