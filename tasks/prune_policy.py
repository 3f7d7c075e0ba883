"""What a prune is asked to do, and what it decides: data in, data out, the clock an argument."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from worker.ages import to_until
from worker.docker import CacheRecord, FileSystem, Pruned
from worker.errors import InvalidArgument
from worker.fleet import HostSettings, find_host
from worker.hosts import Host
from worker.look import bounded
from worker.policies import UNWATCHED, PrunePolicy
from worker.settings import Settings

DISABLED = "pruning is off (HOLYSTONE_PRUNE_ENABLED)"
NOT_EARLY = "no early prune is configured (HOLYSTONE_DISK_PRUNE_PERCENT, HOLYSTONE_DISK_LADDER)"
MAX_PASSES = 5
GB = 1024**3


@dataclass(frozen=True)
class PruneArguments:
    """What one run was asked for, checked, its host's settings filled in. Ages are in the engines' form.

    `ages` is one, or for an early prune (`trigger` "disk") all that may be tried, longest first, until less
    than `below_percent` of the disk is in use.
    """

    host: Host
    policy: PrunePolicy
    ages: tuple[str, ...]
    all: bool
    dry_run: bool
    trigger: str
    below_percent: float | None = None

    @property
    def scheduled(self) -> bool:
        return self.trigger == "schedule"

    @property
    def early(self) -> bool:
        return self.trigger == "disk"


def check_arguments(
    settings: Settings, host: Any, until: Any, all: Any, dry_run: Any, trigger: Any
) -> PruneArguments:
    """Raises UnknownHost, or InvalidArgument naming the argument and what it takes."""
    configured = find_host(settings.fleet, host)
    for name, value in (("all", all), ("dry_run", dry_run)):
        if value is not None and not isinstance(value, bool):
            raise InvalidArgument(f"{name}: {repr(value)[:100]} is neither true nor false")
    if trigger not in ("manual", "schedule", "disk"):
        raise InvalidArgument(f"trigger: {repr(trigger)[:100]} is not 'manual', 'schedule' or 'disk'")
    if trigger == "disk" and (until is not None or dry_run):
        raise InvalidArgument("trigger: 'disk' takes its ages from disk.ladder; leave out until and dry_run")
    try:
        age = configured.prune.until if until is None else to_until(until)
    except ValueError as error:
        raise InvalidArgument(f"until: {error}") from error
    early = configured.disk if configured.disk.enabled else UNWATCHED
    return PruneArguments(
        host=configured.host,
        policy=configured.prune,
        ages=early.ladder if trigger == "disk" else (age,),
        all=configured.prune.all if all is None else all,
        dry_run=bool(dry_run),
        trigger=trigger,
        below_percent=early.prune_percent if trigger == "disk" else None,
    )


def ages_of(configured: HostSettings) -> tuple[str, ...]:
    """Every age that the settings have sent to a host, each once."""
    if not configured.prune.enabled:
        return ()
    disk = configured.disk
    early = disk.ladder if disk.enabled and disk.prune_percent is not None else ()
    return tuple(dict.fromkeys((configured.prune.until, *early)))


def reason_not_to_run(arguments: PruneArguments) -> str | None:
    """Why the settings forbid this run, if they do."""
    if not arguments.policy.enabled:
        return DISABLED
    if arguments.early and not (arguments.ages and arguments.below_percent):
        return NOT_EARLY
    return None


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
    """Whether the last pass found nothing left, not so where the cap or an unread total ended it; None if
    there was none."""
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
