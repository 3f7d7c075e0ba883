"""One visit of a prune to its host: the engine's lock, what earlier runs left there, then the prune."""

import asyncio
import contextlib
import time

from tasks.disk_policy import CACHE_EVERY_S, LADDER_EVERY_S
from tasks.followed import decide_wait
from tasks.prune_arguments import PruneArguments
from tasks.prune_effects import left_prune
from tasks.prune_following import follow, follow_overtaken
from tasks.prune_journal import PruneJournal
from tasks.prune_on_host import Progress, preview, prune
from tasks.prune_policy import decide_age
from worker.disk_memory import Disks
from worker.engine import Engine
from worker.errors import HostUnreachable
from worker.logs import get_logger
from worker.look import disk, look
from worker.memory import Memory
from worker.runs import Run, Skipped, engine_lock, tolerating_redis_outage
from worker.settings import Settings
from worker.shell import Shell, connect

log = get_logger(__name__)

ROOM_AGAIN = "there is room on the disk again, or it can't be read"
PRUNED_EARLY = "another early prune is due, or began less than an hour ago"
MAY_STILL_RUN = "an earlier prune may still run on this engine"


async def visit(
    run: Run, arguments: PruneArguments, settings: Settings, memory: Memory, progress: Progress
) -> None:
    """Goes to the host and does the work. Raises Skipped, Finished, and the errors of worker.errors."""
    async with connect(arguments.host, settings) as shell:
        progress.looked_at = time.monotonic()
        progress.engine = engine = await look(shell)
        progress.looked_until = time.monotonic()
        log.info("host looked at", engine=engine.server, client=engine.client, builder=engine.builder)
        if arguments.dry_run:
            progress.preview = await preview(shell, arguments, engine)
            return
        async with engine_lock(run, memory, engine.id):
            await asyncio.to_thread(memory.record_engine, run.host, engine.id)
            await _work(shell, run, arguments, memory, progress, engine)


async def _work(
    shell: Shell,
    run: Run,
    arguments: PruneArguments,
    memory: Memory,
    progress: Progress,
    engine: Engine,
) -> None:
    """What is done with the engine's lock held."""
    interval_s = arguments.policy.interval_s
    followed = progress.followed = await follow(shell, memory, engine, progress.looked_at)
    if decide_wait(followed, run.task_id, arguments.trigger, time.time(), interval_s):
        raise Skipped(MAY_STILL_RUN)
    if arguments.trigger == "manual":  # an early one must not make the scheduled one wait
        await asyncio.to_thread(memory.record_start, run.host, run.task_id, run.due_ts)
    since_ts = time.time() - 2 * CACHE_EVERY_S
    cache_bytes = await asyncio.to_thread(Disks(memory.client).build_cache_bytes, run.host, since_ts)
    earlier = followed if followed and not followed.ended else None
    progress.journal = PruneJournal(
        memory,
        engine.id,
        ttl_s=arguments.policy.timeout_s + 2 * interval_s,  # the next visit may come late
        describe=lambda: left_prune(run, arguments, progress, engine, cache_bytes),
        earlier=earlier,
    )
    progress.before = progress.after = await disk(shell, engine.root)
    if arguments.early:
        await asyncio.to_thread(begin_early, run, arguments, memory, progress)
    await prune(shell, arguments, engine, progress, progress.journal)
    if earlier:
        # This run's own prune is done, so nothing here may fail it; record_effects then clears the note.
        with tolerating_redis_outage(), contextlib.suppress(HostUnreachable):
            progress.followed = await follow_overtaken(
                shell, memory, engine, progress.looked_at, earlier, progress.passes
            )


def begin_early(run: Run, arguments: PruneArguments, memory: Memory, progress: Progress) -> None:
    """Raises Skipped where there is room again, or where another early prune has its host's hour."""
    if decide_age(arguments, 0, progress.before) is None:
        raise Skipped(ROOM_AGAIN)
    if not Disks(memory.client).begin_early_prune(run.host, run.task_id, LADDER_EVERY_S):
        raise Skipped(PRUNED_EARLY)
