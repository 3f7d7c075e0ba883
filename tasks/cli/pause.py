"""`holystone pause`: no run acts until a time, or until `holystone resume`."""

import getpass
import os
import socket
import sys
import time

import click

from tasks.cli.naming import check_hosts, refuse
from tasks.cli.terminal import one_line, open_redis_now, redis_trouble, say
from worker.ages import age_seconds
from worker.errors import UnknownHost
from worker.pause import ALL, Pause, Pauses
from worker.settings import get_settings

LONGEST_BY = 100


def make_pause(by: str | None, length: str | None, now: float) -> Pause:
    """Raises ValueError where `length` is not an age such as `30m` or `2h`."""
    who = one_line(by or _whoami())[:LONGEST_BY]
    return Pause(who, None if length is None else round(now + age_seconds(length)))


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

    A prune that already runs goes on to its end. `holystone resume` ends a pause. Kept in Redis; no task
    stands behind it. What runs now, in plain celery:

    \b
      celery -A worker inspect active
    """
    import redis

    settings = get_settings()
    try:
        named = check_hosts(settings, hosts)
        wanted = make_pause(by, length, time.time())
    except UnknownHost as error:
        refuse(str(error))
    except ValueError as error:
        refuse(f"--for: {error}")
    try:
        with open_redis_now(settings) as client:
            Pauses(client).set(named or [ALL], wanted)
    except (redis.RedisError, OSError, ValueError) as error:
        say(redis_trouble(settings, error))
        sys.exit(1)
    say(f"{', '.join(named) or 'all hosts'}: {wanted}", err=False)
