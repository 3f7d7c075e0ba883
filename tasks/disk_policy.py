"""What a look at a disk leads to: data in, data out, the clock an argument."""

import re

from worker.look import bounded
from worker.policies import DiskPolicy, PrunePolicy
from worker.sizes import parse_size

ROOM_POINTS = 3  # percent of a disk: one that was full has room again this far below its alert threshold
LADDER_EVERY_S = 3600  # not more than one early prune of a host in this time
CACHE_EVERY_S = 3600  # the size of the build cache is asked for less often: it costs docker more than df
CACHE_USAGE = bounded(("docker", "builder", "du"), 30)
_TOTAL = re.compile(r"^Total:(.*)$", re.MULTILINE)


def decide_alert(percent: float | None, alert_percent: int, was_above: bool) -> bool | None:
    """True where the disk rose to the mark since the last look, False where it has room again, else None.

    It has room ROOM_POINTS below the mark: one that wobbles around it is told of once.
    """
    if percent is None:
        return None
    is_above = percent > alert_percent - ROOM_POINTS if was_above else percent >= alert_percent
    return None if is_above == was_above else is_above


def decide_early_prune(percent: float | None, disk: DiskPolicy, prune: PrunePolicy) -> bool:
    """Whether a disk this full is pruned before the schedule says so; LADDER_EVERY_S bounds how often."""
    if percent is None or disk.prune_percent is None:
        return False
    return disk.enabled and prune.enabled and bool(disk.ladder) and percent >= disk.prune_percent


def decide_asking_for_cache(last_ts: float | None, now: float) -> bool:
    """Whether it is time to ask for the build cache's size; a last time that lies ahead is a wrong clock."""
    return last_ts is None or not 0 <= now - last_ts < CACHE_EVERY_S


def parse_cache_usage(stdout: str) -> int | None:
    """Bytes of build cache, from what buildx's `docker builder du` prints; None if that can't be read."""
    totals = _TOTAL.findall(stdout)
    return parse_size(totals[-1]) if totals else None
