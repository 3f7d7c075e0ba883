"""The control groups of hosts' builds: runc makes them outside of every namespace, and leaves them."""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from pathlib import Path

from tests.support.paths import CHECKOUT

_TOP = Path("/sys/fs/cgroup")
# Of this checkout: another's hosts may run on the same machine.
_PREFIX = f"holystone-{zlib.crc32(str(CHECKOUT).encode()):08x}-"


def cgroup_name(scratch: Path) -> str:
    """The control group of the host whose scratch folder is `scratch`."""
    return _PREFIX + scratch.name


def cgroups_named(part: str) -> list[str]:
    """The control groups, at any depth, whose name holds `part`; other hosts' may come and go meanwhile."""
    return [folder for folder, _, _ in os.walk(_TOP) if part in Path(folder).name]


def remove_cgroup(scratch: Path) -> None:
    """Remove the control group of a host that has ended."""
    for group in _groups():
        if group.name == cgroup_name(scratch):
            _remove(group)


def remove_abandoned_cgroups(scratches: Path) -> None:
    """Remove those whose scratch folder in `scratches` is gone: their test run was SIGKILLed."""
    # In this order: a host makes its scratch folder first.
    groups = list(_groups())
    for group in groups:
        if not (scratches / group.name.removeprefix(_PREFIX)).exists():
            with suppress(OSError):
                _remove(group)


def _groups() -> list[Path]:
    # Below each controller (version 1), or once (version 2).
    return [*_TOP.glob(f"{_PREFIX}*"), *_TOP.glob(f"*/{_PREFIX}*")]


def _remove(group: Path) -> None:
    with suppress(FileNotFoundError):  # another test run removes it too
        for below in (each for each in group.iterdir() if each.is_dir()):
            _remove(below)
        group.rmdir()
