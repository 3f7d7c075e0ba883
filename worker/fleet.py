"""From settings to the hosts that are served, each with its own policies (pure)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from worker.errors import InvalidArgument, UnknownHost
from worker.hosts import Host, check_name, parse_host, redact
from worker.policies import TABLE_OF, UNWATCHED, DiskPolicy, PrunePolicy, make_policies, own_policies
from worker.sources import TOML_FILE, Validate


@dataclass(frozen=True)
class HostSettings:
    """A configured host and its policies: one field per table of POLICIES."""

    host: Host
    prune: PrunePolicy
    disk: DiskPolicy = UNWATCHED

    def policy_of(self, job: str) -> PrunePolicy | DiskPolicy:
        """The policy of a job, one of TABLE_OF."""
        policy: PrunePolicy | DiskPolicy = getattr(self, TABLE_OF[job])
        return policy


@dataclass(frozen=True)
class LeftOut:
    """A configured host that is not served, and why. Neither text holds a password."""

    host: str
    reason: str


def build_fleet(
    urls: Iterable[str],
    per_host: Any,
    for_all: Mapping[str, Any],
    from_environment: set[str],
    validate: Validate,
) -> tuple[dict[str, HostSettings], tuple[LeftOut, ...], list[str]]:
    """(hosts by name, hosts left out, warnings).

    `per_host` is the `hosts` table of holystone.toml, `for_all` the settings by field. HOLYSTONE_HOSTS in the
    environment says which hosts there are; the table then still says how they differ, except where the
    environment sets that field.
    """
    warnings: list[str] = []
    if not isinstance(per_host, Mapping):
        warnings.append(f"{TOML_FILE}: hosts is a list of URLs or a table [hosts.NAME]; ignored")
        per_host = {}
    policies = make_policies(for_all)
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
        own, more = own_policies(table, per_host, policies, from_environment, validate)
        warnings += more
        fleet[host.name] = HostSettings(host, **own)
        taken.add(host.name.casefold())
    unused = [name for name in per_host if name not in used]
    warnings += [  # only where the environment says which hosts there are
        f"HOLYSTONE_HOSTS names the hosts; {TOML_FILE} [hosts.{redact(name)}] is not one of them"
        for name in unused
    ]
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
    """The name of the [hosts.NAME] table that is about `host`: by its name, else by its URL.

    By either, so that none is missed: it may switch pruning off, or set a longer age than the fleet's.
    """
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


def host_argument(args: Any, kwargs: Any, fleet: Mapping[str, HostSettings]) -> str | None:
    """The host that a task's arguments name, configured or not; the only one where they name none."""
    host = args[0] if args else (kwargs or {}).get("host")
    if host is None and len(fleet) == 1:
        return next(iter(fleet))
    return host if isinstance(host, str) else None


def find_host(fleet: Mapping[str, HostSettings], host: Any) -> HostSettings:
    """The configured host of that name; for None the only one. Raises UnknownHost or InvalidArgument."""
    if host is None:
        if len(fleet) > 1:
            raise InvalidArgument(f"host: several are configured, name one of {', '.join(fleet)}")
        host = next(iter(fleet), None)
    if not isinstance(host, str) or host not in fleet:
        raise UnknownHost(str(host)[:300], list(fleet))
    return fleet[host]
