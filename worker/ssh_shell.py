"""The Shell that reaches a host by ssh. Imported late, by who opens one: asyncssh is large."""

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncssh

from worker.errors import HostUnreachable
from worker.gate import parse_denial
from worker.hosts import Host
from worker.settings import Settings
from worker.shell import MAX_OUTPUT, TAIL, Completed, Kept, Shell
from worker.ssh import open_connection

_CHUNK = 64 * 1024
# Whatever ssh_config says: on a terminal a prune would be killed when we leave.
_PLAIN: dict[str, Any] = {"request_pty": False, "x11_forwarding": False}
_CLOSE_S = 1


@contextlib.asynccontextmanager
async def connect_by_ssh(host: Host, settings: Settings) -> AsyncIterator[Shell]:
    """A Shell on `host`, over one ssh connection. Raises as worker.shell.connect does."""
    connection = await open_connection(host, settings)
    try:
        yield SshShell(connection, host)
    finally:
        connection.close()
        with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
            await asyncio.wait_for(connection.wait_closed(), _CLOSE_S)


def warm_up() -> None:
    """Has OpenSSL load its algorithms, as the first login would: 1.5 MB that processes forked later share."""
    asyncssh.generate_private_key("ecdsa-sha2-nistp256")


class SshShell:
    """Commands over one ssh connection, each in a session of its own."""

    def __init__(self, connection: asyncssh.SSHClientConnection, host: Host) -> None:
        self._connection, self._host = connection, host

    async def run(
        self, argv: Sequence[str], *, let_finish: bool = False, printed: bytearray | None = None
    ) -> Completed:
        try:
            process: asyncssh.SSHClientProcess[bytes] = await self._connection.create_process(
                shlex.join(argv), stdin=asyncssh.DEVNULL, encoding=None, **_PLAIN
            )
            try:
                out, err = await asyncio.gather(_read(process.stdout, printed), _read(process.stderr))
                await process.wait_closed()
            except asyncio.CancelledError:
                if not let_finish:
                    process.kill()  # sshd obeys neither for root nor for a forced command: hence look.bounded
                raise
        except (asyncssh.Error, OSError) as error:
            raise HostUnreachable(
                f"{self._host.name}: connection lost during `{argv[0]}`: {error}"
            ) from error
        if process.exit_status is None and process.exit_signal is None:
            raise HostUnreachable(f"{self._host.name}: connection lost during `{argv[0]}`")
        # Here, not in check(): who can do without an answer must not take a denial for "unknown".
        if denial := parse_denial(self._host.name, shlex.join(argv), process.exit_status, err.text):
            raise denial
        return Completed(
            argv=tuple(argv),
            exit_status=None if process.exit_signal else process.exit_status,
            stdout=out.text,
            stderr=err.text,
            cut=out.cut or err.cut,
        )


async def _read(stream: Any, head: bytearray | None = None) -> Kept:
    """All of a stream up to MAX_OUTPUT, put in `head` as it comes, then about its last TAIL bytes."""
    head = bytearray() if head is None else head
    tail, cut = bytearray(), False
    while chunk := await stream.read(_CHUNK):
        room = MAX_OUTPUT - len(head)
        head += chunk[:room]
        tail += chunk[room:]
        if len(tail) > 2 * TAIL:
            cut = True
            del tail[:-TAIL]
    return Kept((head + tail).decode("utf-8", "replace"), cut)
