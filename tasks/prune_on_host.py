"""What a prune does on its host: talks, and decides nothing."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tasks.followed import Followed
from tasks.prune_arguments import PruneArguments
from tasks.prune_journal import PruneJournal
from tasks.prune_policy import choose_records, decide_age, decide_another_pass, preview_argv, prune_argv
from worker.ages import age_seconds
from worker.docker import (
    CacheRecord,
    FileSystem,
    Pruned,
    parse_cache_records,
    parse_prune,
    parse_pruned_rows,
)
from worker.engine import Engine
from worker.errors import CommandFailed, GateDenied
from worker.logs import get_logger
from worker.look import disk
from worker.shell import Shell

log = get_logger(__name__)


@dataclass
class Step:
    """The passes of one age, and the disk after them."""

    until: str
    passes: list[Pruned] = field(default_factory=list)
    after: FileSystem | None = None


@dataclass
class Progress:
    """How far a run came; it is still true when the run is cut short."""

    engine: Engine | None = None
    before: FileSystem | None = None
    after: FileSystem | None = None
    steps: list[Step] = field(default_factory=list)  # more than one only in an early prune
    pruning: bool = False  # a prune was sent and has not ended
    preview: list[CacheRecord] | None = None
    printed: bytearray = field(default_factory=bytearray)  # of that one, so far
    journal: PruneJournal | None = None
    followed: Followed | None = None  # prunes that an earlier run left
    looked_at: float = 0.0  # monotonic, before the look that found `engine`
    looked_until: float = 0.0  # monotonic, after it
    sent_at: float = 0.0  # monotonic, when the last prune was sent

    @property
    def passes(self) -> list[Pruned]:
        """All passes, of all steps."""
        return [done for step in self.steps for done in step.passes]


async def prune(
    shell: Shell, arguments: PruneArguments, engine: Engine, progress: Progress, journal: PruneJournal
) -> None:
    """Prunes until nothing is left or the cap is reached; early, age by age until there is room after
    `progress.after`, which was read before.

    Raises CommandFailed, GateDenied or HostUnreachable.
    """
    while until := decide_age(arguments, len(progress.steps), progress.after):
        step = Step(until)
        progress.steps.append(step)
        while decide_another_pass(step.passes):
            await _prune_once(shell, step, arguments.all, progress, journal)
        step.after = progress.after = await disk(shell, engine.root)
        _tell(step)


async def _prune_once(shell: Shell, step: Step, all: bool, progress: Progress, journal: PruneJournal) -> None:
    progress.sent_at = time.monotonic()  # for the note; set again below, as Redis may keep it waiting
    await asyncio.to_thread(journal.begin)
    progress.printed.clear()
    progress.pruning, progress.sent_at = True, time.monotonic()
    try:
        completed = await shell.run(prune_argv(step.until, all), let_finish=True, printed=progress.printed)
    except GateDenied:
        progress.pruning = False  # it never began
        raise
    progress.pruning = False
    pruned = parse_prune(completed.stdout)
    if completed.exit_status == 0:
        step.passes.append(pruned)
    await asyncio.to_thread(journal.end, pruned.reclaimed_bytes or parse_pruned_rows(completed.stdout))
    completed.check()


def _tell(step: Step) -> None:
    known = [done.reclaimed_bytes for done in step.passes if done.reclaimed_bytes is not None]
    log.info(
        "age pruned",
        until=step.until,
        passes=len(step.passes),
        caches_deleted=sum(done.caches_deleted for done in step.passes),
        reclaimed_bytes=sum(known) if known else None,
        used_percent=step.after.used_percent if step.after else None,
    )


async def preview(shell: Shell, arguments: PruneArguments, engine: Engine) -> list[CacheRecord]:
    """The records that `prune` would remove now. Raises CommandFailed or HostUnreachable."""
    argv = preview_argv(arguments.policy.timeout_s)
    completed = (await shell.run(argv)).check()
    records = parse_cache_records(completed.stdout)
    if records is None or completed.cut:
        raise CommandFailed(
            " ".join(argv), completed.exit_status, "no readable list of build cache was printed"
        )
    now = engine.now or datetime.now(UTC)  # the engine's clock: ages are measured by it
    return choose_records(records, now, age_seconds(arguments.ages[0]), arguments.all)
