"""Opens ssh connections: OpenSSH's own files decide, host keys are always checked, errors are typed."""

import asyncio
import functools
import logging
from pathlib import Path
from typing import Any

import asyncssh

from worker.errors import AuthenticationFailed, HostKeyRejected, HostUnreachable
from worker.hosts import DEFAULT_PORT, Host, parse_host, split_list
from worker.settings import Settings

_USER_CONFIG = Path("~/.ssh/config")
_SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
_USER_KNOWN_HOSTS = Path("~/.ssh/known_hosts")
_SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
_KEEPALIVE_S = 15
_KEY_ERRORS = (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, asyncssh.ConfigParseError)

log = logging.getLogger(__name__)

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


async def _log_in(
    host: Host,
    settings: Settings,
    through: asyncssh.SSHClientConnection | None = None,
    beyond: tuple[str | None, ...] = (),
) -> asyncssh.SSHClientConnection:
    """Logs in to `host`, `through` a jump host if there is one, on the way to the hosts `beyond` it."""
    wanted = _wanted(host, settings)
    try:
        options = asyncssh.SSHClientConnectionOptions(**wanted)
        jumps = _jumps(options.tunnel) if through is None else []
    except (asyncssh.Error, *_KEY_ERRORS, OSError, ValueError) as error:
        raise AuthenticationFailed(f"{host.name}: an ssh key or setting can't be used: {error}") from error
    try:
        known_hosts = _known_hosts(_known_hosts_files(options.known_hosts, settings))
    except (OSError, ValueError) as error:
        raise HostKeyRejected(
            f"{host.name}: known_hosts can't be read, so no key is trusted: {error}"
        ) from error
    beyond = (*beyond, host.address)
    for jump in jumps:
        if jump.address not in beyond:  # `Host *` may send the jump host through itself
            through = await _log_in(jump, settings, through, beyond)
    connection = None
    try:
        connection = await asyncssh.connect(
            **wanted,
            # As OpenSSH does: a key that is known for the address is not thereby known for the name.
            known_hosts=lambda name, _address, port: known_hosts.match(name, "", port),
            tunnel=through,
        )
    except asyncssh.PermissionDenied as error:
        raise AuthenticationFailed(
            f"{host.name}: none of the worker's keys was accepted ({error.reason}); "
            "add its public key to authorized_keys there, or set HOLYSTONE_SSH_IDENTITY"
        ) from error
    except asyncssh.KeyExchangeFailed as error:
        if "host key" not in error.reason:
            raise HostKeyRejected(f"{host.name}: no common ssh algorithm ({error.reason})") from error
        raise HostKeyRejected(f"{host.name}: {_explain(known_hosts, options)} ({error.reason})") from error
    except asyncssh.HostKeyNotVerifiable as error:
        raise HostKeyRejected(f"{host.name}: {_explain(known_hosts, options)} ({error.reason})") from error
    except (asyncssh.Error, OSError) as error:
        if "Too many authentication failures" in str(error):
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
    config = [own.expanduser()] if own else [_USER_CONFIG.expanduser(), _SYSTEM_CONFIG]
    wanted: dict[str, Any] = {
        "host": host.address,
        "config": [path for path in config if own or path.is_file()],
        "keepalive_interval": _KEEPALIVE_S,
        "keepalive_count_max": 3,
        "login_timeout": settings.ssh_connect_timeout_s,
        "agent_forwarding": False,  # whatever ssh_config says: a host has no business with our agent
    }
    if host.user:
        wanted["username"] = host.user
    if host.port:
        wanted["port"] = host.port
    if settings.ssh_identity:
        wanted["client_keys"] = [settings.ssh_identity.expanduser()]
        wanted["ignore_encrypted"] = False
    return wanted


def _known_hosts_files(configured: Any, settings: Settings) -> list[Path]:
    """The known_hosts files to trust. asyncssh takes `UserKnownHostsFile none` for "any key"; we don't."""
    if settings.ssh_known_hosts:
        return [settings.ssh_known_hosts.expanduser()]  # one that is missing is an error, not "trust no one"
    named = [Path(path) for path in configured] if isinstance(configured, list) else []
    if configured is not None and not named:
        named = [_USER_KNOWN_HOSTS]
    files = [path.expanduser() for path in (*named, _SYSTEM_KNOWN_HOSTS)]
    return [path for path in files if path.is_file()]


def _known_hosts(files: list[Path]) -> asyncssh.SSHKnownHosts:
    stamps = tuple((str(path), (stat := path.stat()).st_mtime_ns, stat.st_size) for path in files)
    return _read_known_hosts(stamps)


@functools.lru_cache(maxsize=4)
def _read_known_hosts(stamps: tuple[tuple[str, int, int], ...]) -> asyncssh.SSHKnownHosts:
    # Parsed once per process and version of the files: 10,000 lines cost 65 ms.
    known_hosts = asyncssh.SSHKnownHosts()
    for path, _, _ in stamps:
        for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), 1):
            try:
                known_hosts.load(line)
            except ValueError as error:
                if line.lstrip().startswith("@revoked"):
                    raise ValueError(f"{path}:{number}: a revoked key that can't be read") from error
                log.warning("line not understood, skipped: known_hosts=%s line=%s", path, number)
    return known_hosts


def _explain(known_hosts: asyncssh.SSHKnownHosts, options: asyncssh.SSHClientConnectionOptions) -> str:
    """Whether the host's key is unknown or another than the known one, and what to do."""
    name = options.host_key_alias or options.host
    port = None if options.port == DEFAULT_PORT else options.port
    if any(known_hosts.match(name, "", port)):
        return (
            "the host key differs from the one in known_hosts. If the host was not reinstalled this may be "
            "an attack; else replace its line with a key that you have checked"
        )
    return "the host key is not in known_hosts; add it after checking its fingerprint on the host"
