"""`holystone up`: Redis, worker, beat and Flower on one machine, in one process tree."""

import os
import sys
from pathlib import Path

import click
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from tasks.cli.child import ChildEnded
from tasks.cli.host_arguments import NAME_A_HOST
from tasks.cli.interrupts import Interrupts
from tasks.cli.local_redis import NoRedis, is_listening, provide_redis
from tasks.cli.processes import WARM_S, ProcessTree
from tasks.cli.services import LOOPBACK, Services, told
from tasks.cli.terminal import fail, open_console, read_settings, refuse
from worker.redis_url import UnusableUrl, check_url, shown_url
from worker.settings import Settings

_COLOURS = {"redis": "red", "worker": "green", "beat": "yellow", "flower": "magenta"}


class _Port(click.IntRange):
    name = "port from 1 to 65535"  # click: 'abc' is not a valid ...


@click.command()
@click.option(
    "--flower-port",
    metavar="PORT",
    type=_Port(1, 65535),
    default=5555,
    show_default=True,
    help="Port of Flower's web page.",
)
def up(flower_port: int) -> None:
    """Run everything on this machine: Redis, worker, beat and Flower. Ctrl-C stops it.

    Redis is the one at HOLYSTONE_REDIS_URL; where nothing listens at a loopback address, one is started.

    \b
    The same by hand, each in a terminal:
      redis-server
      celery -A worker worker --loglevel=INFO
      celery -A worker beat
      celery -A worker flower --address=127.0.0.1 --conf=worker/flowerconfig.py
    """
    console = open_console()
    settings = read_settings()
    try:
        check_url(settings.redis_url.get_secret_value())
    except UnusableUrl as error:
        refuse(str(error))
    if is_listening(LOOPBACK, flower_port):
        fail(f"port {flower_port} is taken; choose another with --flower-port")
    with Interrupts() as interrupts:
        tree = ProcessTree(interrupts)
        try:
            with tree:
                try:
                    _run(tree, settings, flower_port, console)
                finally:
                    interrupts.begin_cleanup()
                    console.print(
                        f"stopping; runs that go on have {WARM_S} s (Ctrl-C again: at once)", style="dim"
                    )
        except KeyboardInterrupt:
            console.print("stopped: nothing is left running")
        except (NoRedis, TimeoutError, OSError) as error:
            fail(str(error))
        except ChildEnded as error:
            click.echo(told(error), err=True)
            sys.exit(1)


def _run(tree: ProcessTree, settings: Settings, flower_port: int, console: Console) -> None:
    showing = False  # starting and stopping are talkative; what matters of them is told by `told`

    def sink(name: str, line: str) -> None:
        if showing and line.strip():
            console.print(Text.assemble((f"{name:6} | ", _COLOURS[name]), line), soft_wrap=True)

    redis_url = settings.redis_url.get_secret_value()
    services = Services(tree, os.environ, Path.cwd(), sink)
    with console.status("starting Redis, worker and Flower"):
        redis = provide_redis(redis_url, tree, sink)
        services.start_worker_and_flower(flower_port)
    console.print(summary(settings, f"{shown_url(redis_url)} ({redis})", flower_port))
    showing = True
    services.start_beat()  # last: it sends the first runs at once, and they are to be seen
    try:
        tree.wait_for_end()
    finally:
        showing = False


def summary(settings: Settings, redis: str, flower_port: int) -> Group:
    """What runs where (pure)."""
    hosts = [
        f"{name}: every {host.prune.interval_s} s, cache unused for {host.prune.until}"
        if host.prune.enabled
        else f"{name}: pruning is off"
        for name, host in settings.fleet.items()
    ]
    rows = [
        ("redis", redis),
        ("worker", "by hand: celery -A worker call tasks.prune_build_cache, or holystone prune"),
        ("beat", "sends each host's run when it is due"),
        ("flower", f"http://{LOOPBACK}:{flower_port} (this machine only)"),
        *(("host", line) for line in hosts or [f"{NAME_A_HOST} Then start again."]),
    ]
    table = Table.grid(padding=(0, 1, 0, 2))
    for label, value in rows:
        table.add_row(Text(label, style="cyan"), Text(value))
    return Group(Text("Holystone is up; Ctrl-C stops it", style="bold"), table, Text())
