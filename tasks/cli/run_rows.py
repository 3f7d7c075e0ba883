"""Runs that were sent, as far as their results tell: their lines and rows (pure)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tasks.cli.terminal import ago, one_line
from worker.sizes import format_size

WAITING, RUNNING, RETRIED = "waiting", "running", "retried"
DONE, SKIPPED, FAILED = "done", "skipped", "failed"
UNFINISHED = "no result"


@dataclass(frozen=True)
class Sent:
    """One run. `note` is its worker, or why it is retried, was skipped or failed; `report` is its result."""

    host: str
    task_id: str
    state: str = WAITING
    note: str = ""
    process: str = ""  # which of the worker's runs it: another one, and it was delivered again
    report: Mapping[str, Any] | None = field(default=None, hash=False)

    @property
    def over(self) -> bool:
        return self.state in (DONE, SKIPPED, FAILED)


def advance(run: Sent, meta: Mapping[str, Any] | None) -> Sent:
    """The run after a look at its result in Celery's form; None where nothing is stored yet."""
    if run.over or meta is None:
        return run
    result = meta.get("result")
    match meta.get("status"):
        case "STARTED":
            started = result if isinstance(result, Mapping) else {}
            worker, process = one_line(started.get("hostname")), str(started)
            if run.state == RUNNING and run.process == process:
                return run
            again = f", again after {run.note}" if run.state == RETRIED else ""
            return replace(run, state=RUNNING, note=f"on {worker}{again}", process=process)
        case "RETRY":
            return replace(run, state=RETRIED, note=describe(result))
        case "SUCCESS":
            report = result if isinstance(result, Mapping) else {}
            state = SKIPPED if report.get("outcome") == "skipped" else DONE
            return replace(run, state=state, note=_remark(report), report=report)
        case "FAILURE" | "REVOKED":
            return replace(run, state=FAILED, note=describe(result))
    return run


def describe(error: object) -> str:
    """An exception as `TypeName: sentence`."""
    name, text = type(error).__name__, one_line(error)
    if name == "TimeLimitExceeded" and isinstance(error, Exception):
        text = f"did not end at its soft limit, and was ended at the hard one ({error.args[0]:g} s)"
    return f"{name}: {text}" if text else name


def _remark(report: Mapping[str, Any]) -> str:
    if report.get("complete") is False:
        return "not complete: run it again"
    return one_line(report.get("reason") or "")


def line(run: Sent) -> str:
    """The run in one line, for a log."""
    return f"{run.host}: {run.state}{f', {shown}' if (shown := _shown_note(run)) else ''}"


def _shown_note(run: Sent) -> str:
    if run.state != DONE or run.report is None:
        return run.note
    if run.report.get("dry_run"):
        return f"{_size(run.report, 'would_reclaim_bytes')} would go"
    return f"{_size(run.report, 'reclaimed_bytes')} reclaimed"


def live_lines(runs: Sequence[Sent], room: int, elapsed: Callable[[Sent], str]) -> list[str]:
    """At most `room` lines: what moves first; what has no room is counted."""
    shown, rest = list(runs), ""
    if len(runs) > room:
        order = (RETRIED, RUNNING, FAILED, WAITING, SKIPPED, DONE)
        ranked = sorted(runs, key=lambda run: order.index(run.state))
        shown, hidden = ranked[: room - 1], ranked[room - 1 :]
        counts = {state: sum(run.state == state for run in hidden) for state in order}
        rest = f"and {len(hidden)} more: " + ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    width = max(len(run.host) for run in shown)
    lines = [
        f"{run.host:<{width}}  {run.state:<7}  {elapsed(run):>6}  {_shown_note(run)}".rstrip()
        for run in shown
    ]
    return [*lines, rest] if rest else lines


HEADER = ("host", "outcome", "reclaimed", "freed", "passes", "duration", "reason")
PREVIEW_HEADER = ("host", "outcome", "would reclaim", "records", "oldest use", "duration", "reason")


def cells(run: Sent, dry_run: bool, now: float) -> tuple[str, ...]:
    """The run as a row below HEADER, or PREVIEW_HEADER for a dry run."""
    report = run.report or {}
    outcome = run.state if run.over else UNFINISHED
    seconds = report.get("duration_s")
    # A failure's sentence stands below the table: it needs the whole width.
    reason = run.note.split(":")[0] if run.state == FAILED else run.note if run.over else ""
    ends = (f"{seconds:.1f} s" if isinstance(seconds, int | float) else "-", reason)
    if run.state != DONE:
        return (run.host, outcome, "-", "-", "-", *ends)
    if dry_run:
        used = report.get("oldest_use")
        oldest = ago(datetime.fromisoformat(used).timestamp(), now) if used else "-"
        records = str(report.get("records", "-"))
        return (run.host, outcome, _size(report, "would_reclaim_bytes"), records, oldest, *ends)
    freed = _size(report.get("disk") or {}, "freed_bytes")
    return (run.host, outcome, _size(report, "reclaimed_bytes"), freed, str(report.get("passes", "-")), *ends)


def _size(facts: Mapping[str, Any], key: str) -> str:
    size = facts.get(key)
    return format_size(size) if isinstance(size, int) else "unknown"
