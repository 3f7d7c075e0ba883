"""What a test needs of its machine, and what happens where it is missing."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

import pytest

from tests.support.redis_server import find_redis_server
from tests.support.sshd import find_sshd


def require(what: str, present: object) -> None:
    """Skip the test, saying `what` is missing, unless `present`; with CI=true, fail it.

    Continuous integration has everything, so a skip there would only hide a test that never runs.
    """
    if present:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing with CI=true: {what}", pytrace=False)
    pytest.skip(f"missing: {what}")


def require_redis() -> None:
    require("redis-server (Debian: redis-server)", find_redis_server())


def require_sshd() -> None:
    require("sshd and ssh-keygen (Debian: openssh-server)", find_sshd() and shutil.which("ssh-keygen"))
    # A user other than root can't make the folder that sshd insists on.
    require("/run/sshd, which only root can make", os.geteuid() == 0 or os.path.isdir("/run/sshd"))


def require_docker_host() -> None:
    require("root (a Docker host runs in namespaces of its own)", os.geteuid() == 0)
    require("the right to make namespaces and mounts (not in this container)", _can_unshare())
    require("mmdebstrap (Debian: mmdebstrap)", shutil.which("mmdebstrap"))
    require("ssh-keygen (Debian: openssh-client)", shutil.which("ssh-keygen"))


@functools.cache
def _can_unshare() -> bool:
    probe = ["unshare", "--mount", "--pid", "--uts", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return (
        bool(shutil.which("unshare"))
        and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    )


def require_chromium() -> str:
    """The path of a Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    require("chromium (Debian: chromium)", found)
    return str(found)


def require_promtool() -> None:
    require("promtool (Debian: prometheus)", shutil.which("promtool"))


def require_prometheus() -> None:
    require("prometheus (Debian: prometheus)", shutil.which("prometheus"))
