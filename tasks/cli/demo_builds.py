"""What `holystone demo` builds on its host, and how that fills its disk."""

import os
import time
from pathlib import Path

from tasks.cli.narration import Use
from tasks.cli.processes import ProcessTree
from tasks.cli.throwaway import ThrowawayHost

_LIMIT_S = 90
_PART = 16 * 1024 * 1024  # bytes
_DOCKERFILE = "FROM scratch\nCOPY base /base\nCOPY packages /packages\nCOPY app /app\n"


class Builds:
    """Versions of one image, of which the newest is kept, as on a CI host; `folder` is for what goes in."""

    def __init__(self, host: ThrowawayHost, tree: ProcessTree, folder: Path) -> None:
        self._host, self._tree, self._folder = host, tree, folder
        self._count = 0
        self._last_ts = 0.0

    def build(self, times: int) -> None:
        """Builds the next versions. Raises CannotStart or ChildEnded."""
        if not self._count:
            self._folder.mkdir()
            (self._folder / "Dockerfile").write_text(_DOCKERFILE)
            (self._folder / "base").write_bytes(os.urandom(_PART))
        for _ in range(times):
            self._count += 1
            for part in ("packages", "app"):
                (self._folder / part).write_bytes(os.urandom(_PART))
            image = f"shop:{self._count}"
            self._host.docker("build", "--quiet", "--network=none", "--tag", image, str(self._folder))
            if self._count > 1:
                self._host.docker("image", "rm", f"shop:{self._count - 1}")
            self._tree.check()
        self._last_ts = time.monotonic()

    def wait_until_unused_for(self, seconds: int) -> None:
        """Returns when the whole cache was last used longer ago than that."""
        old_enough = self._last_ts + seconds + 1
        self._tree.wait_for(lambda: time.monotonic() > old_enough, _LIMIT_S, "the cache is old enough")


def read_use(host: ThrowawayHost, when: str) -> Use:
    """What the host's engine holds now. Raises CannotStart."""
    rows = host.disk_use()
    images, cache = rows["Images"], rows["Build Cache"]
    return Use(
        when,
        f"{images['TotalCount']} ({images['Size']})",
        cache["Size"],
        cache["Reclaimable"],
        host.disk_percent(),
    )
