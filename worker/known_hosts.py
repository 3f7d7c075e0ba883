"""known_hosts files: which are read, what they say of a host's key, and adding a key to one."""

import errno
import fcntl
import functools
import os
import stat
from enum import Enum, auto
from pathlib import Path
from typing import Any

import asyncssh

from worker.hosts import DEFAULT_PORT
from worker.logs import get_logger
from worker.settings import Settings

_USER_FILE = Path("~/.ssh/known_hosts")
_SYSTEM_FILE = Path("/etc/ssh/ssh_known_hosts")

log = get_logger(__name__)


class Standing(Enum):
    """What known_hosts files say of a key that a host shows."""

    NEW = auto()
    KNOWN = auto()
    OTHER_KNOWN = auto()  # the host is known by another key
    REVOKED = auto()


def files_to_read(configured: Any, settings: Settings) -> list[Path]:
    """The known_hosts files to trust. asyncssh takes `UserKnownHostsFile none` for "any key"; we don't."""
    if settings.ssh_known_hosts:
        return [settings.ssh_known_hosts.expanduser()]  # one that is missing is an error, not "trust no one"
    named = [Path(path) for path in configured] if isinstance(configured, list) else []
    if configured is not None and not named:
        named = [_USER_FILE]
    files = [path.expanduser() for path in (*named, _SYSTEM_FILE)]
    return [path for path in files if path.is_file()]


def file_to_add_to(user_files: Any, settings: Settings) -> Path | None:
    """Where a new key belongs: the first of the files that are read and are the user's own.

    `user_files` is ssh_config's UserKnownHostsFile: a list, empty for `none`, or None where it isn't set. The
    result is None for `none`.
    """
    if settings.ssh_known_hosts:
        return settings.ssh_known_hosts.expanduser()
    if user_files is None:
        return _USER_FILE.expanduser()
    return Path(user_files[0]).expanduser() if user_files else None


def read_files(files: list[Path]) -> asyncssh.SSHKnownHosts:
    """Raises OSError or ValueError where a file can't be read, so that no key is trusted."""
    stamps = tuple((str(path), (stat := path.stat()).st_mtime_ns, stat.st_size) for path in files)
    return _read_files(stamps)


@functools.lru_cache(maxsize=4)
def _read_files(stamps: tuple[tuple[str, int, int], ...]) -> asyncssh.SSHKnownHosts:
    # Parsed once per process and version of the files: 10,000 lines cost 65 ms.
    known_hosts = asyncssh.SSHKnownHosts()
    for path, _, _ in stamps:
        for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), 1):
            try:
                known_hosts.load(line)
            except ValueError as error:
                if line.lstrip().startswith("@revoked"):
                    raise ValueError(f"{path}:{number}: a revoked key that can't be read") from error
                log.warning("known_hosts line not understood", path=path, line=number)
    return known_hosts


def name_of(options: asyncssh.SSHClientConnectionOptions) -> str:
    """How OpenSSH calls the host of a connection in its files: `host`, `[host]:port`, or its HostKeyAlias."""
    if options.host_key_alias:
        return options.host_key_alias.lower()
    host = options.host.lower()
    return host if options.port == DEFAULT_PORT else f"[{host}]:{options.port}"


def keys_known_as(known_hosts: asyncssh.SSHKnownHosts, name: str) -> list[asyncssh.SSHKey]:
    """The keys that stand in the files under a name, as `name_of` gives it."""
    return list(known_hosts.match(name, "", None)[0])


def standing(known_hosts: asyncssh.SSHKnownHosts, name: str, key: asyncssh.SSHKey) -> Standing:
    """What the files say of `key` for the host that they call `name`."""
    if key in known_hosts.match(name, "", None)[2]:
        return Standing.REVOKED
    known = keys_known_as(known_hosts, name)
    if key in known:
        return Standing.KNOWN
    return Standing.OTHER_KNOWN if known else Standing.NEW


def make_line(name: str, key: asyncssh.SSHKey) -> str:
    """The line that makes `key` known. Names are not hashed: the settings beside it hold them in plain."""
    kind, encoded = key.export_public_key().decode("ascii").split()[:2]
    return f"{name} {kind} {encoded}\n"


def add_line(path: Path, line: str) -> None:
    """Adds a line at the end of the file, unless it stands there; the file is made where it is missing.

    Raises OSError, and then leaves it as it was.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0, closefd=True) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        fcntl.flock(file, fcntl.LOCK_EX)
        before, data = file.read(), line.encode("ascii")
        if data in before.splitlines(keepends=True):
            return  # another added it meanwhile
        data = b"\n" * (before != b"" and not before.endswith(b"\n")) + data
        try:
            if os.write(descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, len(before))
            raise
