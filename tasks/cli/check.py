"""`holystone check`: tries all that a prune needs, host by host, and says what to do where it fails."""

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import click

from tasks.cli.check_rows import (
    SERVICES,
    Checked,
    count_hosts,
    has_error,
    make_table,
    plain_lines,
    summary,
    to_json,
)
from tasks.cli.check_services import check_left_out, check_notifications, check_services, check_settings
from tasks.cli.host_arguments import NAME_A_HOST, check_hosts, refusal
from tasks.cli.terminal import open_console, refuse, say, warn
from worker.errors import UnknownHost
from worker.settings import Settings, get_settings

if TYPE_CHECKING:
    from rich.console import Console

# For names, mostly: a lookup that nobody answers holds its thread long after it was given up.
_THREADS = 64


async def _check_all(settings: Settings, hosts: Sequence[str]) -> list[Checked]:
    from tasks.check_on_host import check_all

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    services, notifications, found = await asyncio.gather(
        asyncio.to_thread(check_services, settings),
        asyncio.to_thread(check_notifications, settings),
        check_all([settings.fleet[host] for host in hosts], settings),
    )
    return [
        Checked(None, [*check_settings(settings), *services, *notifications]),
        *(Checked(*each) for each in zip(hosts, found, strict=True)),
    ]


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("--json", "as_json", is_flag=True, help="For jq: .[].host, .[].checks[].status, and so on.")
def check(hosts: tuple[str, ...], as_json: bool) -> None:
    """Check HOSTs, or without HOST all: the way there, docker, its versions, disk, clock and gate.

    Run it where the worker runs, as the worker's user. It connects directly, not through a worker; it
    changes nothing, and removes nothing. Exits with 1 if anything is an error. In --json `host` is null for
    settings, Redis, worker, beat and notifications.
    """
    settings = get_settings()
    logging.getLogger().addHandler(logging.NullHandler())  # what the libraries would log is said here
    try:
        named = check_hosts(settings, hosts) or list(settings.fleet)
    except UnknownHost as error:
        warn(settings.warnings)  # else they are checks; the host may have been left out
        refuse(refusal(settings, error))
    console = open_console()
    busy = f"checking {count_hosts(len(named))}"
    try:
        with console.status(busy) if console.is_terminal and not as_json else contextlib.nullcontext():
            checked = asyncio.run(_check_all(settings, named))
    except KeyboardInterrupt:
        sys.exit(130)
    if not hosts:
        checked += check_left_out(settings)
    if as_json:
        click.echo(json.dumps(to_json(checked), indent=2))
    else:
        _show(console, settings, checked)
    sys.exit(1 if has_error(checked) else 0)


def _show(console: "Console", settings: Settings, checked: Sequence[Checked]) -> None:
    if console.is_terminal:
        from rich.text import Text

        for each in checked:
            url = f"  {settings.fleet[each.host].host.url}" if each.host in settings.fleet else ""
            console.print(Text.assemble((each.host or SERVICES, "bold"), (url, "dim")))
            console.print(make_table(each.checks))
            console.print()
    else:
        for line in plain_lines(checked):
            console.print(line, soft_wrap=True)
    if settings.fleet or settings.left_out:
        console.print(summary(checked))
    else:
        say(NAME_A_HOST, err=False)
