"""What docker and df print of cache and disk, as values (pure). A host's text is trusted to have no shape."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from worker.sizes import MOST, parse_size

T = TypeVar("T")

_TOTAL = re.compile(r"^(?:Total reclaimed space|Total):(.*)$", re.MULTILINE)
_ROW = re.compile(r"^\S+[ \t]+(?:true|false)[ \t]+(\S+)[ \t].*\n", re.MULTILINE)
_DF = re.compile(r"\s(\d{1,19})\s+(-?\d{1,19})\s+(-?\d{1,19})\s+\d{1,3}%\s", re.ASCII)
_RECLAIMED = re.compile(r"\d{1,16}", re.ASCII)  # below 10 PB, so that totals stay in 64 bits


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


def parse_pruned_rows(stdout: str) -> int | None:
    """Bytes of the rows that buildx's table has so far; None where it has none.

    They are printed one by one, as records go; without buildx nothing is printed before the end.
    """
    sizes = [parse_size(row[1]) for row in _ROW.finditer(stdout)]
    known = [size for size in sizes if size is not None]
    return sum(known) if known and sum(known) < MOST else None


def _is_header(line: str) -> bool:
    return line.startswith("Deleted build cache objects:") or line.split()[:2] == ["ID", "RECLAIMABLE"]


def parse_cache_records(stdout: str) -> list[CacheRecord] | None:
    """The build cache in `docker system df -v --format '{{json .}}'`, or None where it has no such list."""
    usage = read_json(stdout, dict) or {}
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
    return [event for line in stdout.splitlines() if (event := _prune_event(read_json(line, dict) or {}))]


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


def read_json(text: str, kind: type[T]) -> T | None:
    """The value of that type that a host printed as JSON, or None."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, kind) else None
