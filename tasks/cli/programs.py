"""The programs that a throw-away Docker host is made of, as they are installed here."""

import os
import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass

BINARIES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PACKAGES = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "containerd": "docker.io",
    "sshd": "openssh-server",
    "unshare": "util-linux",
    "mount": "mount",
}


class CannotStart(Exception):
    """The throw-away host can't be had here; one line that says why and what helps."""


@dataclass(frozen=True)
class Programs:
    """The programs of a Docker host, by path. `docker` is the CLI that belongs to that dockerd."""

    dockerd: str
    docker: str
    containerd: str
    sshd: str


def find_programs() -> Programs:
    """Raises CannotStart, naming what is missing."""
    if sys.platform != "linux":
        raise CannotStart("the demo needs Linux, for a Docker engine of its own")
    path = f"{os.environ.get('PATH', '')}:{BINARIES}"
    dockerd = shutil.which("dockerd", path=path)
    near = beside(dockerd) if dockerd else ""
    found = {
        "dockerd": dockerd,
        # Another CLI may come first on PATH: the one that was installed with the engine is wanted.
        "docker": shutil.which("docker", path=f"{near}:{path}"),
        "containerd": shutil.which("containerd", path=f"{near}:{path}"),
        "sshd": shutil.which("sshd", path=path),
        "unshare": shutil.which("unshare", path=path),
        "mount": shutil.which("mount", path=path),
    }
    if missing := [name for name, where in found.items() if not where]:
        raise CannotStart(missing_text(missing))
    if os.geteuid() != 0:
        raise CannotStart("the demo needs root, for a Docker engine of its own: sudo holystone demo")
    return Programs(*(str(found[name]) for name in ("dockerd", "docker", "containerd", "sshd")))


def missing_text(missing: Iterable[str]) -> str:
    """What is missing, and how to get it (pure)."""
    names = list(missing)
    packages = sorted({_PACKAGES[name] for name in names})
    return f"the demo needs {', '.join(names)}; on Debian: apt-get install {' '.join(packages)}"


def beside(program: str) -> str:
    """Where the rest of a program's package is: its own folder, and bin for one in sbin."""
    folder = os.path.dirname(program)
    return ":".join(dict.fromkeys([folder, re.sub("sbin$", "bin", folder)]))
