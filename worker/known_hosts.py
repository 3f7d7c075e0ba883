"""What known_hosts files say of a host's key."""

import functools
import re
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from typing import Any

import asyncssh

from worker.hosts import DEFAULT_PORT
from worker.logs import get_logger

# As OpenSSH's client prefers them.
ALGORITHMS = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)
_WITH_PORT = re.compile(r"\[(.*)\]:[0-9]+", re.DOTALL)
# What stands before a line's names, and the names, unless they are hashed.
_NAMES = re.compile(rb"^([^\S\n]*(?:@\S+[^\S\n]+)?)([^@|\s]\S*)", re.MULTILINE)
# No pattern, list, marker, hash or comment.
_NAME = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:%-]*|\[[A-Za-z0-9_:][A-Za-z0-9_.:%-]*\]:[0-9]{1,5}", re.ASCII)

log = get_logger(__name__)


class KeyStatus(Enum):
    """What known_hosts files say of a key that a host shows."""

    NEW = auto()
    KNOWN = auto()
    CHANGED = auto()  # the host is known by another key
    REVOKED = auto()


def read_files(files: list[Path]) -> asyncssh.SSHKnownHosts:
    """Raises OSError or ValueError where a file can't be read, so that no key is trusted."""
    stamps = tuple((str(path), (stat := path.stat()).st_mtime_ns, stat.st_size) for path in files)
    return _read_files(stamps)


@functools.lru_cache(maxsize=4)
def _read_files(stamps: tuple[tuple[str, int, int], ...]) -> asyncssh.SSHKnownHosts:
    # Parsed once per process and version of the files: 10,000 lines cost 65 ms.
    known_hosts = asyncssh.SSHKnownHosts()
    for path, _, _ in stamps:
        # As in OpenSSH, case tells no names apart; hashes are of names in lower case.
        data = _NAMES.sub(lambda found: found[1] + found[2].lower(), Path(path).read_bytes())
        text = data.decode("utf-8", "surrogateescape")  # a comment may hold anything
        for number, line in enumerate(text.split("\n"), 1):
            try:
                if line.lstrip().lower().startswith("@revoked"):
                    _check_revoked(line)
                known_hosts.load(line)
            except ValueError as error:
                if line.lstrip().lower().startswith("@revoked"):
                    raise ValueError(f"{path}:{number}: a revoked key that can't be read") from error
                log.warning("known_hosts line not understood", path=path, line=number)
    return known_hosts


def _check_revoked(line: str) -> None:
    """Raises ValueError where asyncssh would pass over a key that it can't read."""
    _, _, data = line.split(None, 2)
    try:
        asyncssh.import_public_key(data)
    except asyncssh.KeyImportError:
        if not asyncssh.import_certificate(data).is_x509:
            raise ValueError("a certificate, where its key should be") from None


def name_of(options: asyncssh.SSHClientConnectionOptions) -> str:
    """How OpenSSH calls the host of a connection in its files: `host`, `[host]:port`, or its HostKeyAlias."""
    return name_for(options.host_key_alias or options.host, None if options.host_key_alias else options.port)


def name_for(host: str, port: int | None) -> str:
    """The same of a host at a port, or of a HostKeyAlias, which has none. IPv6 addresses have many forms."""
    address, percent, scope = host.partition("%")
    with suppress(OSError, UnicodeError, ValueError):
        host = socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address)) + percent + scope
    host = host.lower()
    return host if port in (None, DEFAULT_PORT) else f"[{host}]:{port}"


def match(known_hosts: asyncssh.SSHKnownHosts, name: str) -> Sequence[Any]:
    """What holds for a host that is called `name`, as asyncssh gives it: keys, keys of authorities, revoked
    keys, and the same of X.509.

    As in OpenSSH, where nothing is known of `[host]:port`, what is known of `host` counts. What is revoked
    for either is revoked.
    """
    own = plain = known_hosts.match(name, "", None)
    if with_port := _WITH_PORT.fullmatch(name):
        plain = known_hosts.match(with_port[1], "", None)
    keys, authorities, _, x509, _, subjects, _ = own if any(own[each] for each in (0, 1, 3, 5)) else plain
    revoked, revoked_x509, revoked_subjects = ([*own[each], *plain[each]] for each in (2, 4, 6))
    # A line with OpenSSH's own form of certificates says nothing; asyncssh would fail.
    x509 = [certificate for certificate in x509 if certificate.is_x509]
    return keys, authorities, revoked, x509, revoked_x509, subjects, revoked_subjects


def keys_known_as(known_hosts: asyncssh.SSHKnownHosts, name: str) -> list[asyncssh.SSHKey]:
    """The keys that stand in the files under just this name, as `name_of` gives it."""
    return list(known_hosts.match(name, "", None)[0])


def key_status(known_hosts: asyncssh.SSHKnownHosts, name: str, key: asyncssh.SSHKey) -> KeyStatus:
    """What the files say of `key` for the host that they call `name`."""
    known, _, revoked = match(known_hosts, name)[:3]
    if key in revoked:
        return KeyStatus.REVOKED
    if key in known:
        return KeyStatus.KNOWN
    return KeyStatus.CHANGED if keys_known_as(known_hosts, name) else KeyStatus.NEW


def algorithms_for(known: Iterable[asyncssh.SSHKey]) -> list[str]:
    """The host key algorithms to ask for: first those of the keys that are known, as OpenSSH does, then all
    others, so that a host without such a key shows the one that it has instead of hanging up."""
    first = [algorithm.decode() for key in known for algorithm in key.sig_algorithms]
    return list(dict.fromkeys([*first, *(each for group in ALGORITHMS for each in group)]))


def make_line(name: str, key: asyncssh.SSHKey) -> str:
    """The line that makes `key` known. Names are not hashed: the settings beside it hold them in plain.

    Raises ValueError for a name that would mean something else there.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} can't be a host's name in known_hosts: correct HostKeyAlias or HostName in ssh_config"
        )
    kind, encoded = key.export_public_key().decode("ascii").split()[:2]
    return f"{name} {kind} {encoded}\n"
