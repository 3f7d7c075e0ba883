"""Learns of one host what `holystone check` judges: talks, and decides nothing."""

import asyncio
import os
import pwd
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from tasks.check_engine import judge_docker, judge_versions
from tasks.check_findings import Check, judge_cache, judge_clock, judge_disk, judge_other_builders
from tasks.check_gate import judge_gate
from tasks.check_remedies import without_host
from tasks.check_way import judge_way
from tasks.prune_policy import preview_argv
from worker.builders import LIMIT_S, LIST_JSON, LIST_TABLE, other_caches, parse_builders, parse_state_volumes
from worker.docker import FileSystem, parse_cache_records
from worker.engine import Engine
from worker.errors import CommandFailed, GateDenied, HolystoneError, HostUnreachable
from worker.fleet import HostSettings
from worker.gate import VERSION_ARGV, Gate, parse_gate_version
from worker.look import disk, look
from worker.policies import TABLE_OF
from worker.settings import Settings
from worker.shell import Completed, LocalShell, Shell
from worker.way import reach

AT_ONCE = 16
HOST_LIMIT_S = 150
NOT_ALLOWED = "the gate doesn't allow it"
_BUILDX = re.compile(r"buildx (\d{1,4})\.(\d{1,4})", re.ASCII)


async def check_all(configured: Sequence[HostSettings], settings: Settings) -> list[list[Check]]:
    """The checks of each host, in the hosts' order; AT_ONCE hosts at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def check_one(each: HostSettings) -> list[Check]:
        async with room:
            return await check_host(each, settings)

    return await asyncio.gather(*map(check_one, configured))


async def check_host(configured: HostSettings, settings: Settings) -> list[Check]:
    """The checks of one host, until one makes the others impossible. Never raises."""
    host, checks = configured.host, list[Check]()
    try:
        async with asyncio.timeout(HOST_LIMIT_S):
            if host.is_local:
                await _examine(LocalShell(), _own_name(), configured, checks)
                return checks
            async with reach(host, settings) as (way, shell):
                checks += judge_way(way)
                if shell is not None:
                    await _examine(shell, way.user, configured, checks)
    except TimeoutError:
        checks.append(_broken(f"no answer within {HOST_LIMIT_S} s"))
    except HolystoneError as error:
        checks.append(_broken(without_host(host.name, error)))
    except Exception as error:  # whatever it is, it must not cost the other hosts their checks
        checks.append(_broken(f"{type(error).__name__}: {error}"))
    return checks


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a user that has no name, as in a container
        return str(os.geteuid())


def _broken(text: str) -> Check:
    return Check("connection", "error", text, "check again; look at the network between")


async def _examine(shell: Shell, user: str, configured: HostSettings, checks: list[Check]) -> None:
    host = configured.host
    gate = None if host.is_local else await _ask_gate(shell)
    jobs = [job for job in TABLE_OF if configured.policy_of(job).enabled]
    gate_check = [] if gate is None else [judge_gate(gate, configured, jobs)]
    before = datetime.now(UTC)
    try:
        engine = await look(shell)
    except HostUnreachable:
        raise
    except HolystoneError as error:
        checks += [*judge_docker(error, user, host.name), *gate_check]
        return
    after = datetime.now(UTC)
    checks += [*judge_docker(engine, user, host.name), *judge_versions(engine)]
    disk_now, (usage, why), (builders, unread) = await asyncio.gather(
        _read_disk(shell, engine.root),
        _read(shell, preview_argv(LIMIT_S)),
        _list_builders(shell, engine, isinstance(gate, Gate)),
    )
    volumes = parse_state_volumes(usage) if usage else None
    caches, without = other_caches(parse_builders(builders), volumes)
    if volumes is None:
        unread = [f"sizes not read: {why}", *unread]
    checks += [
        judge_other_builders(caches, without, unread),
        judge_disk(disk_now, configured.disk.alert_percent, host.name),
        judge_cache(parse_cache_records(usage) if usage else None, why),
        judge_clock(before, engine.now, after),
        *gate_check,
    ]


async def _ask_gate(shell: Shell) -> Gate | GateDenied | Completed:
    try:
        completed = await shell.run(VERSION_ARGV)
    except GateDenied as denial:
        return denial
    return parse_gate_version(completed.stdout) or completed


async def _read_disk(shell: Shell, path: str) -> FileSystem | GateDenied | None:
    try:
        return await disk(shell, path)
    except GateDenied as denial:  # the path is the engine's, and the gate may not take it
        return denial


async def _list_builders(shell: Shell, engine: Engine, gated: bool) -> tuple[str, list[str]]:
    """(what `docker buildx ls` prints, why it wasn't read)."""
    version = _BUILDX.match(engine.builder)
    if version is None:
        return "", []
    if gated:  # not sent: each denial is a line in that host's syslog
        return "", [f"builders not listed: {NOT_ALLOWED}"]
    has_json = (int(version[1]), int(version[2])) >= (0, 13)
    printed, why = await _read(shell, LIST_JSON if has_json else LIST_TABLE)
    return printed or "", [] if printed is not None else [f"builders not listed: {why}"]


async def _read(shell: Shell, argv: tuple[str, ...]) -> tuple[str | None, str]:
    """(what a command prints, why that can't be used)."""
    try:
        completed = await shell.run(argv)
    except GateDenied:
        return None, NOT_ALLOWED
    if completed.exit_status in (None, 137):
        return None, f"no answer within {LIMIT_S} s"
    if completed.cut:
        return None, "too long an answer"
    try:
        return completed.check().stdout, ""
    except CommandFailed as error:
        return None, error.args[2].partition("\n")[0] or f"exit status {completed.exit_status}"
