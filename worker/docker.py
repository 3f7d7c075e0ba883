"""What the docker CLI and df print, as values (pure). Text from a host is never trusted to have a shape."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from worker.errors import CommandFailed, UnsupportedEngine
from worker.sizes import parse_size

T = TypeVar("T")

_VERSION = re.compile(r"v?([0-9][0-9A-Za-z.~-]{0,63})", re.ASCII)
_BUILDER = re.compile(r"Name:[ \t]+(\S{1,128})[ \t]*\r?\nDriver:[ \t]+(\S{1,128})[ \t]*\r?$", re.MULTILINE)
_CLASSIC_USAGE = re.compile(r"^Usage:[ \t]+docker builder\b", re.MULTILINE)
_TOTAL = re.compile(r"^(?:Total reclaimed space|Total):(.*)$", re.MULTILINE)
_DF = re.compile(r"\s(\d{1,19})\s+(-?\d{1,19})\s+(-?\d{1,19})\s+\d{1,3}%\s", re.ASCII)
_RECLAIMED = re.compile(r"\d{1,16}", re.ASCII)  # below 10 PB, so that totals stay in 64 bits
_ENGINE_ID = re.compile(r"[A-Za-z0-9:_-]{8,128}", re.ASCII)


@dataclass(frozen=True)
class Engine:
    """A Docker engine and the CLI that speaks to it. `builder` is `buildx 0.13.1` or `classic`."""

    id: str
    server: str
    client: str | None
    builder: str
    root: str
    now: datetime | None


@dataclass(frozen=True)
class Pruned:
    """What one prune said. `reclaimed_bytes` is None where its total can't be read."""

    reclaimed_bytes: int | None
    caches_deleted: int


@dataclass(frozen=True)
class PruneEvent:
    """The end of a prune of the build cache, told by the engine; `ts` is a Unix time of its clock."""

    ts: float
    reclaimed_bytes: int


@dataclass(frozen=True)
class CacheRecord:
    """One BuildKit cache record; `used` is its last use, or its creation where it was never used again."""

    id: str
    parents: tuple[str, ...]
    kind: str
    size: int
    used: datetime | None
    in_use: bool
    shared: bool


@dataclass(frozen=True)
class FileSystem:
    """Size and free space in bytes of the file system that holds `path`."""

    path: str
    size_bytes: int
    free_bytes: int

    @property
    def used_percent(self) -> float | None:
        """How much docker can't write to any more, reserved blocks included; None for a size of 0."""
        return round(100 * (1 - self.free_bytes / self.size_bytes), 1) if self.size_bytes > 0 else None


def parse_cli_version(stdout: str) -> str | None:
    """The version in the output of `docker --version`, or None where Docker's CLI gives none.

    Raises UnsupportedEngine where it is not Docker's CLI.
    """
    if not stdout.startswith("Docker version "):
        raise UnsupportedEngine(f"`docker` is not Docker's CLI but says {_start(stdout)}; install docker-cli")
    return _version(stdout.removeprefix("Docker version "))


def client_in_info(info: str) -> str | None:
    """The version of the CLI that printed `docker info`; None before CLI 23, and where it isn't Docker's."""
    return _version(str(_client(_json(info, dict) or {}).get("Version") or ""))


def parse_engine(client: str | None, info: str, endpoint: str, builder: str) -> Engine:
    """The engine behind a host's `docker`, from its version and the output of the commands in worker/look.py.

    Raises UnsupportedEngine unless they say: a Docker engine, a socket on that host, a builder that is the
    engine's own; CommandFailed where the engine does not answer its CLI.
    """
    if not is_socket(endpoint):
        raise UnsupportedEngine(
            f"docker's endpoint is {_start(_json(endpoint, str) or endpoint)}, not a socket on that host; "
            "unset DOCKER_HOST and DOCKER_CONTEXT there, or configure the engine's own host"
        )
    facts = _json(info, dict) or {}
    if errors := facts.get("ServerErrors"):  # up to CLI 26 `docker info --format` then exits with 0
        raise CommandFailed("docker info", 0, str(errors[0] if isinstance(errors, list) else errors)[:300])
    engine_id, server, root = (str(facts.get(key) or "") for key in ("ID", "ServerVersion", "DockerRootDir"))
    if root.endswith("/containers/storage"):
        raise UnsupportedEngine(f"the engine is Podman (its data is in {root}), whose prune removes images")
    if not (_ENGINE_ID.fullmatch(engine_id) and server and root.startswith("/") and root.isprintable()):
        raise UnsupportedEngine(f"`docker info` does not describe a Docker engine: {_start(info)}")
    return Engine(
        id=engine_id,
        server=_plain(server),
        client=client,
        builder=_builder(_client(facts), builder),
        root=root,
        now=parse_time(str(facts.get("SystemTime") or "")),
    )


def is_socket(endpoint: str) -> bool:
    """Whether the endpoint of docker's context is a socket on the CLI's own machine."""
    return (_json(endpoint, str) or "").startswith("unix://")


