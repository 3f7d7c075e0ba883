"""Which known_hosts files hold for a connection, and adding a line to one."""

import errno
import fcntl
import os
import re
import stat
from pathlib import Path
from typing import cast

import asyncssh

from worker.hosts import Host
from worker.settings import Settings

# Where ssh_config names none.
_USER_FILES = ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"]
_GLOBAL_FILES = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"]
_TOKEN = re.compile(r"%(.?)|\$\{([^}]*)\}", re.DOTALL)


def user_files(host: Host, options: asyncssh.SSHClientConnectionOptions, settings: Settings) -> list[Path]:
    """The user's own known_hosts files, there or not; empty for `UserKnownHostsFile none`.

    Raises ValueError.
    """
    if settings.ssh_known_hosts:
        return [expand_home(str(settings.ssh_known_hosts))]
    named = cast("list[str] | None", options.config.get("UserKnownHostsFile"))
    return [_expand(path, host, options) for path in (_USER_FILES if named is None else named)]


def files_to_read(host: Host, options: asyncssh.SSHClientConnectionOptions, settings: Settings) -> list[Path]:
    """The known_hosts files to trust. asyncssh takes `UserKnownHostsFile none` for "any key"; we don't.

    Raises OSError or ValueError.
    """
    own = user_files(host, options, settings)
    if settings.ssh_known_hosts:
        return own  # one that is missing is an error, not "trust no one"
    named = cast("list[str] | None", options.config.get("GlobalKnownHostsFile"))
    shared = [expand_home(path) for path in (_GLOBAL_FILES if named is None else named)]
    return [path for path in (*own, *shared) if path.is_file()]


def file_to_add_to(
    host: Host, options: asyncssh.SSHClientConnectionOptions, settings: Settings
) -> Path | None:
    """Where a new key belongs: the first of the user's own files, or None without any. Raises ValueError."""
    return next(iter(user_files(host, options, settings)), None)


def expand_home(path: str) -> Path:
    """`path` with `~` and `~user` replaced. Raises ValueError."""
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise ValueError(f"{path}: there is no such user")
    return Path(expanded)


def _expand(path: str, host: Host, options: asyncssh.SSHClientConnectionOptions) -> Path:
    """`path` with `~`, ssh_config's tokens and `${VARIABLE}` replaced. Raises ValueError."""
    tokens = {
        "%": "%",
        "d": os.path.expanduser("~"),
        "h": options.host,
        "i": str(os.getuid()),
        "k": options.host_key_alias or host.address,
        "n": host.address,
        "p": str(options.port),
        "r": options.username,
    }

    def value(match: re.Match[str]) -> str:
        token, variable = match.groups()
        found = tokens.get(token) if variable is None else os.environ.get(variable)
        if found is None:
            raise ValueError(f"{path}: {match[0]} can't be replaced; write the path out")
        return str(found)

    return Path(_TOKEN.sub(value, str(expand_home(path))))


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
