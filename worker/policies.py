"""The jobs, and what each does to a host and when: a policy of all hosts or of a host's own table (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from worker.sources import TOML_FILE, Validate, shown_instead

PRUNE_JOB, WATCH_JOB = "prune_build_cache", "watch_disk"
PRUNE_TASK, WATCH_TASK = f"tasks.{PRUNE_JOB}", f"tasks.{WATCH_JOB}"
ALERTS_TASK = "tasks.send_alerts"  # of no job: it visits no host


@dataclass(frozen=True)
class PrunePolicy:
    """How one host's build cache is pruned. `until` is in the engines' form; times are seconds."""

    enabled: bool
    interval_s: int
    until: str
    all: bool
    timeout_s: int
    notify_min_gb: float


@dataclass(frozen=True)
class DiskPolicy:
    """How one host's disk is watched, every `interval_s` seconds. Thresholds are percent of the disk in use.

    From `prune_percent` on (None: never) the build cache is pruned by the ages of `ladder`, longest first.
    """

    enabled: bool
    interval_s: int
    alert_percent: int
    prune_percent: int | None
    ladder: tuple[str, ...]


UNWATCHED = DiskPolicy(enabled=False, interval_s=300, alert_percent=85, prune_percent=None, ladder=())
# The policies by the table of the settings that holds them, and that table by job.
POLICIES: dict[str, type[PrunePolicy | DiskPolicy]] = {"prune": PrunePolicy, "disk": DiskPolicy}
TABLE_OF = {PRUNE_JOB: "prune", WATCH_JOB: "disk"}
_FIELDS = {table: tuple(field.name for field in fields(policy)) for table, policy in POLICIES.items()}


def make_policies(for_all: Mapping[str, Any]) -> dict[str, Any]:
    """The policies of all hosts by table, from the settings by field."""
    return {
        table: policy(**{field: for_all[f"{table}_{field}"] for field in _FIELDS[table]})
        for table, policy in POLICIES.items()
    }


def own_policies(
    name: str | None,
    per_host: Mapping[str, Any],
    policies: Mapping[str, Any],
    from_environment: set[str],
    validate: Validate,
) -> tuple[dict[str, Any], list[str]]:
    """The policies of the host that [hosts.`name`] is about, by table, and warnings.

    `policies` are those of all hosts. A field in `from_environment` (set there or in `.env`) can't be changed
    by a host's table, but `enabled = false` in either place switches the job off.
    """
    table = per_host.get(name, {}) if name is not None else {}
    if not isinstance(table, Mapping):
        table = {}
    where = f"{TOML_FILE} [hosts.{name}]"
    unknown = [field for field in table if field not in ("url", *policies)]
    warnings = [f"{where}: unknown setting {field!r}, ignored" for field in unknown]
    own = {}
    for kind, policy in policies.items():
        own[kind], more = _own_policy(kind, policy, table.get(kind, {}), from_environment, validate, where)
        warnings += more
    return own, warnings


def _own_policy(
    kind: str, policy: Any, changes: Any, from_environment: set[str], validate: Validate, where: str
) -> tuple[Any, list[str]]:
    if not isinstance(changes, Mapping):
        return replace(policy, enabled=False), [f"{where}: {kind} is a table; it is off there"]
    unknown = [field for field in changes if field not in _FIELDS[kind]]
    warnings = [f"{where}: unknown setting '{kind}.{field}', ignored" for field in unknown]
    values = {f"{kind}_{field}": value for field, value in changes.items() if field in _FIELDS[kind]}
    valid, unusable = validate(values, where)
    enabled = policy.enabled and valid.get(f"{kind}_enabled", True)
    own = {
        field.removeprefix(f"{kind}_"): value
        for field, value in valid.items()
        if field not in from_environment
    }
    policy = replace(policy, **(own | {"enabled": enabled}))
    for bad in unusable:
        field = bad.field.removeprefix(f"{kind}_")
        instead = shown_instead(bad.field, getattr(policy, field))
        warnings.append(bad.warning(f"{where}: {kind}.{field}", instead))
    return policy, warnings
