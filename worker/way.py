"""Tries the way to a host: how far ssh comes, and where it fails, why."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import asyncssh

from worker.errors import AuthenticationFailed, HolystoneError, HostKeyRejected, HostUnreachable
from worker.host_key import HostKey, fetch_host_key
from worker.hosts import Host
from worker.known_hosts import KeyStatus
from worker.settings import Settings
from worker.shell import Shell
from worker.ssh import Route, find_route, open_connection
from worker.ssh_shell import SshShell

_LONGEST_LINE = 4096
_LINES_BEFORE_VERSION = 20


@dataclass(frozen=True)
class Way:
    """How far ssh came. `target` is the address and port that ssh_config leads to, `behind` the jump hosts.

    `addresses` is what the name resolves to, or why it doesn't; `answer` the ssh server's version, or why it
    gave none. Both are None where they were not asked for, as behind a jump host. `key` is what the host
    shows where that isn't accepted; `failure` is None after a login, and `key_accepted` true where this side
    has found the host's key to be a known one.
    """

    host: str
    target: str
    user: str
    behind: str | None = None
    addresses: Sequence[str] | OSError | None = None
    answer: str | OSError | None = None
    key: HostKey | None = None
    failure: HolystoneError | None = None
    key_accepted: bool = False


@contextlib.asynccontextmanager
async def reach(host: Host, settings: Settings) -> AsyncIterator[tuple[Way, Shell | None]]:
    """The way to `host`, and a Shell there, or None where it can't be reached."""
    try:
        route = find_route(host, settings)
        connection = await open_connection(host, settings)
    except HolystoneError as failure:
        yield await _find_trouble(host, settings, failure), None
        return
    try:
        peer = connection.get_extra_info("peername")
        version = str(connection.get_extra_info("server_version") or "ssh")
        behind = _behind(route)
        way = Way(
            host=host.name,
            target=_target(route),
            user=str(route.options.username),
            behind=behind,
            addresses=(str(peer[0]),) if peer and not behind else None,
            answer=None if behind else _printable(version.removeprefix("SSH-2.0-")),
            key_accepted=True,
        )
        yield way, SshShell(connection, host)
    finally:
        connection.abort()


async def _find_trouble(host: Host, settings: Settings, failure: HolystoneError) -> Way:
    """Why a login failed, as far as it can be seen without one."""
    try:
        route = find_route(host, settings, client_keys=None)
    except HolystoneError:
        return Way(host=host.name, target=host.url, user="", failure=failure)
    behind = _behind(route)
    addresses: Sequence[str] | OSError | None = None
    answer: str | OSError | None = None
    if not behind:
        place = route.options.host, route.options.port, settings.ssh_connect_timeout_s
        addresses = await _resolve(*place)
        answer = None if isinstance(addresses, OSError) else await _ask_version(*place)
    key = None
    is_own = str(failure).startswith(f"{host.name}: ")  # and not a jump host's
    # That a host refused a login counts only after it has proved to hold a known key.
    refused = isinstance(failure, AuthenticationFailed) and isinstance(
        failure.__cause__, asyncssh.DisconnectError
    )
    accepted = is_own and refused
    answers = not isinstance(addresses, OSError) and not isinstance(answer, OSError)
    if is_own and answers and isinstance(failure, HostKeyRejected | HostUnreachable):
        with contextlib.suppress(HolystoneError):
            key = await fetch_host_key(host, settings)
    if key and key.status is KeyStatus.KNOWN and isinstance(failure, HostUnreachable):
        key, accepted = None, True  # it was something else
    return Way(
        host=host.name,
        target=_target(route),
        user="",
        behind=behind,
        addresses=addresses,
        answer=answer,
        key=key,
        failure=failure,
        key_accepted=accepted,
    )


async def _resolve(address: str, port: int, limit_s: float) -> list[str] | OSError:
    try:
        async with asyncio.timeout(limit_s):
            found = await asyncio.get_running_loop().getaddrinfo(address, port, type=socket.SOCK_STREAM)
    except OSError as error:  # a time-out, too
        return error
    except UnicodeError as error:  # a label that is too long
        return OSError(str(error))
    return list(dict.fromkeys(str(each[4][0]) for each in found))


async def _ask_version(address: str, port: int, limit_s: float) -> str | OSError:
    """How the ssh server there calls itself, or why it doesn't."""
    writer = None
    try:
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection(address, port, limit=_LONGEST_LINE)
            for _ in range(_LINES_BEFORE_VERSION):
                line = await reader.readline()  # empty at the end
                if line.startswith(b"SSH-"):
                    return _printable(line.decode("utf-8", "replace").strip().removeprefix("SSH-2.0-"))
        return OSError("what listens there is no ssh server")
    except TimeoutError:
        said = "it accepts connections, but says nothing" if writer else "no connection"
        return OSError(f"{said} within {limit_s:g} s (HOLYSTONE_SSH_CONNECT_TIMEOUT_S)")
    except ValueError:  # a line without an end
        return OSError("what listens there is no ssh server")
    except OSError as error:
        return error
    finally:
        if writer is not None:
            writer.close()


def _target(route: Route) -> str:
    host, port = route.options.host, route.options.port
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _behind(route: Route) -> str | None:
    if route.jumps:
        return ", ".join(jump.name for jump in route.jumps)
    return "ssh_config's ProxyCommand" if route.options.proxy_command else None


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:80]
