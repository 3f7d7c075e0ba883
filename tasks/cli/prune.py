"""`holystone prune`: sends runs to the workers, follows them, and prints what came of them."""

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from tasks.cli.celery_calls import has_worker, results, send
from tasks.cli.follow_runs import follow, show_table, showing
from tasks.cli.host_arguments import NAME_A_HOST, check_hosts, refusal
from tasks.cli.run_rows import DONE, SKIPPED, Sent
from tasks.cli.terminal import (
    PATIENCE_S,
    RedisTrouble,
    fail,
    open_console,
    read_settings,
    redis_trouble,
    refuse,
    say,
    use_redis,
)
from worker.ages import to_until
from worker.errors import UnknownHost
from worker.limits import GRACE_S, message_limits
from worker.redis_client import open_redis_at_once
from worker.settings import Settings

MARGIN_S = 180  # beyond the hard limit: a run whose worker was killed is done again within this
SEE_THEM = "See them in Flower, with `holystone hosts`, or with `celery -A worker result TASK_ID`"

# Decisions


def choose_hosts(settings: Settings, named: Sequence[str]) -> tuple[list[str], list[str]]:
    """(hosts to prune, hosts left out for being off). Raises UnknownHost."""
    if named:
        return check_hosts(settings, named), []
    enabled = [name for name, host in settings.fleet.items() if host.prune.enabled]
    return enabled, [name for name in settings.fleet if name not in enabled]


def message(settings: Settings, host: str, until: str | None, all: bool, dry_run: bool) -> dict[str, Any]:
    """The arguments of apply_async for one host: what was given by hand, and the host's own limits."""
    given = {"until": until, "all": all or None, "dry_run": dry_run or None}
    return {
        "kwargs": {"host": host} | {name: value for name, value in given.items() if value is not None},
        **message_limits(settings.fleet[host].prune.timeout_s),
    }


def longest_silence_s(settings: Settings, hosts: Sequence[str]) -> int:
    """How long nothing may change before following ends."""
    return max(settings.fleet[host].prune.timeout_s for host in hosts) + GRACE_S + MARGIN_S


# The verb


def _check_age(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    try:
        return value if value is None else to_until(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option(
    "--until", metavar="AGE", callback=_check_age, help="Cache unused for this long goes: 30m, 24h, 7d, 1w."
)
@click.option("--all", "all_", is_flag=True, help="Also internal, frontend and shared cache of that age.")
@click.option("--dry-run", is_flag=True, help="Remove nothing, say what would go.")
def prune(hosts: tuple[str, ...], until: str | None, all_: bool, dry_run: bool) -> None:
    """Prune build caches now, and follow the runs.

    Without HOST: every configured host whose pruning is on. AGE and --all default to each host's settings.
    Exits with 1 if any run failed, 2 for wrong arguments (nothing was sent).

    The same for one host, in plain celery:

    \b
      celery -A worker call tasks.prune_build_cache --kwargs '{"host": "build-01"}'
    """
    settings = read_settings()
    logging.getLogger().addHandler(logging.NullHandler())  # what Celery would log is said here, once
    chosen = _chosen(settings, hosts)
    if not chosen:
        return
    console = open_console()
    messages = {host: message(settings, host, until, all_, dry_run) for host in chosen}
    silence_s = longest_silence_s(settings, chosen)
    runs: list[Sent] = []
    try:
        _send(settings, messages, runs)
        with open_redis_at_once(settings, PATIENCE_S) as client, showing(console) as show:
            follow(runs, silence_s, results(client), has_worker, show)
    except KeyboardInterrupt:
        fail(_left(runs, "Stopped following"), 130)
    show_table(console, runs, dry_run)
    if not all(run.over for run in runs):
        fail(_left(runs, f"Nothing changed for {silence_s} s; not waited any longer"))
    sys.exit(0 if all(run.state in (DONE, SKIPPED) for run in runs) else 1)


def _chosen(settings: Settings, named: Sequence[str]) -> list[str]:
    """The hosts to prune, and a line on those that are not."""
    try:
        chosen, off = choose_hosts(settings, named)
    except UnknownHost as error:
        refuse(refusal(settings, error))
    if not settings.fleet:
        say(NAME_A_HOST, err=False)
    if off:
        say(f"Left out, pruning is off there: {', '.join(off)}", err=False)
    return chosen


def _send(settings: Settings, messages: Mapping[str, dict[str, Any]], runs: list[Sent]) -> None:
    """Sends all messages, or says how many were sent, and ends the command."""
    from kombu.exceptions import OperationalError

    try:
        with use_redis(settings):  # it answered a ping: Celery would try for long before it says so
            try:
                send(messages, runs)
            except OperationalError as error:
                raise RedisTrouble(redis_trouble(settings, error)) from error
    except RedisTrouble as error:
        sent = f"sent to {len(runs)} of {len(messages)} hosts" if runs else "nothing was sent"
        fail(f"{error}; {sent}", error.status)


def _left(runs: Sequence[Sent], why: str) -> str:
    open_runs = [run for run in runs if not run.over]
    lines = [
        f"{why}; {len(open_runs)} of {len(runs)} have no result yet, and go on, or wait for a worker.",
        f"{SEE_THEM}:",
        *(f"  {run.host}: {run.task_id}" for run in open_runs),
    ]
    return "\n".join(lines)
