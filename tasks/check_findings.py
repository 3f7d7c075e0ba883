"""What `holystone check` makes of what it learned on a host: facts in, lines with remedies out (pure)."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tasks.prune_policy import ages_of
from worker.ages import age_seconds
from worker.builders import OtherCache
from worker.docker import CacheRecord, FileSystem
from worker.engine import Engine
from worker.errors import CommandFailed, GateDenied, HolystoneError
from worker.fleet import HostSettings
from worker.gate import COMMAND_SET_VERSION, Gate
from worker.sizes import format_size

CLOCK_SKEW_S = 60
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})", re.ASCII)
_SAFE_CANCEL, _GC_BY_DEFAULT, _UNTIL_WORKS = (26, 0), (28, 2), (0, 9)
_GC_REMEDY = (
    'upgrade to 28.2 or later, or put "builder": {"gc": {"enabled": true}} into /etc/docker/daemon.json there'
)

Status = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Check:
    """One line of the answer. `remedy` is what to do where the status is not ok."""

    name: str
    status: Status
    text: str
    remedy: str | None = None


def without_host(host: str, error: HolystoneError) -> str:
    return str(error).removeprefix(f"{host}: ")


def split_remedy(host: str, error: HolystoneError, otherwise: str) -> tuple[str, str]:
    """(what, remedy): the errors' sentences end in their remedy, after a semicolon."""
    text, semicolon, remedy = without_host(host, error).rpartition("; ")
    return (text, remedy) if semicolon else (remedy, otherwise)


def judge_docker(found: Engine | HolystoneError, user: str, host: str) -> list[Check]:
    """docker: whether there is an engine that this login may use."""
    if isinstance(found, Engine):
        text = f"Engine {found.server}, CLI {found.client or 'unknown'}, prunes by {found.builder}"
        return [Check("docker", "ok", text)]
    if not isinstance(found, CommandFailed):
        text, remedy = split_remedy(
            host, found, "install Docker's own engine and CLI there, or take the host out"
        )
        return [Check("docker", "error", text, remedy)]
    _, exit_status, stderr = found.args
    said = stderr.strip().splitlines()[0] if stderr.strip() else "it said nothing"
    lower = stderr.lower()
    if "permission denied" in lower:
        text, remedy = f"{user} may not use it", f"there, as root: usermod -aG docker {user}"
    elif "cannot connect to the docker daemon" in lower or "daemon running" in lower:
        text, remedy = "its engine does not run", "there, as root: systemctl start docker"
    elif exit_status in (126, 127):
        text, remedy = "not installed", "install it there, where this login's ssh commands find it (PATH)"
    elif exit_status in (None, 137):
        text, remedy = "no answer within 60 s", "look at the engine's log: journalctl -u docker"
    else:
        text, remedy = "its commands fail", "try `docker info` there, as this login"
    return [Check("docker", "error", f"{text}: {said}", remedy)]


def judge_versions(engine: Engine) -> list[Check]:
    """engine, garbage_collection, builder: versions with known defects."""
    server, checks = _version(engine.server), []
    if server is None:
        checks.append(
            Check("engine", "warning", f"version {engine.server!r} can't be read", "is it Docker's own?")
        )
    elif server < _SAFE_CANCEL:
        text = (
            f"{engine.server}: before 26, a prune that is ended midway can block its builder until it is "
            "restarted (moby/buildkit#4399)"
        )
        checks.append(
            Check("engine", "warning", text, "upgrade to 26 or later; don't interrupt prunes there")
        )
    else:
        checks.append(Check("engine", "ok", f"{engine.server}, no known defect"))
    if server is not None and server < _GC_BY_DEFAULT:
        text = "before Engine 28.2 it collects no build cache by itself, unless it is told to"
        checks.append(Check("garbage_collection", "warning", text, _GC_REMEDY))
    if engine.builder.startswith("buildx"):
        builder = _version(engine.builder)
        if builder is not None and builder < _UNTIL_WORKS:
            text = f"{engine.builder}: before 0.9 it ignores `until`, so that prunes remove nothing"
            checks.append(Check("builder", "error", text, "upgrade the buildx plugin there to 0.9 or later"))
        else:
            checks.append(Check("builder", "ok", engine.builder))
    return checks


def judge_other_builders(
    caches: Sequence[OtherCache], without: Sequence[str], unread: Sequence[str] = ()
) -> Check:
    """other_builders: caches that the prune does not cover. `unread` says what was not asked, and why."""
    known = sorted(caches, key=lambda cache: -(cache.size_bytes or 0))
    parts = [f"{cache.builder} {_size(cache.size_bytes)}" for cache in known]
    notes = [*(f"{name} has no cache so far" for name in without), *unread]
    if not any(cache.size_bytes != 0 for cache in caches):
        return Check("other_builders", "ok", "; ".join(["none with a cache here", *notes]))
    return Check(
        "other_builders",
        "warning",
        "; ".join([f"caches that no prune covers: {', '.join(parts)}", *notes]),
        "as the login that made it: docker buildx prune --builder NAME, or docker buildx rm NAME",
    )


def judge_disk(disk: FileSystem | None, alert_percent: int) -> Check:
    """disk: how full the file system of the engine's data is."""
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


def judge_gate(found: Gate | GateDenied | None, configured: HostSettings, jobs: Collection[str]) -> Check:
    """gate: whether the key is confined, and to what is sent here. `found` is a denial where the gate is
    installed, but not as this key's forced command."""
    if isinstance(found, GateDenied):
        text = "it is installed, but does not confine this key, which can do anything that docker can"
        return Check("gate", "warning", text, "put the line of `holystone gate --authorized-keys` there")
    if found is None:
        text = "none: this key can do anything that docker can, which is as good as root"
        return Check("gate", "warning", text, "confine it: holystone gate --help")
    text = (
        f"version {found.version}; jobs {', '.join(found.jobs) or 'none'}; ages from {found.min_age_s} s; "
        f"{'with or without' if found.all else 'never with'} --all"
    )
    if missing := [job for job in jobs if job not in found.jobs]:
        return Check(
            "gate",
            "error",
            f"{text}: {', '.join(missing)} denied",
            "print it anew: holystone gate, install it",
        )
    denied = [age for age in ages_of(configured) if age_seconds(age) < found.min_age_s]
    if denied:
        remedy = "raise until (HOLYSTONE_PRUNE_UNTIL, prune.until, disk.ladder), or: holystone gate --min-age"
        return Check("gate", "error", f"{text}: {', '.join(denied)} denied", remedy)
    if configured.prune.enabled and configured.prune.all and not found.all:
        remedy = "switch all off (HOLYSTONE_PRUNE_ALL, prune.all), or: holystone gate --allow-all, install it"
        return Check("gate", "error", f"{text}, which this host's settings ask for", remedy)
    if found.version < COMMAND_SET_VERSION:
        text += f"; this worker's is version {COMMAND_SET_VERSION}"
        return Check("gate", "warning", text, "print it anew: holystone gate, and install it there")
    return Check("gate", "ok", text)


def _size(size: int | None) -> str:
    return "(size not read)" if size is None else format_size(size)


def _version(text: str) -> tuple[int, int] | None:
    match = _VERSION.search(text)
    return (int(match[1]), int(match[2])) if match else None