def _builder(client: dict[str, Any], inspected: str) -> str:
    """Who answers `docker builder`, from what `docker builder inspect` said.

    Raises UnsupportedEngine unless it is the classic CLI, or buildx with the context's own builder: any other
    has another cache.
    """
    found = _BUILDER.match(inspected)
    if found is None:
        if _CLASSIC_USAGE.search(inspected):  # it has no `inspect`
            return "classic"
        raise UnsupportedEngine(
            f"`docker builder inspect` does not say whose cache a prune would take: {_start(inspected)}; "
            "run it there as that user"
        )
    (name, driver), context = found.groups(), client.get("Context")
    if (name, driver) == (context, "docker"):
        return f"buildx {_plain(_buildx_version(client))}"
    remedy = "unset BUILDX_BUILDER there, `docker buildx use default` or `docker buildx uninstall`"
    if name == context:  # what was made under a name that a context got later goes before it
        remedy = f"`docker buildx rm {name}` there, or `docker context use` another"
    raise UnsupportedEngine(
        f"`docker builder prune` would take the cache of builder {name!r} (driver {driver}), "
        f"not the engine's own; {remedy}"
    )


def _buildx_version(client: dict[str, Any]) -> str:
    plugins = client.get("Plugins")
    for plugin in plugins if isinstance(plugins, list) else []:
        if isinstance(plugin, dict) and plugin.get("Name") == "buildx":
            return str(plugin.get("Version") or "unknown")
    return "unknown"


def _client(facts: dict[str, Any]) -> dict[str, Any]:
    client = facts.get("ClientInfo")
    return client if isinstance(client, dict) else {}


def parse_prune(stdout: str) -> Pruned:
    """What `docker builder prune` printed: classic (CLI without buildx) or buildx's table.

    Only the last total counts, and one that is not a size is unknown, not zero.
    """
    totals = list(_TOTAL.finditer(stdout))
    total = parse_size(totals[-1][1]) if totals else None
    body = stdout[: totals[-1].start()] if totals else stdout
    lines = [line for line in body.splitlines() if line.strip()]
    header = next((n for n, line in enumerate(lines) if _is_header(line)), None)
    return Pruned(total, 0 if header is None else len(lines) - header - 1)


def _is_header(line: str) -> bool:
    return line.startswith("Deleted build cache objects:") or line.split()[:2] == ["ID", "RECLAIMABLE"]


def parse_cache_records(stdout: str) -> list[CacheRecord] | None:
    """The build cache in `docker system df -v --format '{{json .}}'`, or None where it has no such list."""
    usage = _json(stdout, dict) or {}
    records = usage.get("BuildCache")
    if not isinstance(records, list):
        return None
    return [_record(record) for record in records if isinstance(record, dict)]


def _record(record: dict[str, Any]) -> CacheRecord:
    def text(key: str) -> str:
        return str(record.get(key) or "")

    return CacheRecord(
        id=text("ID"),
        parents=tuple(filter(None, text("Parent").split(", "))),  # a merge has several
        kind=text("CacheType"),
        size=parse_size(text("Size")) or 0,
        used=parse_time(text("LastUsedAt")) or parse_time(text("CreatedAt")),
        in_use=text("InUse") != "false",  # in doubt it stays
        shared=text("Shared") != "false",
    )


def parse_prune_events(stdout: str) -> list[PruneEvent]:
    """The prunes in `docker events --filter type=builder --format '{{json .}}'`; other lines are left out."""
    return [event for line in stdout.splitlines() if (event := _prune_event(_json(line, dict) or {}))]


def _prune_event(event: dict[str, Any]) -> PruneEvent | None:
    actor = event.get("Actor")
    attributes = actor.get("Attributes") if isinstance(actor, dict) else None
    reclaimed = attributes.get("reclaimed") if isinstance(attributes, dict) else None
    nanoseconds = event.get("timeNano")
    if (event.get("Type"), event.get("Action")) != ("builder", "prune"):
        return None
    if not isinstance(reclaimed, str) or not _RECLAIMED.fullmatch(reclaimed):
        return None
    if type(nanoseconds) is not int or not 0 < nanoseconds < 2**63:
        return None
    return PruneEvent(nanoseconds / 1e9, int(reclaimed))


def parse_time(text: str) -> datetime | None:
    """A time as docker prints it (`2026-11-21T03:59:13.87Z`, `2026-11-21 04:08:29.16 +0000 UTC`), or None."""
    match = re.match(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,9})? ?(Z|[+-]\d\d:?\d\d)", text, re.ASCII)
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{(fraction or '')[:7]}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year >= 1970 else None  # Go's zero time, year 1, means never


def parse_df(stdout: str, path: str) -> FileSystem | None:
    """The one file system that `df -Pk PATH` lists, or None."""
    lines = stdout.splitlines()
    numbers = _DF.search(lines[1]) if len(lines) == 2 else None
    if numbers is None:
        return None
    return FileSystem(path, int(numbers[1]) * 1024, int(numbers[3]) * 1024)


def _json(text: str, kind: type[T]) -> T | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, kind) else None


def _version(text: str) -> str | None:
    match = _VERSION.match(text)
    return _plain(match[1]) if match else None


def _plain(version: str) -> str:
    """`v26.1.5+dfsg1` -> `26.1.5`."""
    return version.removeprefix("v").split("+")[0][:64]


def _start(text: str) -> str:
    return repr(text.strip()[:120])
