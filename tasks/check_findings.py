"""What `holystone check` makes of what it learned on a host: facts in, lines with remedies out (pure)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from worker.builders import OtherCache
from worker.docker import CacheRecord, FileSystem
from worker.engine import Engine
from worker.errors import (
    AuthenticationFailed,
    CommandFailed,
    GateDenied,
    HolystoneError,
    HostKeyRejected,
    UnsupportedEngine,
)
from worker.sizes import format_size

CLOCK_SKEW_S = 60
_MOST_SHOWN = 10
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})", re.ASCII)
_SAFE_CANCEL, _GC_BY_DEFAULT, _UNTIL_WORKS = (26, 0), (28, 2), (0, 9)
_GC_REMEDY = (
    'upgrade to 28.2 or later, or put "builder": {"gc": {"enabled": true}} into /etc/docker/daemon.json there'
)
_NOT_RUNNING = (
    "cannot connect to the docker daemon",
    "daemon running",
    "failed to connect to the docker api",  # from CLI 29
)
# How the texts of worker/ssh.py, worker/host_key.py and worker/engine.py begin -> the remedy. First fit.
_REMEDIES: tuple[tuple[type[HolystoneError], str, str], ...] = (
    (
        AuthenticationFailed,
        "an ssh ",  # key or setting can't be used
        "correct it on this machine: HOLYSTONE_SSH_CONFIG, HOLYSTONE_SSH_IDENTITY, or what ssh_config says",
    ),
    (
        AuthenticationFailed,
        "more keys",
        "set HOLYSTONE_SSH_IDENTITY, or IdentitiesOnly in ssh_config",
    ),
    (
        AuthenticationFailed,
        "",
        "add its public key to authorized_keys there, or set HOLYSTONE_SSH_IDENTITY",
    ),
    (HostKeyRejected, "known_hosts can't be read", "correct that file on this machine"),
    (
        HostKeyRejected,
        "no common ssh algorithm",
        "allow one that both know: in ssh_config on this machine, or in sshd_config there",
    ),
    (HostKeyRejected, "", "compare the key with the host's own, then: holystone trust --help"),
    (UnsupportedEngine, "`docker` is not Docker's CLI", "install docker-cli"),
    (
        UnsupportedEngine,
        "docker's endpoint",
        "unset DOCKER_HOST and DOCKER_CONTEXT there, or configure the engine's own host",
    ),
    (UnsupportedEngine, "`docker builder inspect`", "run it there as that user"),
    (
        UnsupportedEngine,
        "`docker builder prune`",
        "make the engine's own builder the one in use there: docker buildx ls",
    ),
    (UnsupportedEngine, "", "install Docker's own engine and CLI there, or take the host out"),
    (GateDenied, "", "make the gate there and this worker agree, as said: holystone gate --help"),
)

Status = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Check:
    """One line of the answer. `remedy` is what to do where the status is not ok."""

    name: str
    status: Status
    text: str
    remedy: str | None = None


def remedy_of(error: HolystoneError) -> str:
    """What to do about an error: fixed words, chosen by its type and by how this project's own text begins.

    Never cut out of the text: its end may be a host's words, which would then pass for our advice.
    """
    text = str(error)
    if isinstance(error, (AuthenticationFailed, HostKeyRejected)):  # a host's name stands first
        text = text.partition(": ")[2]
    for kind, start, remedy in _REMEDIES:
        if isinstance(error, kind) and text.startswith(start):
            return remedy
    return "check again; look at sshd's log there, and at the network between"


def without_host(host: str, error: HolystoneError) -> str:
    """The error's text as it is, but for the host's name, and its remedy where that is `remedy_of` again."""
    return str(error).removeprefix(f"{host}: ").removesuffix(f"; {remedy_of(error)}")


def judge_docker(found: Engine | HolystoneError, user: str, host: str) -> list[Check]:
    """docker: whether there is an engine that this login may use."""
    if isinstance(found, Engine):
        text = f"Engine {found.server}, CLI {found.client or 'unknown'}, prunes by {found.builder}"
        return [Check("docker", "ok", text)]
    if not isinstance(found, CommandFailed):
        return [Check("docker", "error", without_host(host, found), remedy_of(found))]
    _, exit_status, stderr = found.args
    said = stderr.strip().splitlines()[0] if stderr.strip() else "it said nothing"
    lower = stderr.lower()
    if exit_status == 127 and "timeout" in said and "docker" not in said:
        text, remedy = "there is no `timeout`", "install coreutils there"
    elif exit_status == 127:
        text, remedy = "not installed", "install it there, where this login's ssh commands find it (PATH)"
    elif exit_status == 126:
        text, remedy = f"{user} may not execute it", "look there: ls -lL $(command -v docker)"
    elif "permission denied" in lower:
        text, remedy = f"{user} may not use it", f"there, as root: usermod -aG docker {user}"
    elif any(words in lower for words in _NOT_RUNNING):
        text, remedy = "its engine does not run", "there, as root: systemctl start docker"
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
        if builder is None:
            text = f"{engine.builder}: its version can't be read; before 0.9 it ignores `until`"
            checks.append(Check("builder", "warning", text, "look there: docker buildx version"))
        elif builder < _UNTIL_WORKS:
            text = f"{engine.builder}: before 0.9 it ignores `until`, so that prunes remove nothing"
            checks.append(Check("builder", "error", text, "upgrade the buildx plugin there to 0.9 or later"))
        else:
            checks.append(Check("builder", "ok", engine.builder))
    return checks


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


def judge_notifications(services: Sequence[str], taken: Sequence[bool]) -> list[Check]:
    """notifications: whether Apprise takes each URL, by its service, for all else of it may be a token; no
    line where there is none."""
    if not services:
        return []
    bad = [
        f"number {at}" if service == "unknown" else f"number {at} ({service}://…)"
        for at, (service, is_taken) in enumerate(zip(services, taken, strict=True), 1)
        if not is_taken
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


def _version(text: str) -> tuple[int, int] | None:
    match = _VERSION.search(text)
    return (int(match[1]), int(match[2])) if match else None
