"""Follows runs until they are over, and shows them: lines that move, then a table."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tasks.cli.run_rows import FAILED, HEADER, PREVIEW_HEADER, Sent, advance, cells, line, live_lines
from tasks.cli.terminal import format_seconds

if TYPE_CHECKING:
    from rich.console import Console

POLL_S = 0.2
PING_AFTER_S, PING_EVERY_S = 1, 5
NO_WORKER = "No worker answers; start one: `holystone up`, or `celery -A worker worker`. Still waiting."
NO_REDIS = "Redis does not answer ({}); the runs go on. Still waiting."

Read = Callable[[Sequence[Sent]], Sequence[Mapping[str, Any] | None]]
Show = Callable[[Sequence[Sent], str], None]


def follow(
    runs: list[Sent],
    silence_s: float,
    read: Read,
    has_worker: Callable[[], bool],
    show: Show,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Brings `runs` up to date in place until all are over, or nothing changed for `silence_s`.

    `read` gives results in Celery's form; where it raises redis.RedisError that is shown, and waited out.
    """
    import redis

    changed = clock()
    next_ping = changed + PING_AFTER_S
    note = ""
    while True:
        try:
            seen = [advance(run, meta) for run, meta in zip(runs, read(runs), strict=True)]
            if seen != runs:
                runs[:], changed, note = seen, clock(), ""
            over = all(run.over for run in runs)
            if clock() >= next_ping and not over:
                note = "" if has_worker() else NO_WORKER
                next_ping = clock() + PING_EVERY_S
        except redis.RedisError as error:
            over, note, next_ping = False, NO_REDIS.format(type(error).__name__), clock()
        show(runs, note)
        if over or clock() - changed > silence_s:
            return
        sleep(POLL_S)


@contextmanager
def showing(console: "Console") -> Iterator[Show]:
    """Shows runs while they are followed: lines that change in place, or a line per change in a pipe."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield _print_changes(console)
        return
    from rich.live import Live
    from rich.text import Text

    since: dict[Sent, float] = {}

    def elapsed(run: Sent) -> str:
        began = since.setdefault(run, time.monotonic())
        return "" if run.over else format_seconds(time.monotonic() - began)

    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(runs: Sequence[Sent], note: str) -> None:
            lines = live_lines(runs, max(console.height - 3, 2), elapsed)
            text = Text("\n".join([*lines, note] if note else lines), no_wrap=True, overflow="ellipsis")
            live.update(text, refresh=True)

        yield show


def _print_changes(console: "Console") -> Show:
    printed: set[Sent] = set()
    last_note = ""

    def show(runs: Sequence[Sent], note: str) -> None:
        nonlocal last_note
        for run in runs:
            if run not in printed:
                printed.add(run)
                console.print(line(run))
        if note and note != last_note:
            console.print(note)
        last_note = note

    return show


def show_table(console: "Console", runs: Sequence[Sent], dry_run: bool) -> None:
    """What came of the runs; why they failed in a line each."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in PREVIEW_HEADER if dry_run else HEADER:
        table.add_column(name, overflow="fold")
    now = time.time()
    for run in runs:
        table.add_row(*cells(run, dry_run, now))
    console.print(table)
    for run in runs:
        if run.state == FAILED:
            console.print(f"{run.host}: {run.note}")
