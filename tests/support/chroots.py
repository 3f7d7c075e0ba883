"""Debian folders with a Docker engine and sshd, made once per suite by mmdebstrap and kept in .cache."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.support.paths import CACHE, locked

_ON_EVERY_HOST = ("docker.io", "openssh-server", "busybox-static", "iptables", "ca-certificates")

PACKAGES: dict[str, tuple[str, ...]] = {
    # 20.10: the classic `docker builder prune`.
    "bookworm": _ON_EVERY_HOST,
    # 26.1 and 28.5: `docker builder prune` is buildx's.
    "trixie": (*_ON_EVERY_HOST, "docker-cli", "docker-buildx", "docker-compose"),
    "forky": (*_ON_EVERY_HOST, "docker-cli", "docker-buildx", "docker-compose"),
}
SUITES = tuple(PACKAGES)

# Users other than root who may use the engine; useradd refuses such names, real fleets have them.
USERS = ("ci.bot", "Jenkins")

# "*" as password, since sshd without PAM refuses an account that is locked by "!".
_ADD_USER = (
    'echo "{name}:x:{uid}:{uid}::/home/{name}:/bin/bash" >> "$1/etc/passwd"; '
    'echo "{name}:*:19000::::::" >> "$1/etc/shadow"; '
    'echo "{name}:x:{uid}:" >> "$1/etc/group"; '
    'sed -i "s/^docker:x:[0-9]*:.*/&,{name}/; s/^\\(docker:x:[0-9]*:\\),/\\1/" "$1/etc/group"; '
    'mkdir "$1/home/{name}"; chown {uid}:{uid} "$1/home/{name}"'
)


def make_chroot(suite: str) -> Path:
    """The folder of `suite`, made now (about 20 s, as root) where it isn't there or its packages changed.

    It is shared and read-only by agreement: a host runs on an overlay of it.
    """
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=apt",
        f"--include={','.join(PACKAGES[suite])}",
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--customize-hook={_ADD_USER.format(name=name, uid=2000 + i)}" for i, name in enumerate(USERS)),
    ]
    recipe = "\n".join(command)
    folder = CACHE / "chroots" / suite
    stamp = folder / "recipe"
    if stamp.is_file() and stamp.read_text() == recipe:
        return folder
    with locked(folder.parent / f"{suite}.lock"):
        if stamp.is_file() and stamp.read_text() == recipe:
            return folder
        building = folder.with_name(f"{suite}.building")
        shutil.rmtree(building, ignore_errors=True)
        _run([*command, suite, str(building)])
        (building / "recipe").write_text(recipe)
        if folder.exists():
            # Renamed first: a half-removed folder must never stand under the suite's name.
            outdated = folder.with_name(f"{suite}.outdated")
            shutil.rmtree(outdated, ignore_errors=True)
            os.rename(folder, outdated)
            shutil.rmtree(outdated)
        os.rename(building, folder)
    return folder


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} failed ({done.returncode}): {done.stderr[-4000:]}")
