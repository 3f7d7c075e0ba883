"""One look at a host before a job acts: which CLI, which engine, which builder, how full the disk is."""

import asyncio

from worker.docker import FileSystem, parse_df
from worker.engine import Engine, client_in_info, is_socket, parse_cli_version, parse_engine
from worker.shell import Shell

LOOK_LIMIT_S = 60


def bounded(argv: tuple[str, ...], limit_s: int = LOOK_LIMIT_S) -> tuple[str, ...]:
    """`argv` under coreutils' `timeout` on the host: a command that only reads must not outlive our visit."""
    return ("timeout", "-s", "KILL", str(limit_s), *argv)


INFO = bounded(("docker", "info", "--format", "{{json .}}"))
CONTEXT = bounded(("docker", "context", "inspect", "--format", "{{json .Endpoints.docker.Host}}"))
# Resolves its builder as `docker builder prune` does: BUILDX_BUILDER, config.json's alias, `buildx use`.
BUILDER = bounded(("docker", "builder", "inspect"))
CLI_VERSION = bounded(("docker", "--version"))


def disk_argv(path: str) -> tuple[str, ...]:
    return bounded(("df", "-Pk", "--", path))


async def look(shell: Shell) -> Engine:
    """The engine that `docker` on the host speaks to, and whose cache its `builder prune` takes.

    Raises CommandFailed where docker is missing, stopped or forbidden; UnsupportedEngine where it isn't
    Docker's, its endpoint isn't a socket on that host, or its builder isn't the engine's own.
    """
    info, context, builder = await asyncio.gather(*(shell.run(argv) for argv in (INFO, CONTEXT, BUILDER)))
    client = client_in_info(info.stdout)
    if client is None:
        client = parse_cli_version((await shell.run(CLI_VERSION)).check().stdout)
    context.check()
    if is_socket(context.stdout):  # any other endpoint is refused, whether its engine answers or not
        info.check()
    inspected = builder.stdout if builder.exit_status == 0 else builder.stderr
    return parse_engine(client, info.stdout, context.stdout, inspected)


async def disk(shell: Shell, path: str) -> FileSystem | None:
    """The file system that holds `path` on the host, or None where df can't say."""
    completed = await shell.run(disk_argv(path))
    return parse_df(completed.stdout, path) if completed.exit_status == 0 else None
