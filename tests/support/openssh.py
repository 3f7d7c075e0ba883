"""OpenSSH's own client, as an administrator would use it: the oracle beside asyncssh."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Protocol

from tests.support.ports import LOOPBACK


class Reachable(Protocol):
    """What DockerHost and SshServer have in common."""

    port: int
    user: str
    identity: Path
    known_hosts: Path


def ssh_argv(host: Reachable, *command: str, user: str | None = None) -> list[str]:
    """The `ssh` command line that runs `command` on `host`, reading no configuration of this machine."""
    options = ("BatchMode=yes", "IdentitiesOnly=yes", f"UserKnownHostsFile={host.known_hosts}")
    flags = [flag for option in options for flag in ("-o", option)]
    where = ["-i", str(host.identity), "-p", str(host.port), f"{user or host.user}@{LOOPBACK}"]
    return ["ssh", "-F", "none", *flags, *where, *command]


def ssh(host: Reachable, *command: str, user: str | None = None, timeout_s: float = 60) -> str:
    """Run `command` on `host` over ssh; its output. RuntimeError where it fails."""
    done = subprocess.run(
        ssh_argv(host, *command, user=user),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"ssh {' '.join(command)} failed ({done.returncode}): {done.stderr}")
    return done.stdout
