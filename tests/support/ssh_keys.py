"""Throw-away ssh keys, and what every test sshd is configured with."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_key(path: Path) -> Path:
    """Write an ed25519 key pair to `path` and `path.pub`, replacing any before."""
    for old in (path, path.with_name(path.name + ".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    return path


def public_key(path: Path) -> str:
    """The public half, `type base64`, without comment."""
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


def sshd_config(port: int, host_key: str, authorized_keys: str) -> str:
    """Loopback, keys only, and generous: benches connect 64 at once, tests fail on purpose."""
    return f"""\
Port {port}
ListenAddress 127.0.0.1
HostKey {host_key}
AuthorizedKeysFile {authorized_keys}
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UseDNS no
PrintMotd no
MaxStartups 1000
MaxSessions 1000
LogLevel VERBOSE
"""


# sshd 9.8 and later shuts out an address whose logins fail, which tests do on purpose; older ones don't
# know the option.
NO_PENALTIES = "PerSourcePenalties no"
