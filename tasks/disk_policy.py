"""What a look at a disk leads to: data in, data out, the clock an argument."""

import re

from worker.look import bounded
from worker.policies import DiskPolicy, PrunePolicy
from worker.sizes import parse_size

LADDER_EVERY_S = 3600  # not more than one early prune of a host in this time
CACHE_EVERY_S = 3600  # the size of the build cache is asked for less often: it costs docker more than df
CACHE_USAGE = bounded(("docker", "builder", "du"), 30)
_TOTAL = re.compile(r"^Total:(.*)$", re.MULTILINE)


def decide_alert(percent: float | None, alert_percent: int, was_above: bool) -> bool | None:
    """True where the disk rose to the mark since the last look, False where it fell below, else None."""
    is_above = was_above if percent is None else percent >= alert_percent
    return None if is_above == was_above else is_above


def decide_early_prune(
    percent: float | None, disk: DiskPolicy, prune: PrunePolicy, last_ts: float | None, now: float
) -> bool:
    """Whether to prune now, before the schedule says so: once in LADDER_EVERY_S at most.

    A last time that lies ahead is a clock that was wrong, not a reason to wait for it.
    """
    if percent is None or disk.prune_percent is None or not (prune.enabled and disk.ladder):
        return False
    is_too_soon = last_ts is not None and 0 <= now - last_ts < LADDER_EVERY_S
    return percent >= disk.prune_percent and not is_too_soon


def parse_cache_usage(stdout: str) -> int | None:
    """Bytes of build cache, from what buildx's `docker builder du` prints; None if that can't be read."""
    totals = _TOTAL.findall(stdout)
    return parse_size(totals[-1]) if totals else None
