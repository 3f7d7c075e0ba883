"""`holystone pause`: no run acts until a time, or until `holystone resume`."""

import getpass
import os
import socket
import time

import click

from tasks.cli.host_arguments import check_hosts, refusal
from tasks.cli.terminal import RedisTrouble, fail, one_line, read_settings, refuse, say, use_redis
from worker.ages import age_seconds
from worker.errors import UnknownHost
from worker.pause import ALL, Pause, Pauses

LONGEST_BY = 100


def make_pause(by: str | None, length: str | None, now: float) -> Pause:
    """Raises ValueError where `length` is not a time such as `30m` or `2h`, of at most 100 years."""
    who = one_line(by or _whoami())[:LONGEST_BY]
    try:
        return Pause(who, None if length is None else round(now + age_seconds(length)))
    except ValueError as error:
        text = f"{str(length)[:20]!r} is not a time such as 30m, 2h, 1d (at most 100 years)"
        raise ValueError(text) from error


def _whoami() -> str:
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a container's user need not be in its passwd
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("--for", "length", metavar="TIME", help="How long: 30m, 2h, 1d. [default: until resumed]")
@click.option("--by", metavar="WHO", help="Who pauses, for the reports. [default: user@machine]")
def pause(hosts: tuple[str, ...], length: str | None, by: str | None) -> None:
    """Pause HOSTs, or without HOST the whole fleet: their runs are skipped, by schedule and by hand.

    A prune that already runs goes on to its end. Pausing again replaces what was said before, be that longer
    or shorter. The fleet's pause and a HOST's own don't replace each other: the one that ends last holds the
    HOST back. `holystone resume` ends a pause. This is no Celery task, but a note in Redis. To see what runs
    now:

    \b
      celery -A worker inspect active
    """
    settings = read_settings()
    try:
        named = check_hosts(settings, hosts)
        wanted = make_pause(by, length, time.time())
    except UnknownHost as error:
        refuse(refusal(settings, error))
    except ValueError as error:
        refuse(f"--for: {error}")
    try:
        with use_redis(settings) as client:
            pauses = Pauses(client)
            before = pauses.read()
            pauses.set(named or [ALL], wanted)
    except RedisTrouble as error:
        fail(str(error), error.status)
    say(f"{', '.join(named) or 'all hosts'}: {wanted}", err=False)
    for name in named or [ALL]:
        replaced = before.get(name)
        if replaced and replaced.holds(time.time()):
            say(f"{'all hosts' if name == ALL else name}: was {one_line(replaced)}", err=False)
