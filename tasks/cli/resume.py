"""`holystone resume`: ends what `holystone pause` began."""

import sys
import time

import click

from tasks.cli.naming import check_hosts, refuse
from tasks.cli.terminal import open_redis_now, redis_trouble, say
from worker.errors import UnknownHost
from worker.pause import Pauses, find_pause
from worker.settings import get_settings


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
def resume(hosts: tuple[str, ...]) -> None:
    """Resume HOSTs, or without HOST the whole fleet: every pause ends, those of single hosts too.

    Runs begin again when they are next due. Kept in Redis; no task stands behind it. A run now, in plain
    celery:

    \b
      celery -A worker call tasks.prune_build_cache --kwargs '{"host": "build-01"}'
    """
    import redis

    settings = get_settings()
    try:
        named = check_hosts(settings, hosts)
    except UnknownHost as error:
        refuse(str(error))
    try:
        with open_redis_now(settings) as client:
            pauses = Pauses(client)
            pauses.clear(named or None)
            left = pauses.read()
    except (redis.RedisError, OSError, ValueError) as error:
        say(redis_trouble(settings, error))
        sys.exit(1)
    for host in named or ["all hosts"]:
        fleet_pause = find_pause(left, host, time.time())
        text = f"still {fleet_pause}; `holystone resume` without HOST ends that" if fleet_pause else "resumed"
        say(f"{host}: {text}", err=False)
