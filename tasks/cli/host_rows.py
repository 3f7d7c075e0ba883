"""Rows and lines of `holystone hosts`: settings and what Redis remembers, as a person reads them (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tasks.cli.terminal import ago, format_seconds, one_line
from worker.ages import to_until
from worker.disk_memory import DiskMemory
from worker.fleet import LeftOut
from worker.memory import HostMemory, RunState
from worker.pause import Pause, find_pause
from worker.settings import Settings
from worker.sizes import format_size

COLUMNS = ("host", "state", "last run", "reclaimed", "total", "disk", "next run", "every", "until")
LEAST_NEEDED = ("until", "every", "total")  # left out in this order where a terminal is narrow
GAP = 3  # columns between two cells
LATE_S = 60  # beat sends what is due within seconds; after this nobody seems to send


@dataclass(frozen=True)
class Known:
    """What Redis says of all hosts, by name. A host is missing from a field where nothing is known of it."""

    memory: Mapping[str, HostMemory] = field(default_factory=dict)
    watch_memory: Mapping[str, HostMemory] = field(default_factory=dict)
    disks: Mapping[str, DiskMemory] = field(default_factory=dict)
    running: Mapping[str, str | None] = field(default_factory=dict)
    due: Mapping[str, float | None] = field(default_factory=dict)
    pauses: Mapping[str, Pause] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One host. Times are Unix seconds; `running` is the id of the task that prunes its engine now, `paused`
    says by whom and until when, `disk_error` why its disk could not be read last.
    """

    host: str
    enabled: bool
    interval_s: int
    until: str
    all: bool
    last_run_ts: float | None
    last_success_ts: float | None
    last_reclaimed: str | None
    last_reclaimed_bytes: int | None
    total_reclaimed_bytes: int | None
    last_error: str | None
    consecutive_failures: int | None
    running: str | None
    next_due_ts: float | None
    paused: str | None
    disk_used_percent: float | None
    disk_error: str | None
    last_run_state: RunState | None


def make_rows(settings: Settings, known: Known, now: float) -> list[Row]:
    """One row per configured host, in the settings' order; what Redis did not tell is None."""
    return [_row(name, settings, known, now) for name in settings.fleet]


def _row(name: str, settings: Settings, known: Known, now: float) -> Row:
    policy, memory = settings.fleet[name].prune, known.memory.get(name)
    reclaimed = memory.last_reclaimed_bytes if memory else None
    pause, seen = find_pause(known.pauses, name, now), known.disks.get(name)
    watch_memory = known.watch_memory.get(name)
    return Row(
        host=name,
        enabled=policy.enabled,
        interval_s=policy.interval_s,
        until=policy.until,
        all=policy.all,
        last_run_ts=memory.last_run_ts if memory else None,
        last_success_ts=memory.last_success_ts if memory else None,
        last_reclaimed=None if reclaimed is None else format_size(reclaimed),
        last_reclaimed_bytes=reclaimed,
        total_reclaimed_bytes=memory.total_reclaimed_bytes if memory else None,
        last_error=memory.last_error if memory else None,
        consecutive_failures=memory.consecutive_failures if memory else None,
        running=known.running.get(name),
        next_due_ts=known.due.get(name) if policy.enabled else None,
        paused=str(pause) if pause else None,
        disk_used_percent=seen.disk.used_percent if seen and seen.disk else None,
        disk_error=watch_memory.last_error if watch_memory else None,
        last_run_state=memory.last_run_state if memory else None,
    )


def other_warnings(settings: Settings) -> list[str]:
    """The settings' warnings but for those on hosts left out, which have lines of their own."""
    left_out = {f"host left out: {gone.reason}" for gone in settings.left_out}
    return [warning for warning in settings.warnings if warning not in left_out]


def to_json(settings: Settings, rows: list[Row], trouble: str | None) -> dict[str, Any]:
    return {
        "hosts": [asdict(row) for row in rows],
        "left_out": [asdict(gone) for gone in settings.left_out],
        "warnings": other_warnings(settings),
        "redis": trouble or "ok",
    }


def state(row: Row, redis_answers: bool) -> str:
    """The one word that tells most."""
    if row.running:
        return "running"
    if not row.enabled:
        return "off"
    if not redis_answers:
        return "?"
    if row.paused:
        return "paused"
    if row.consecutive_failures:
        return "failing"
    if row.last_run_state:
        return "no result" if row.last_run_state == "started" else row.last_run_state
    if row.last_success_ts:
        return "ok"
    return "no result" if row.last_run_ts else "new"


def next_run(row: Row, now: float, redis_answers: bool) -> str:
    """When beat sends the next run."""
    if not row.enabled:
        return "-"
    if row.next_due_ts is None:
        return "not scheduled" if redis_answers else "?"
    wait = row.next_due_ts - now
    if wait >= 1:
        return f"in {format_seconds(wait)}"
    return "now" if wait > -LATE_S else f"late by {format_seconds(-wait)}"


def cells(row: Row, now: float, redis_answers: bool) -> tuple[str, ...]:
    """The row as a person reads it, in the order of COLUMNS."""
    total = row.total_reclaimed_bytes
    ran = max((ts for ts in (row.last_run_ts, row.last_success_ts) if ts), default=None)  # or pruned early
    return (
        row.host,
        state(row, redis_answers),
        ago(ran, now) if redis_answers else "?",
        (row.last_reclaimed or "-") if redis_answers else "?",
        "?" if total is None else format_size(total),
        _percent(row.disk_used_percent) if redis_answers else "?",
        next_run(row, now, redis_answers),
        to_until(row.interval_s),
        row.until + (" all" if row.all else ""),
    )


def choose_columns(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """The COLUMNS to show, so that rows of cells fit on lines of `width` as far as that can be had."""
    needed = {name: max(map(len, column)) for name, *column in zip(COLUMNS, COLUMNS, *rows, strict=True)}
    for name in LEAST_NEEDED:
        if sum(needed.values()) + GAP * (len(needed) - 1) <= width:
            break
        del needed[name]
    return list(needed)


def _percent(percent: float | None) -> str:
    return "-" if percent is None else f"{percent:.0f} %"


def error_line(row: Row, now: float) -> str | None:
    """The last error, and for how long it has been so."""
    if not row.last_error:
        return None
    times = row.consecutive_failures or 0
    failures = f"{times} failure{'' if times == 1 else 's'}"
    since = f"last success {ago(row.last_success_ts, now)}" if row.last_success_ts else "no success yet"
    return f"{row.host}: {one_line(row.last_error)} ({failures}, {since})"


def disk_error_line(row: Row) -> str | None:
    return f"{row.host}: its disk was not read: {one_line(row.disk_error)}" if row.disk_error else None


def paused_line(row: Row) -> str | None:
    return f"{row.host}: {one_line(row.paused)}" if row.paused else None


def left_out_line(gone: LeftOut) -> str:
    named = "" if gone.host in gone.reason else f"{gone.host}: "
    return f"left out: {one_line(named + gone.reason)}"
