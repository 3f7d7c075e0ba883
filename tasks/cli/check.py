"""`holystone check`: tries all that a prune needs, host by host, and says what to do where it fails."""

import asyncio
import contextlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from tasks.cli.celery_calls import worker_answers
from tasks.cli.host_arguments import NAME_A_HOST, check_hosts
from tasks.cli.terminal import RedisTrouble, one_line, open_console, refuse, say, use_redis, warn
from worker.errors import UnknownHost
from worker.settings import Settings, get_settings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tasks.check_findings import Check, Status
    from worker.fleet import LeftOut

_BEAT_LOCK = "redbeat::lock"
_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}
_SERVICES = "services"
# For names, mostly: a lookup that nobody answers holds its thread long after it was given up.
_THREADS = 64


@dataclass(frozen=True)
class Checked:
    """The checks of one host; `host` is None for Redis, worker, beat and notifications."""

    host: str | None
    checks: Sequence["Check"]


def to_json(checked: Sequence[Checked]) -> list[dict[str, Any]]:
    return [{"host": each.host, "checks": [asdict(check) for check in each.checks]} for each in checked]


def has_error(checked: Sequence[Checked]) -> bool:
    return any(check.status == "error" for each in checked for check in each.checks)


def summary(checked: Sequence[Checked]) -> str:
    """How many hosts are how well."""
    worst = Counter(_worst(each.checks) for each in checked if each.host is not None)
    said = {"ok": "ok", "warning": "with warnings", "error": "with errors"}
    return ", ".join(f"{_count_hosts(worst[status])} {said[status]}" for status in said if worst[status])


def _worst(checks: Sequence["Check"]) -> str:
    return max((check.status for check in checks), key=list(_STYLES).index, default="ok")


def _count_hosts(number: int) -> str:
    return f"{number} host{'' if number == 1 else 's'}"


def plain_lines(checked: Sequence[Checked]) -> list[str]:
    """One line per check, for a pipe."""
    return [
        one_line(
            f"{each.host or _SERVICES}: {check.status}: {_shown(check)}: {_text(check)}"
            + (f" -> {check.remedy}" if check.remedy else "")
        )
        for each in checked
        for check in each.checks
    ]


def _text(check: "Check") -> str:
    """Without the arrow that stands before remedies: what a host said must not pass for one."""
    return one_line(check.text).replace("->", "=>")


def _shown(check: "Check") -> str:
    return check.name.replace("_", " ")


# Redis, worker and beat


def check_services(settings: Settings) -> list["Check"]:
    """What every host's prune needs on this side."""
    from tasks.check_findings import Check
    from tasks.cli.local_redis import shown_url

    try:
        with use_redis(settings) as client:
            has_beat = bool(client.exists(_BEAT_LOCK))
            answers = worker_answers()
    except RedisTrouble as error:
        remedy = "start it (`holystone up`, or docker compose up -d), or correct HOLYSTONE_REDIS_URL"
        return [Check("redis", "error", str(error), remedy)]
    checks = [Check("redis", "ok", f"{shown_url(settings.redis_url.get_secret_value())} answers")]
    if answers:
        checks.append(Check("worker", "ok", "answers"))
    elif answers is None:
        checks.append(Check("worker", "error", "can't be asked through Redis", "look at Redis's log"))
    else:
        checks.append(Check("worker", "warning", "none answers: nothing runs", "celery -A worker worker"))
    if has_beat:
        checks.append(Check("beat", "ok", "holds its lock"))
    else:
        remedy = "celery -A worker beat"
        checks.append(Check("beat", "warning", "none is at work: nothing is sent by schedule", remedy))
    return checks


def check_notifications(settings: Settings) -> list["Check"]:
    """Whether alerts have a way out; nothing is sent."""
    if not settings.notify_urls:
        return []
    from tasks.check_findings import judge_notifications
    from worker.notify import accepts, service_of

    urls = settings.notify_urls
    return judge_notifications([service_of(url) for url in urls], [accepts(url) for url in urls])


def check_settings(settings: Settings) -> list[Checked]:
    """The configured hosts that are not served; one that is named twice is, by its first entry."""
    from tasks.check_findings import Check

    served = {host.casefold() for host in settings.fleet}
    remedy = "correct its entry: HOLYSTONE_HOSTS, or hosts in holystone.toml"

    def judge(gone: "LeftOut") -> Check:
        status: Status = "warning" if gone.host.casefold() in served else "error"
        return Check("settings", status, gone.reason, remedy)

    return [Checked(gone.host, [judge(gone)]) for gone in settings.left_out]


async def _check_all(settings: Settings, hosts: Sequence[str]) -> list[Checked]:
    from tasks.check_on_host import check_all

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    services, notifications, found = await asyncio.gather(
        asyncio.to_thread(check_services, settings),
        asyncio.to_thread(check_notifications, settings),
        check_all([settings.fleet[host] for host in hosts], settings),
    )
    return [
        Checked(None, [*services, *notifications]),
        *(Checked(*each) for each in zip(hosts, found, strict=True)),
    ]


# The verb


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("--json", "as_json", is_flag=True, help="For jq: .[].host, .[].checks[].status, and so on.")
def check(hosts: tuple[str, ...], as_json: bool) -> None:
    """Check HOSTs, or without HOST all: the way there, docker, its versions, disk, clock and gate.

    Run it where the worker runs, as the worker's user. It connects directly, not through a worker; it
    changes nothing, and removes nothing. Exits with 1 if anything is an error. In --json `host` is null for
    Redis, worker, beat and notifications.
    """
    settings = get_settings()
    logging.getLogger().addHandler(logging.NullHandler())  # what the libraries would log is said here
    warn(settings.warnings)
    try:
        named = check_hosts(settings, hosts) or list(settings.fleet)
    except UnknownHost as error:
        refuse(str(error) if settings.fleet else NAME_A_HOST)
    console = open_console()
    busy = f"checking {_count_hosts(len(named))}"
    try:
        with console.status(busy) if console.is_terminal and not as_json else contextlib.nullcontext():
            checked = asyncio.run(_check_all(settings, named))
    except KeyboardInterrupt:
        sys.exit(130)
    if not hosts:
        checked += check_settings(settings)
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
            console.print(Text.assemble((each.host or _SERVICES, "bold"), (url, "dim")))
            console.print(_table(each.checks))
            console.print()
    else:
        for line in plain_lines(checked):
            console.print(line, soft_wrap=True)
    if settings.fleet or settings.left_out:
        console.print(summary(checked))
    else:
        say(NAME_A_HOST, err=False)


def _table(checks: Sequence["Check"]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=len("  warning"))
    table.add_column(no_wrap=True, min_width=len("garbage collection"))  # the same for all hosts
    table.add_column(overflow="fold")
    for check in checks:
        style = _STYLES[check.status]
        table.add_row(Text(f"  {check.status}", style), Text(_shown(check)), Text(_text(check)))
        if check.remedy:
            table.add_row("", "", Text(f"-> {one_line(check.remedy)}", "cyan"))
    return table
