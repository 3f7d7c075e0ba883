"""The only door to a host: `connect(host)` gives a Shell, whose `run(argv)` runs one command there."""

import asyncio
import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import IO, NamedTuple, Protocol

from worker.errors import CommandFailed
from worker.hosts import Host
from worker.settings import Settings
from worker.text import printable

MAX_OUTPUT = 8 * 1024 * 1024  # what a run keeps of each stream; the rest is read and dropped
TAIL = 64 * 1024  # of a longer stream the end is kept too: totals stand there
_POLL_S = 0.01


@dataclass(frozen=True)
class Completed:
    """A command that ended. `exit_status` is None where a signal ended it; `cut` where output was dropped."""

    argv: tuple[str, ...]
    exit_status: int | None
    stdout: str
    stderr: str
    cut: bool = False

    def check(self) -> "Completed":
        """Itself, if the command succeeded. Raises CommandFailed with the first lines of stderr."""
        if self.exit_status != 0:
            raise CommandFailed(shlex.join(self.argv), self.exit_status, first_lines(self.stderr))
        return self


class Shell(Protocol):
    """A way to run commands on one host."""

    async def run(
        self, argv: Sequence[str], *, let_finish: bool = False, printed: bytearray | None = None
    ) -> Completed:
        """Runs `argv` without a terminal or input.

        Cancelled meanwhile, it kills the command, or with `let_finish` leaves it to itself on the host;
        `printed` then has what it wrote to stdout so far, as where the connection was lost, up to MAX_OUTPUT.
        Raises HostUnreachable if the connection is lost, GateDenied if the host's gate did not let it in.
        """


def first_lines(text: str, lines: int = 5, width: int = 300) -> str:
    """The start of a command's output, short enough for a report."""
    kept = [line.rstrip()[:width] for line in text.strip().splitlines()[:lines]]
    return "\n".join(printable(line) for line in kept)


@contextlib.asynccontextmanager
async def connect(host: Host, settings: Settings) -> AsyncIterator[Shell]:
    """A Shell on `host`, by ssh or on this machine.

    Raises HostUnreachable, HostKeyRejected or AuthenticationFailed.
    """
    if host.is_local:
        yield LocalShell()
        return
    # Not at the top: asyncssh is 9 MB, which beat and Flower would load with the tasks and never use.
    from worker.ssh_shell import connect_by_ssh

    async with connect_by_ssh(host, settings) as shell:
        yield shell


class LocalShell:
    """Commands on this machine, without a shell in between.

    Output goes to unnamed files, not pipes: a prune that is left to finish must not die at its next write.
    """

    async def run(
        self, argv: Sequence[str], *, let_finish: bool = False, printed: bytearray | None = None
    ) -> Completed:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                process = subprocess.Popen(  # asyncio's would be killed when the event loop closes
                    argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
                )
            except OSError as error:
                return Completed(tuple(argv), 127, "", f"{argv[0]}: {error.strerror}")
            try:
                while (status := process.poll()) is None:
                    await asyncio.sleep(_POLL_S)
            except asyncio.CancelledError:
                if not let_finish:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                if printed is not None:
                    printed += _read_file(out).text.encode()
                raise
            output, errors = _read_file(out), _read_file(err)
        return Completed(
            argv=tuple(argv),
            exit_status=None if status < 0 else status,
            stdout=output.text,
            stderr=errors.text,
            cut=output.cut or errors.cut,
        )


class Kept(NamedTuple):
    """What was kept of a stream, and whether its middle was dropped."""

    text: str
    cut: bool


def _read_file(file: IO[bytes]) -> Kept:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(MAX_OUTPUT)
    if size <= MAX_OUTPUT + TAIL:
        return Kept((head + file.read()).decode("utf-8", "replace"), False)
    file.seek(-TAIL, os.SEEK_END)
    return Kept((head + file.read()).decode("utf-8", "replace"), True)
