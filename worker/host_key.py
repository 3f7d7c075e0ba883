"""Fetches the key by which a host would be known, without logging in to it."""

import asyncio
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from worker.errors import AuthenticationFailed, HolystoneError, HostKeyRejected, HostUnreachable
from worker.hosts import Host
from worker.known_hosts import (
    ALGORITHMS,
    KeyStatus,
    algorithms_for,
    key_status,
    keys_known_as,
    make_line,
    match,
    name_of,
    read_files,
)
from worker.known_hosts_files import file_to_add_to, files_to_read
from worker.settings import Settings
from worker.ssh import Route, find_route, jump

_KINDS = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}  # else ecdsa
_FINGERPRINT = re.compile(r"SHA256:([A-Za-z0-9+/]{43})=?", re.ASCII)


@dataclass(frozen=True)
class HostKey:
    """A key that a host showed; `kind` is `ed25519`, `ecdsa` or `rsa`.

    `name` is the host's in known_hosts, where `line` would make the key known. `file` is the one to add it
    to, None where ssh_config says that there is none; `known_in` the first that holds another of its keys.
    """

    name: str
    kind: str
    fingerprint: str
    status: KeyStatus
    line: str
    file: Path | None
    known_in: Path | None = None

    @property
    def compare_command(self) -> str:
        """The command that prints the fingerprint on the host itself."""
        return f"ssh-keygen -lf /etc/ssh/ssh_host_{self.kind}_key.pub"

    @property
    def forget_command(self) -> str:
        """The command that removes what is known of the host."""
        file = self.known_in or self.file
        return shlex.join(["ssh-keygen", *(["-f", str(file)] if file else []), "-R", self.name])


def parse_fingerprint(text: str) -> str:
    """`SHA256:…` as `HostKey.fingerprint` has it: without padding. Raises ValueError."""
    match = _FINGERPRINT.fullmatch(text.strip())
    if match is None:
        raise ValueError("a fingerprint is SHA256: and 43 characters, as `ssh-keygen -lf` prints it")
    return f"SHA256:{match[1]}"


async def fetch_host_key(host: Host, settings: Settings, fingerprint: str | None = None) -> HostKey:
    """The key that `host` shows within `ssh_connect_timeout_s`; of several the one with `fingerprint`, else
    the one that is known, else the one that ssh would take.

    The keys of jump hosts on the way are checked. Raises HostUnreachable, HostKeyRejected or
    AuthenticationFailed.
    """
    limit = settings.ssh_connect_timeout_s
    try:
        async with asyncio.timeout(limit):
            return await _fetch(host, settings, fingerprint)
    except TimeoutError as error:
        raise HostUnreachable(
            f"{host.name}: no host key within {limit:g} s (HOLYSTONE_SSH_CONNECT_TIMEOUT_S)"
        ) from error


async def _fetch(host: Host, settings: Settings, fingerprint: str | None) -> HostKey:
    route = find_route(host, settings, client_keys=None)
    try:
        files = [path for path in files_to_read(host, route.options, settings) if path.exists()]
        file = file_to_add_to(host, route.options, settings)
        known_hosts = read_files(files)
    except (OSError, ValueError) as error:
        raise HostKeyRejected(f"{host.name}: known_hosts can't be read: {error}") from error
    name = name_of(route.options)
    tries = ALGORITHMS if fingerprint else [algorithms_for(match(known_hosts, name)[0])]
    found: HostKey | None = None
    trouble: HolystoneError | None = None
    through = await jump(host, route.jumps, settings)
    try:
        for algorithms in tries:
            try:
                key = await _ask(host, route, through, algorithms)
            except (HostKeyRejected, HostUnreachable) as error:
                trouble = trouble or error  # without a key of that kind sshd may hang up before it says so
                continue
            kind = _KINDS.get(key.algorithm.decode(), "ecdsa")
            shown = key.get_fingerprint().rstrip("=")
            try:
                line = make_line(name, key)
            except ValueError as error:
                raise HostKeyRejected(f"{host.name}: {error}") from error
            status, known_in = key_status(known_hosts, name, key), None
            if status is KeyStatus.CHANGED:
                known_in = next((path for path in files if keys_known_as(read_files([path]), name)), None)
            this = HostKey(name, kind, shown, status, line, file, known_in)
            if shown == fingerprint:
                return this
            found = found or this
    finally:
        if through is not None:
            through.abort()
    if found is None:
        raise trouble or HostUnreachable(f"{host.name}: it shows no key")
    return found


async def _ask(
    host: Host, route: Route, through: asyncssh.SSHClientConnection | None, algorithms: Sequence[str]
) -> asyncssh.SSHKey:
    try:
        key = await asyncssh.get_server_host_key(
            route.wanted["host"],
            route.wanted.get("port", ()),
            tunnel=through,
            config=None,
            options=route.options,
            server_host_key_algs=list(algorithms),
        )
    except asyncssh.KeyExchangeFailed as error:
        raise HostKeyRejected(f"{host.name}: no common ssh algorithm ({error.reason})") from error
    except (asyncssh.Error, OSError, UnicodeError) as error:
        raise HostUnreachable(f"{host.name}: {error or type(error).__name__}") from error
    except ValueError as error:
        raise AuthenticationFailed(f"{host.name}: an ssh setting can't be used: {error}") from error
    if key is None:
        raise HostUnreachable(f"{host.name}: it shows no key")
    return key
