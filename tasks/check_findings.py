"""What `holystone check` makes of what it learned on a host: facts in, lines with remedies out (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tasks.check_remedies import remedy_of, without_host
from worker.builders import OtherCache
from worker.docker import CacheRecord, FileSystem
from worker.errors import GateDenied
from worker.sizes import format_size

CLOCK_SKEW_S = 60
_MOST_SHOWN = 10

Status = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Check:
    """One line of the answer. `remedy` is what to do where the status is not ok."""

    name: str
    status: Status
    text: str
    remedy: str | None = None


def judge_other_builders(
    caches: Sequence[OtherCache], without: Sequence[str], unread: Sequence[str] = ()
) -> Check:
    """other_builders: caches that the prune does not cover. `unread` says of their list and of their sizes
    why it was not read."""
    known = sorted(caches, key=lambda cache: -(cache.size_bytes or 0))
    parts = _some([f"{cache.builder} {_size(cache.size_bytes)}" for cache in known])
    notes = [*_some([f"{name} has no cache so far" for name in without]), *unread]
    if not any(cache.size_bytes != 0 for cache in caches):
        none = ("none with a cache here", "none seen", "not read")[min(len(unread), 2)]
        return Check("other_builders", "ok", "; ".join([none, *notes]))
    return Check(
        "other_builders",
        "warning",
        "; ".join([f"caches that no prune covers: {', '.join(parts)}", *notes]),
        "as the login that made it: docker buildx prune --builder NAME, or docker buildx rm NAME",
    )


def judge_disk(disk: FileSystem | GateDenied | None, alert_percent: int, host: str) -> Check:
    """disk: how full the file system of the engine's data is."""
    if isinstance(disk, GateDenied):  # as it will deny each prune's look
        return Check("disk", "error", without_host(host, disk), remedy_of(disk))
    if disk is None or disk.used_percent is None:
        return Check("disk", "warning", "not read", "is there a `df` that knows -P and -k?")
    free, size = format_size(disk.free_bytes), format_size(disk.size_bytes)
    text = f"{disk.used_percent:g} % of {size} used, {free} free ({disk.path})"
    if disk.used_percent >= alert_percent:
        return Check("disk", "warning", text, "prune now: holystone prune; or remove images, add room")
    return Check("disk", "ok", text)


def judge_cache(records: Sequence[CacheRecord] | None, why: str) -> Check:
    """build_cache: its size, or `why` it was not read."""
    if records is None:
        return Check("build_cache", "ok", f"size not read: {why}")
    size = sum(record.size for record in records if not record.shared)
    return Check("build_cache", "ok", f"{format_size(size)} in {len(records)} records")


def judge_clock(before: datetime, engine_now: datetime | None, after: datetime) -> Check:
    """clock: the engine's, by which ages are measured, between two readings of this machine's."""
    if engine_now is None:
        return Check("clock", "ok", "not told by the engine")
    skew_s = max((before - engine_now).total_seconds(), (engine_now - after).total_seconds(), 0)
    if skew_s <= CLOCK_SKEW_S:
        return Check("clock", "ok", "as here, within a minute")
    way = "behind" if engine_now < before else "ahead of"
    text = f"{skew_s:.0f} s {way} this machine's; ages are measured by the engine's"
    return Check("clock", "warning", text, "set both clocks by NTP: timedatectl set-ntp true")


def judge_notifications(services: Sequence[str], accepted: Sequence[bool]) -> list[Check]:
    """notifications: whether Apprise accepts each URL, by its service, for all else of it may be a token; no
    line where there is none."""
    if not services:
        return []
    bad = [
        f"number {at}" if service == "unknown" else f"number {at} ({service}://…)"
        for at, (service, is_accepted) in enumerate(zip(services, accepted, strict=True), 1)
        if not is_accepted
    ]
    if not bad:
        return [Check("notifications", "ok", f"{len(services)} URL{'' if len(services) == 1 else 's'}")]
    said = "is no Apprise URL" if len(bad) == 1 else "are no Apprise URLs"
    remedy = "correct HOLYSTONE_NOTIFY_URLS, or the file of them"
    return [Check("notifications", "error", f"{' and '.join(_some(bad))} {said}", remedy)]


def _some(items: list[str]) -> list[str]:
    more = len(items) - _MOST_SHOWN
    return items if more <= 0 else [*items[:_MOST_SHOWN], f"{more} more"]


def _size(size: int | None) -> str:
    return "(size not read)" if size is None else format_size(size)
