"""What a prune decides: data in, data out, the clock an argument."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from tasks.prune_arguments import PruneArguments
from worker.docker import CacheRecord, FileSystem, Pruned
from worker.look import bounded

MAX_PASSES = 5
GB = 1024**3


def decide_prune(prev_run_ts: float | None, due_ts: float, interval_s: float) -> bool:
    """Whether a scheduled run that is due at `due_ts` runs: not sooner than an interval after the last one.

    A last run further ahead than an interval is a clock that was wrong, not a reason to wait for it.
    """
    if prev_run_ts is None:
        return True
    return due_ts - prev_run_ts >= interval_s or prev_run_ts - due_ts > interval_s


def choose_soft_limit_s(sent_s: float | None, task_default_s: float | None, own_s: float) -> float:
    """The run's soft limit: what its message was given on purpose, else the host's own.

    Task.apply_async copies the task's default, the longest of all hosts, into every message.
    """
    return own_s if sent_s is None or sent_s == task_default_s else float(sent_s)


def decide_age(arguments: PruneArguments, done: int, disk: FileSystem | None) -> str | None:
    """The age to prune by after `done` ages; None where that is all.

    An early prune ends where there is room again, and where the disk can't be read.
    """
    if done >= len(arguments.ages):
        return None
    if arguments.early:
        percent = disk.used_percent if disk else None
        if arguments.below_percent is None or percent is None or percent < arguments.below_percent:
            return None
    return arguments.ages[done]


def decide_another_pass(passes: Sequence[Pruned]) -> bool:
    """Whether to prune (again): always once, then until nothing came off, at most MAX_PASSES times.

    One pass may take only leaves (moby/buildkit#5436).
    """
    return not passes or (len(passes) < MAX_PASSES and bool(passes[-1].reclaimed_bytes))


def is_complete(passes: Sequence[Pruned]) -> bool | None:
    """Whether the last pass found nothing left: False where MAX_PASSES or an unread total ended it, None
    without a pass."""
    return passes[-1].reclaimed_bytes == 0 if passes else None


def prune_argv(until: str, all: bool) -> tuple[str, ...]:
    """The one command of this job that changes anything."""
    return (
        "docker",
        "builder",
        "prune",
        "--force",
        "--filter",
        f"until={until}",
        *(["--all"] if all else []),
    )


def preview_argv(limit_s: int) -> tuple[str, ...]:
    """Lists cache records; the engine has no dry run of its own."""
    return bounded(("docker", "system", "df", "-v", "--format", "{{json .}}"), limit_s)


def choose_records(
    records: Sequence[CacheRecord], now: datetime, until_s: int, all: bool
) -> list[CacheRecord]:
    """The records that a prune would remove, by BuildKit's own rules (cache/manager.go, prune).

    One that is in use, or that a record which stays is built on, stays. Without `all` so do internal and
    frontend records and those shared with images.
    """
    oldest_kept = now - timedelta(seconds=until_s)
    going = {
        record.id: record
        for record in records
        if not record.in_use
        and (all or not (record.shared or record.kind in ("internal", "frontend")))
        and (record.used is None or record.used <= oldest_kept)
    }
    held = [parent for record in records if record.id not in going for parent in record.parents]
    while held:
        if stays := going.pop(held.pop(), None):
            held += stays.parents
    return list(going.values())


def worth_telling(arguments: PruneArguments, reclaimed_bytes: int | None) -> bool:
    """Whether this much reclaimed reaches the host's `notify_min_gb`."""
    threshold = arguments.policy.notify_min_gb * GB
    return threshold > 0 and reclaimed_bytes is not None and reclaimed_bytes >= threshold
