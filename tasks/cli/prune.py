"""`holystone prune`: sends runs to the workers, follows them, and prints what came of them."""

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

import click

from tasks import PRUNE_TASK
from tasks.cli.following import DONE, SKIPPED, Sent
from tasks.cli.hosts import NO_HOST
from tasks.cli.terminal import open_console, open_redis_now, redis_trouble, say, warn
from tasks.cli.watching import Read, follow, show_table, showing
from worker.ages import to_until
from worker.errors import UnknownHost
from worker.limits import GRACE_S, message_limits
from worker.settings import Settings, get_settings

if TYPE_CHECKING:
    import redis
    from rich.console import Console

MARGIN_S = 180  # beyond the hard limit: a run whose worker was killed is done again within this
PING_WAIT_S = 1
SEE_THEM = "See them in Flower, with `holystone hosts`, or with `celery -A worker result TASK_ID`"

# Decisions


def choose_hosts(settings: Settings, named: Sequence[str]) -> tuple[list[str], list[str]]:
    """(hosts to prune, hosts left out for being off). Raises UnknownHost."""
    for name in named:
        if name not in settings.fleet:
            raise UnknownHost(name, list(settings.fleet))
    if named:
        return list(dict.fromkeys(named)), []
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


# Celery


def send(settings: Settings, messages: Mapping[str, dict[str, Any]], runs: list[Sent]) -> None:
    """Sends one message per host, and notes each in `runs`. Raises what the broker raises."""
    from worker.celery import app

    for host, options in messages.items():
        # By name: importing the task would bring asyncssh.
        runs.append(Sent(host, app.signature(PRUNE_TASK).apply_async(**options).id))


def results(client: "redis.Redis") -> Read:
    """Reads the results of all runs in one round trip, where Celery would subscribe to each."""
    from worker.celery import app

    def read(runs: Sequence[Sent]) -> list[Mapping[str, Any] | None]:
        stored = client.mget([app.backend.get_key_for_task(run.task_id) for run in runs])
        return [
            app.backend.decode_result(text) if text else None for text in cast("list[str | None]", stored)
        ]

    return read


def has_worker() -> bool:
    """Whether any worker answers."""
    from kombu.exceptions import OperationalError

    from worker.celery import app

    try:
        return bool(app.control.ping(timeout=PING_WAIT_S, limit=1))
    except (OperationalError, OSError):
        return True  # Redis is the trouble then, and reading says so


# The verb


def _fail(text: str, status: int = 1) -> NoReturn:
    say(text)
    sys.exit(status)


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
    Exits with 1 if any run failed, with 2 if nothing was sent for bad usage.

    The same for one host, in plain celery:

    \b
      celery -A worker call tasks.prune_build_cache --kwargs '{"host": "build-01"}'
    """
    settings = get_settings()
    logging.getLogger().addHandler(logging.NullHandler())  # what Celery would log is said here, once
    warn(settings.warnings)
    chosen = _chosen(settings, hosts)
    if not chosen:
        return
    console = open_console()
    messages = {host: message(settings, host, until, all_, dry_run) for host in chosen}
    silence_s = longest_silence_s(settings, chosen)
    runs: list[Sent] = []
    try:
        _send_and_follow(console, settings, messages, silence_s, runs)
    except KeyboardInterrupt:
        _fail(_left(runs, "Stopped following"), 130)
    show_table(console, runs, dry_run)
    if not all(run.over for run in runs):
        _fail(_left(runs, f"Nothing changed for {silence_s} s; not waited any longer"))
    sys.exit(0 if all(run.state in (DONE, SKIPPED) for run in runs) else 1)


def _chosen(settings: Settings, named: Sequence[str]) -> list[str]:
    """The hosts to prune, and a line on those that are not."""
    if named and not settings.fleet:
        raise click.UsageError(NO_HOST)
    try:
        chosen, off = choose_hosts(settings, named)
    except UnknownHost as error:
        raise click.UsageError(str(error)) from error
    if not settings.fleet:
        say(NO_HOST, err=False)
    if off:
        say(f"Left out, pruning is off there: {', '.join(off)}", err=False)
    return chosen


def _send_and_follow(
    console: "Console",
    settings: Settings,
    messages: Mapping[str, dict[str, Any]],
    silence_s: float,
    runs: list[Sent],
) -> None:
    import redis

    try:
        client = open_redis_now(settings)
        client.ping()  # Celery would retry for long before it says so
    except (redis.RedisError, OSError, ValueError, TypeError) as error:
        _fail(f"{redis_trouble(settings, error)}; nothing was sent")
    from kombu.exceptions import OperationalError

    with client:
        try:
            send(settings, messages, runs)
        except (redis.RedisError, OperationalError, OSError) as error:
            _fail(f"{redis_trouble(settings, error)}; sent to {len(runs)} of {len(messages)} hosts")
        with showing(console) as show:
            follow(runs, silence_s, results(client), has_worker, show)


def _left(runs: Sequence[Sent], why: str) -> str:
    open_runs = [run for run in runs if not run.over]
    lines = [
        f"{why}; {len(open_runs)} of {len(runs)} have no result yet, and go on, or wait for a worker.",
        f"{SEE_THEM}:",
        *(f"  {run.host}: {run.task_id}" for run in open_runs),
    ]
    return "\n".join(lines)
