"""`holystone resume`: ends what `holystone pause` began."""

import time
from collections.abc import Iterable, Mapping

import click

from tasks.cli.host_arguments import check_hosts, refusal
from tasks.cli.terminal import RedisTrouble, fail, one_line, read_settings, refuse, say, use_redis
from worker.errors import UnknownHost
from worker.pause import ALL, Pause, Pauses


def after_hosts(
    hosts: Iterable[str], before: Mapping[str, Pause], left: Mapping[str, Pause], now: float
) -> list[str]:
    """A line for each of these hosts, whose own pauses, of those `before`, were ended; `left` were not."""
    fleet = left.get(ALL)
    if fleet and fleet.holds(now):
        return [
            f"{host}: still {one_line(fleet)}; `holystone resume` without HOST ends that" for host in hosts
        ]
    ended = {host for host, pause in before.items() if pause.holds(now)}
    return [f"{host}: {'resumed' if host in ended else 'was not paused'}" for host in hosts]


def after_fleet(fleet: Iterable[str], left: Mapping[str, Pause], now: float) -> list[str]:
    """What is said once the fleet's pause was ended: a line for each host that has one of its own."""
    own = {host: left[host] for host in fleet if host in left and left[host].holds(now)}
    lines = [
        f"{host}: still {one_line(pause)}; `holystone resume {host}` ends that" for host, pause in own.items()
    ]
    return [*lines, "all other hosts: resumed" if own else "all hosts: resumed"]


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("--all", "everything", is_flag=True, help="End every pause, those of single hosts too.")
def resume(hosts: tuple[str, ...], everything: bool) -> None:
    """Resume HOSTs, or without HOST the whole fleet.

    It ends what `holystone pause` with the same HOSTs began, whoever began it: a HOST that was paused by its
    name stays so when the fleet is resumed, which says by whom, and the other way round. Runs begin again
    when they are next due. This is no Celery task, but a note in Redis. To prune now with plain Celery:

    \b
      celery -A worker call tasks.prune_build_cache --kwargs '{"host": "build-01"}'
    """
    settings = read_settings()
    if hosts and everything:
        refuse("--all resumes every host: leave out HOST")
    try:
        named = check_hosts(settings, hosts)
    except UnknownHost as error:
        refuse(refusal(settings, error))
    try:
        with use_redis(settings) as client:
            pauses = Pauses(client)
            before = pauses.read()
            pauses.clear(None if everything else named or [ALL])
            left = pauses.read()
    except RedisTrouble as error:
        fail(str(error), error.status)
    now = time.time()
    lines = after_hosts(named, before, left, now) if named else after_fleet(settings.fleet, left, now)
    say("\n".join(lines), err=False)
