"""Where the checkout is, and a scratch folder that outlives no crash for long."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CACHE = CHECKOUT / ".cache"


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold an flock on the file `path`; yields False where it is taken and `wait` is false."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A folder on the checkout's own file system, removed at the end.

    Folders left by a process that was SIGKILLed are removed by the next one: the lock of each
    folder is released by its owner's death.
    """
    parent = CACHE / "scratch"
    with locked(CACHE / "scratch.lock"):
        parent.mkdir(parents=True, exist_ok=True)
        for left in parent.iterdir():
            with locked(left / "owner.lock", wait=False) as abandoned:
                if abandoned:
                    shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        fd = os.open(folder / "owner.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        with locked(CACHE / "scratch.lock"):  # half removed, it would look abandoned
            shutil.rmtree(folder)
        os.close(fd)
