"""What a prune does on its host: talks, and decides nothing."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from tasks.prune_policy import PruneArguments, choose_records, decide_another_pass, preview_argv, prune_argv
from worker.ages import age_seconds
from worker.docker import CacheRecord, Engine, FileSystem, Pruned, parse_cache_records, parse_prune
from worker.errors import CommandFailed
from worker.look import disk
from worker.shell import Shell


@dataclass
class Progress:
    """How far a run came; it is still true when the run is cut short."""

    engine: Engine | None = None
    before: FileSystem | None = None
    after: FileSystem | None = None
    passes: list[Pruned] = field(default_factory=list)
    pruning: bool = False  # a prune was sent and has not ended
    preview: list[CacheRecord] | None = None


async def prune(shell: Shell, arguments: PruneArguments, engine: Engine, progress: Progress) -> None:
    """Prunes until nothing is left or the cap is reached. Raises CommandFailed or HostUnreachable."""
    progress.before = await disk(shell, engine.root)
    while decide_another_pass(progress.passes):
        progress.pruning = True
        completed = await shell.run(prune_argv(arguments.until, arguments.all), let_finish=True)
        progress.pruning = False
        progress.passes.append(parse_prune(completed.check().stdout))
    progress.after = await disk(shell, engine.root)


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
    return choose_records(records, now, age_seconds(arguments.until), arguments.all)
