"""Opens ssh connections: OpenSSH's own files decide, host keys are always checked, errors are typed."""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from worker.errors import AuthenticationFailed, HostKeyRejected, HostUnreachable
from worker.host_key_check import Client, connect_checked, explain
from worker.hosts import Host, parse_host, split_list
from worker.known_hosts import read_files
from worker.known_hosts_files import expand_home, files_to_read
from worker.settings import Settings

_USER_CONFIG = Path("~/.ssh/config")
_SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
_KEEPALIVE_S = 15
# Before the other ciphers, which asyncssh composes in Python: a run takes a sixth less CPU time.
_FAST_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
_KEY_ERRORS = (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, asyncssh.ConfigParseError)

logging.getLogger("asyncssh").setLevel(logging.ERROR)  # it logs every step of every connection


async def open_connection(host: Host, settings: Settings) -> asyncssh.SSHClientConnection:
    """Connects and logs in within `ssh_connect_timeout_s`.

    Raises HostUnreachable, HostKeyRejected or AuthenticationFailed.
    """
    limit = settings.ssh_connect_timeout_s
    try:
        async with asyncio.timeout(limit):
            return await _log_in(host, settings)
    except TimeoutError as error:
        raise HostUnreachable(
            f"{host.name}: no ssh login within {limit:g} s (HOLYSTONE_SSH_CONNECT_TIMEOUT_S)"
        ) from error


@dataclass(frozen=True)
class Route:
    """Where ssh_config leads: asyncssh's options and the arguments they are made of; the hosts to jump by."""

    options: asyncssh.SSHClientConnectionOptions
    wanted: dict[str, Any]
    jumps: list[Host]


def find_route(host: Host, settings: Settings, **changes: Any) -> Route:
    """The way to `host`; `changes` are arguments for asyncssh. Raises AuthenticationFailed."""
    try:
        wanted = _wanted(host, settings) | changes
        options = asyncssh.SSHClientConnectionOptions(**wanted)
        jumps = _jumps(options.tunnel)
    except (asyncssh.Error, *_KEY_ERRORS, OSError, ValueError, RuntimeError) as error:  # the last: ~nobody
        raise AuthenticationFailed(f"{host.name}: an ssh key or setting can't be used: {error}") from error
    if options.config.get("Ciphers") is None:
        wanted["encryption_algs"] = _FAST_CIPHERS
    return Route(options, wanted, jumps)


def read_known_hosts(host: Host, options: Any, settings: Settings) -> asyncssh.SSHKnownHosts:
    """The known_hosts files that hold for a connection to `host`. Raises HostKeyRejected."""
    try:
        return read_files(files_to_read(host, options, settings))
    except (OSError, ValueError) as error:
        raise HostKeyRejected(
            f"{host.name}: known_hosts can't be read, so no key is trusted: {error}"
        ) from error


async def jump(
    host: Host, jumps: list[Host], settings: Settings, beyond: tuple[str | None, ...] = ()
) -> asyncssh.SSHClientConnection | None:
    """A connection to the last of the hosts to jump by on the way to `host`, or None where there is none."""
    through = None
    beyond = (*beyond, host.address)
    for on_the_way in jumps:
        if on_the_way.address not in beyond:  # `Host *` may send the jump host through itself
            through = await _log_in(on_the_way, settings, through, beyond)
    return through


async def _log_in(
    host: Host,
    settings: Settings,
    through: asyncssh.SSHClientConnection | None = None,
    beyond: tuple[str | None, ...] = (),
) -> asyncssh.SSHClientConnection:
    """Logs in to `host`, `through` a jump host if there is one, on the way to the hosts `beyond` it."""
    route = find_route(host, settings)
    wanted, options = route.wanted, route.options
    known_hosts = read_known_hosts(host, options, settings)
    if through is None:
        through = await jump(host, route.jumps, settings, beyond)
    client, connection = Client(), None
    try:
        connection = await connect_checked(wanted, options, known_hosts, through, client)
    except asyncssh.KeyExchangeFailed as error:
        raise HostKeyRejected(f"{host.name}: no common ssh algorithm ({error.reason})") from error
    except (asyncssh.Error, OSError, UnicodeError) as error:  # the last: a name that DNS can't hold
        if isinstance(error, asyncssh.HostKeyNotVerifiable) and error is client.refusal:
            why = explain(known_hosts, options, error)
            raise HostKeyRejected(f"{host.name}: {why} ({error.reason})") from error
        if client.knows_host and isinstance(error, asyncssh.PermissionDenied):
            raise AuthenticationFailed(
                f"{host.name}: none of the worker's keys was accepted ({error.reason}); "
                "add its public key to authorized_keys there, or set HOLYSTONE_SSH_IDENTITY"
            ) from error
        if client.knows_host and "Too many authentication failures" in str(error):
            raise AuthenticationFailed(
                f"{host.name}: more keys were offered than it accepts; "
                "set HOLYSTONE_SSH_IDENTITY, or IdentitiesOnly in ssh_config"
            ) from error
        raise HostUnreachable(f"{host.name}: {error or type(error).__name__}") from error
    finally:
        if through is not None and connection is None:
            through.abort()
    if through is not None:
        connection.set_tunnel(through)  # closed with it
    return connection


def _jumps(proxy_jump: Any) -> list[Host]:
    """The hosts of ssh_config's ProxyJump. asyncssh would log in to them without our known_hosts."""
    names = split_list(proxy_jump) if isinstance(proxy_jump, str) else []
    return [parse_host(f"ssh://{name.removeprefix('ssh://')}") for name in names]


def _wanted(host: Host, settings: Settings) -> dict[str, Any]:
    """Arguments for asyncssh; the rest comes from the ssh_config files, the agent and the default keys."""
    own = settings.ssh_config
    config = [expand_home(str(own))] if own else [_USER_CONFIG.expanduser(), _SYSTEM_CONFIG]
    wanted: dict[str, Any] = {
        "host": host.address,
        "config": [path for path in config if own or path.is_file()],
        "keepalive_interval": _KEEPALIVE_S,
        "keepalive_count_max": 3,
        "login_timeout": settings.ssh_connect_timeout_s,
        "client_factory": Client,  # for get_server_host_key; connect_checked brings its own
        "agent_forwarding": False,  # whatever ssh_config says: a host has no business with our agent
    }
    if host.user:
        wanted["username"] = host.user
    if host.port:
        wanted["port"] = host.port
    if settings.ssh_identity:
        wanted["client_keys"] = [expand_home(str(settings.ssh_identity))]
        wanted["ignore_encrypted"] = False
    return wanted
