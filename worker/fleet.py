"""From settings to the hosts that are served, each with its own policy (pure)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from worker.hosts import Host, check_name, parse_host, redact
from worker.sources import TOML_FILE, Keep


@dataclass(frozen=True)
class PrunePolicy:
    """How one host's build cache is pruned. `until` is in the engines' form; times are seconds."""

    enabled: bool
    interval_s: int
    until: str
    all: bool
    timeout_s: int
    notify_min_gb: float


POLICY_FIELDS = tuple(field.name for field in fields(PrunePolicy))


@dataclass(frozen=True)
class HostSettings:
    """A configured host and its policy."""

    host: Host
    prune: PrunePolicy


@dataclass(frozen=True)
class LeftOut:
    """A configured host that is not served, as it may be shown, and why."""

    host: str
    reason: str


def build_fleet(
    urls: Iterable[str],
    per_host: Any,
    fleet_policy: PrunePolicy,
    from_environment: set[str],
    keep: Keep,
) -> tuple[dict[str, HostSettings], tuple[LeftOut, ...], list[str]]:
    """(hosts by name, hosts left out, warnings).

    `per_host` is the `hosts` table of holystone.toml. HOLYSTONE_HOSTS in the environment says which hosts
    there are; the table then still says how they differ, except where the environment sets that field.
    """
    warnings: list[str] = []
    if not isinstance(per_host, Mapping):
        warnings.append(f"{TOML_FILE}: hosts is a list of URLs or a table [hosts.NAME]; ignored")
        per_host = {}
    wanted: list[tuple[str, str | None]] = [(text, None) for text in urls]
    if "hosts" not in from_environment:
        wanted += [(_url(table), name) for name, table in per_host.items()]
    fleet: dict[str, HostSettings] = {}
    left_out: list[LeftOut] = []
    taken: set[str] = set()
    for text, name in wanted:
        try:
            host = _named_host(text, name)
        except ValueError as error:
            left_out.append(LeftOut(redact(text if name is None else name), str(error)))
            continue
        if host.name.casefold() in taken:
            left_out.append(LeftOut(host.name, f"{host.name!r} is named twice; the first one is served"))
            continue
        policy, more = _own_policy(host.name, per_host, fleet_policy, from_environment, keep)
        warnings += more
        fleet[host.name] = HostSettings(host, policy)
        taken.add(host.name.casefold())
    warnings += [f"host left out: {gone.reason}" for gone in left_out]
    return fleet, tuple(left_out), warnings


def _url(table: Any) -> str:
    url = table.get("url") if isinstance(table, Mapping) else None
    return url if isinstance(url, str) else ""


def _named_host(text: str, name: str | None) -> Host:
    if name is None:
        return parse_host(text)
    if not text:
        raise ValueError(f'[hosts.{redact(name)}] needs url = "ssh://[user@]host[:port]" or "local"')
    if name != "local":
        check_name(name)
    return parse_host(text, name)


def _own_policy(
    name: str,
    per_host: Mapping[str, Any],
    fleet_policy: PrunePolicy,
    from_environment: set[str],
    keep: Keep,
) -> tuple[PrunePolicy, list[str]]:
    table = per_host.get(name, {})
    own = table.get("prune", {}) if isinstance(table, Mapping) else {}
    where = f"{TOML_FILE} [hosts.{name}]"
    if not isinstance(own, Mapping):
        return replace(fleet_policy, enabled=False), [f"{where}: prune is a table; pruning is off there"]
    unknown = [f"prune.{field}" for field in own if field not in POLICY_FIELDS]
    if isinstance(table, Mapping):
        unknown += [field for field in table if field not in ("url", "prune")]
    warnings = [f"{where}: unknown setting {field!r}, ignored" for field in unknown]
    values = {f"prune_{field}": value for field, value in own.items() if field in POLICY_FIELDS}
    kept, unusable = keep(values, where)
    enabled = fleet_policy.enabled and kept.get("prune_enabled", True)  # either switch is enough to stop
    changes = {
        field.removeprefix("prune_"): value for field, value in kept.items() if field not in from_environment
    }
    policy = replace(fleet_policy, **(changes | {"enabled": enabled}))
    for bad in unusable:
        field = bad.field.removeprefix("prune_")
        warnings.append(
            f"{where}: prune.{field} holds {bad.held}, which makes no sense; "
            f"used instead: {getattr(policy, field)}"
        )
    return policy, warnings
