"""What a prune is asked to do: a task's arguments, checked, with its host's settings filled in (pure)."""

from dataclasses import dataclass
from typing import Any

from worker.ages import to_until
from worker.errors import InvalidArgument
from worker.fleet import HostSettings, find_host
from worker.hosts import Host
from worker.policies import UNWATCHED, PrunePolicy
from worker.settings import Settings

DISABLED = "pruning is off (HOLYSTONE_PRUNE_ENABLED)"
NOT_EARLY = "no early prune is configured (HOLYSTONE_DISK_PRUNE_PERCENT, HOLYSTONE_DISK_LADDER)"


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
    """Every age that a host may be pruned by, each once: the schedule's, and where early prunes are on the
    ladder's."""
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
