"""One look at a host before a job acts: which CLI, which engine, which builder, how full the disk is."""

import asyncio

from worker.docker import Engine, FileSystem, is_socket, parse_df, parse_engine
from worker.shell import Completed, Shell

LOOK_LIMIT_S = 60


def bounded(argv: tuple[str, ...], limit_s: int = LOOK_LIMIT_S) -> tuple[str, ...]:
    """A command that only reads, bounded on the host itself: it must not linger there after we have left."""
    return ("timeout", "-s", "KILL", str(limit_s), *argv)


CLI_VERSION = bounded(("docker", "--version"))
INFO = bounded(("docker", "info", "--format", "{{json .}}"))
CONTEXT = bounded(("docker", "context", "inspect", "--format", "{{json .Endpoints.docker.Host}}"))


def disk_argv(path: str) -> tuple[str, ...]:
    return bounded(("df", "-Pk", "--", path))


async def look(shell: Shell) -> Engine:
    """The engine that `docker` on the host speaks to.

    Raises CommandFailed where docker is missing, stopped or forbidden; UnsupportedEngine where it isn't
    Docker's or its endpoint isn't a socket on that host.
    """
    version, info, context = await asyncio.gather(*(shell.run(argv) for argv in (CLI_VERSION, INFO, CONTEXT)))
    version.check()
    if version.stdout.startswith("Docker version "):
        context.check()
        if is_socket(context.stdout):  # any other endpoint is refused, whether its engine answers or not
            info.check()
    return parse_engine(version.stdout, info.stdout, context.stdout)


async def disk(shell: Shell, path: str) -> FileSystem | None:
    """The file system that holds `path` on the host, or None where df can't say."""
    completed: Completed = await shell.run(disk_argv(path))
    return parse_df(completed.stdout, path) if completed.exit_status == 0 else None
