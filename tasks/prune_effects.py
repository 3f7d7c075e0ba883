"""What is remembered of a prune, however its run ended."""

import time

from tasks.prune_following import LeftPrune, engine_ts, to_note
from tasks.prune_on_host import Progress
from tasks.prune_policy import PruneArguments
from tasks.prune_report import sum_reclaimed
from worker.disk_memory import Disks
from worker.engine import Engine
from worker.memory import Memory
from worker.runs import Run


def record_effects(run: Run, arguments: PruneArguments, memory: Memory, progress: Progress) -> None:
    """Remembers what was done on the host, however the run ended."""
    if progress.engine is not None and progress.pruning:
        # First, as it keeps the next run from pruning. For two intervals, as the next visit may come late.
        note = to_note(left_prune(run, arguments, progress, progress.engine))
        memory.note_may_still_run(progress.engine.id, note, 2 * arguments.policy.interval_s)
    elif progress.engine and progress.passes and progress.followed and not progress.followed.ended:
        # Prunes queue in the engine: the earlier one is over.
        memory.clear_may_still_run(progress.engine.id, progress.followed.note)
    if reclaimed := sum_reclaimed(progress.passes):
        memory.add_reclaimed(run.host, reclaimed)
    if progress.after:
        Disks(memory.client).record(run.host, progress.after, time.time())


def left_prune(run: Run, arguments: PruneArguments, progress: Progress, engine: Engine) -> LeftPrune:
    """The prune that this run leaves, for the next visit to follow."""
    # With another prune before it rather too late, or that one's event could be taken for its own.
    clock_read_at = progress.looked_at if progress.passes or progress.followed else progress.looked_until
    return LeftPrune(
        task_id=run.task_id,
        host=run.host,
        until=progress.steps[-1].until,
        all=arguments.all,
        builder=engine.builder,
        left_ts=time.time(),
        begun_ts=engine_ts(engine, clock_read_at, progress.sent_at),
        free_bytes=progress.after.free_bytes if progress.after else None,
    )
