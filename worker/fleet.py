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
    used: set[str | None] = {name for _, name in wanted}
    for text, name in wanted:
        try:
            host = _named_host(text, name)
        except ValueError as error:
            left_out.append(LeftOut(redact(text if name is None else name), str(error)))
            continue
        if host.name.casefold() in taken:
            left_out.append(LeftOut(host.name, f"{host.name!r} is named twice; the first one is served"))
            continue
        table = name or _table_of(host, per_host)
        used.add(table)
        policy, more = _own_policy(table, per_host, fleet_policy, from_environment, keep)
        warnings += more
        fleet[host.name] = HostSettings(host, policy)
        taken.add(host.name.casefold())
    unused = [name for name in per_host if name not in used]
    warnings += [f"{TOML_FILE} [hosts.{redact(name)}]: no host is called that; not used" for name in unused]
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


def _table_of(host: Host, per_host: Mapping[str, Any]) -> str | None:
    """The name of the table that is about `host`, by its name or else its URL. One that is missed may have
    said "off", or an age longer than the fleet's."""
    for name in per_host:
        if name.casefold() == host.name.casefold():
            return name
    return next((name for name, table in per_host.items() if _is_same(host, _url(table))), None)


def _is_same(host: Host, url: str) -> bool:
    try:
        other = parse_host(url)
    except ValueError:
        return False
    return other.name.casefold() == parse_host(host.url).name.casefold()


def _own_policy(
    name: str | None,
    per_host: Mapping[str, Any],
    fleet_policy: PrunePolicy,
    from_environment: set[str],
    keep: Keep,
) -> tuple[PrunePolicy, list[str]]:
    table = per_host.get(name, {}) if name is not None else {}
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
