"""What a look at one host's disk asks there, and what it saw."""

import contextlib
from dataclasses import dataclass

from tasks.disk_policy import CACHE_USAGE, decide_asking_for_cache, parse_cache_usage
from worker.disk_memory import DiskMemory
from worker.docker import FileSystem
from worker.errors import CommandFailed, GateDenied, HostUnreachable
from worker.fleet import HostSettings
from worker.limits import SoftLimitReached, run_limited
from worker.look import disk, look
from worker.schedule import WATCH_LIMIT_S
from worker.settings import Settings
from worker.shell import Shell, connect


@dataclass
class Reading:
    """What one visit saw; it is still true when the visit is cut short.

    `build_cache_bytes` is None where it was not asked for, or can't be read.
    """

    disk: FileSystem | None = None
    build_cache_bytes: int | None = None
    asked_for_cache: bool = False


def look_at_disk(
    host: HostSettings, settings: Settings, known: DiskMemory, now: float
) -> tuple[FileSystem, Reading]:
    """(the disk, all that a visit of at most WATCH_LIMIT_S saw). Raises as `visit` does."""
    reading = Reading()
    with contextlib.suppress(SoftLimitReached):
        run_limited(visit(host, settings, known, now, reading), WATCH_LIMIT_S)
    if reading.disk is None:
        raise HostUnreachable(f"{host.host.name}: its disk was not read within {WATCH_LIMIT_S} s")
    return reading.disk, reading


async def visit(
    host: HostSettings, settings: Settings, known: DiskMemory, now: float, reading: Reading
) -> None:
    """Looks at the disk; asks docker only for what is not known. Raises the errors of worker.errors."""
    async with connect(host.host, settings) as shell:
        reading.disk = await read_disk(shell, known)
        if decide_asking_for_cache(known.build_cache_ts, now):
            reading.asked_for_cache = True
            with contextlib.suppress(GateDenied):  # an older gate: the disk was read all the same
                usage = await shell.run(CACHE_USAGE)
                if usage.exit_status == 0:
                    reading.build_cache_bytes = parse_cache_usage(usage.stdout)


async def read_disk(shell: Shell, known: DiskMemory) -> FileSystem:
    """The file system of docker's root, where that was the last time or where docker says it is.

    Raises CommandFailed where df can't read it, and what `look` raises.
    """
    found = await disk(shell, known.disk.path) if known.disk else None
    if found is None:
        engine = await look(shell)
        found = await disk(shell, engine.root)
        if found is None:
            raise CommandFailed(f"df -Pk -- {engine.root}", 0, "it does not say how full that file system is")
    return found
