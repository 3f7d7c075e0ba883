"""`holystone hosts`: what is configured, what Redis remembers, and what is due."""

import json
import time
from typing import TYPE_CHECKING, cast

import click

from tasks.cli.host_arguments import NAME_A_HOST
from tasks.cli.host_rows import (
    COLUMNS,
    Known,
    Row,
    cells,
    choose_columns,
    disk_error_line,
    error_line,
    left_out_line,
    make_rows,
    other_warnings,
    paused_line,
    to_json,
)
from tasks.cli.terminal import RedisTrouble, fail, open_console, use_redis, warn
from worker.disk_memory import Disks
from worker.memory import Memory
from worker.pause import Pauses
from worker.policies import PRUNE_JOB, WATCH_JOB
from worker.schedule import entry_name
from worker.settings import Settings, get_settings

if TYPE_CHECKING:
    import redis
    from rich.console import Console

# RedBeat's own names; importing it would bring all of Celery.
_SCHEDULE, _ENTRY_PREFIX = "redbeat::schedule", "redbeat:"

# Redis


def read_known(client: "redis.Redis", hosts: list[str]) -> Known:
    """Six round trips, however many hosts. Raises redis.RedisError."""
    memory = Memory(client, PRUNE_JOB)
    remembered = memory.hosts(hosts)
    engines = {name: found.engine_id for name, found in remembered.items() if found.engine_id}
    holders = memory.holders(list(engines.values()))
    with client.pipeline(transaction=False) as pipe:
        for host in hosts:
            pipe.zscore(_SCHEDULE, _ENTRY_PREFIX + entry_name(host))
        due = cast("list[float | None]", pipe.execute())
    running = {name: holders[engine_id] for name, engine_id in engines.items()}
    return Known(
        memory=remembered,
        watch_memory=Memory(client, WATCH_JOB).hosts(hosts),
        disks=Disks(client).read_all(hosts),
        running=running,
        due=dict(zip(hosts, due, strict=True)),
        pauses=Pauses(client).read(),
    )


def ask_redis(settings: Settings) -> tuple[Known, str | None]:
    """What Redis knows, and what is wrong where it can't be asked."""
    try:
        with use_redis(settings) as client:
            return read_known(client, list(settings.fleet)), None
    except RedisTrouble as error:
        return Known(), str(error)


# The verb


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Everything, for jq: .hosts[], .left_out[], .redis.")
def hosts(as_json: bool) -> None:
    """Show each host: its settings, last runs, and when it is due.

    Reads settings and Redis; contacts no host. Ends with status 1 if Redis can't be used. The states:

    \b
      running    a run prunes it now
      off        its pruning is off in the settings
      paused     `holystone pause` holds its runs back
      failing    its last run failed; why stands below the table
      retrying   its last run did not reach it, and is tried again
      skipped    its last run pruned nothing: another prune was at work there, or a pause came
      no result  its last run began, and how it ended is not known so far
      ok         its last run succeeded
      new        no run began yet
      ?          Redis can't be asked

    Columns that a narrow terminal has no room for are left out. This is no Celery task. To see what runs now:

    \b
      celery -A worker inspect active
    """
    settings = get_settings()
    known, trouble = ask_redis(settings)
    rows = make_rows(settings, known, time.time())
    if as_json:
        click.echo(json.dumps(to_json(settings, rows, trouble), indent=2))
    else:
        _show(open_console(), settings, rows, trouble is None)
        warn(other_warnings(settings), most=len(settings.warnings))
    if trouble:
        fail(f"{trouble}; what Redis remembers is missing here")


def _show(console: "Console", settings: Settings, rows: list[Row], redis_answers: bool) -> None:
    from rich import box
    from rich.table import Table

    now = time.time()
    if rows:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        shown = [cells(row, now, redis_answers) for row in rows]
        columns = choose_columns(shown, console.width)
        for name in columns:
            table.add_column(name, overflow="fold")
        for told in shown:
            table.add_row(*(told[COLUMNS.index(name)] for name in columns))
        console.print(table)
    else:
        console.print(NAME_A_HOST)
    lines = [paused_line(row) for row in rows]
    lines += [error_line(row, now) for row in rows]
    lines += [disk_error_line(row) for row in rows]
    lines += [left_out_line(gone) for gone in settings.left_out]
    for line in filter(None, lines):
        console.print(line)
