"""`holystone up`: Redis, worker, beat and Flower on one machine, in one process tree."""

import http.client
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from tasks.cli.interrupts import Interrupts
from tasks.cli.local_redis import NoRedis, is_listening, provide_redis, shown_url
from tasks.cli.processes import WARM_S, Child, ChildEnded, ProcessTree, Sink
from tasks.cli.terminal import open_console
from worker.settings import Settings, load_settings

CHECKOUT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
NO_HOSTS = "none yet: name one with HOLYSTONE_HOSTS=ssh://user@host and start again"
_READY_S = 90
_COLOURS = {"redis": "red", "worker": "green", "beat": "yellow", "flower": "magenta"}


@click.command()
@click.option("--flower-port", type=click.IntRange(1, 65535), default=5555, show_default=True)
def up(flower_port: int) -> None:
    """Run everything on this machine: Redis, worker, beat and Flower. Ctrl-C stops it.

    Redis is the one at HOLYSTONE_REDIS_URL; where nothing listens at a loopback address, one is started.

    \b
    The same by hand, each in a terminal:
      redis-server
      celery -A worker worker --loglevel=INFO
      celery -A worker beat
      celery -A worker flower --address=127.0.0.1
    """
    console = open_console()
    settings = load_settings(Path.cwd())
    if is_listening(LOOPBACK, flower_port):
        raise click.ClickException(f"port {flower_port} is taken; choose another with --flower-port")
    with Interrupts() as interrupts:
        tree = ProcessTree(interrupts.again)
        try:
            with tree:
                try:
                    _run(tree, settings, flower_port, console)
                finally:
                    interrupts.done()
                    console.print(
                        f"stopping; runs that go on have {WARM_S} s (Ctrl-C again: at once)", style="dim"
                    )
        except KeyboardInterrupt:
            console.print("stopped: nothing is left running")
        except (NoRedis, TimeoutError, OSError) as error:
            raise click.ClickException(str(error)) from error
        except ChildEnded as error:
            click.echo(told(error), err=True)
            sys.exit(1)


def _run(tree: ProcessTree, settings: Settings, flower_port: int, console: Console) -> None:
    showing = False  # starting and stopping are talkative; what matters of them is told by `told`

    def sink(name: str, line: str) -> None:
        if showing and line.strip():
            console.print(Text.assemble((f"{name:6} | ", _COLOURS[name]), line), soft_wrap=True)

    redis_url = settings.redis_url.get_secret_value()
    env, cwd = python_env(os.environ), Path.cwd()
    with console.status("starting Redis, worker and Flower"):
        redis = provide_redis(redis_url, tree, sink)
        worker = start_worker(tree, env, cwd, sink)
        start_flower(tree, env, cwd, sink, flower_port)
        tree.wait_for(worker.said_ready.is_set, _READY_S, "the worker is ready")
        tree.wait_for(lambda: flower_answers(flower_port), _READY_S, "Flower answers")
    console.print(summary(settings, f"{shown_url(redis_url)} ({redis})", flower_port))
    showing = True
    start_beat(tree, env, cwd, sink)  # last: it sends the first runs at once, and they are to be seen
    try:
        tree.wait_for(lambda: False, float("inf"), "")
    finally:
        showing = False


def summary(settings: Settings, redis: str, flower_port: int) -> Group:
    """What runs where, and what the operator should know about the settings (pure)."""
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
        *(("host", line) for line in hosts or [NO_HOSTS]),
        *(("warning", line) for line in settings.warnings),  # these name the hosts left out, too
    ]
    table = Table.grid(padding=(0, 1, 0, 2))
    for label, value in rows:
        table.add_row(Text(label, style="yellow" if label == "warning" else "cyan"), Text(value))
    return Group(Text("Holystone is up; Ctrl-C stops it", style="bold"), table, Text())


def told(error: ChildEnded) -> str:
    """Which child ended, and its last words."""
    lines = "".join(f"\n  {line}" for line in error.child.last_lines)
    return f"Error: {error}; its last lines:{lines}" if lines else f"Error: {error} without a word"


def python_env(base: Mapping[str, str]) -> dict[str, str]:
    """`base`, with the checkout importable from any folder, and output that is not held back."""
    paths = os.pathsep.join(filter(None, [str(CHECKOUT), base.get("PYTHONPATH")]))
    return {**base, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}


def start_worker(tree: ProcessTree, env: Mapping[str, str], cwd: Path, sink: Sink) -> Child:
    return tree.start(
        "worker",
        _celery("--quiet", "-A", "worker", "worker", "--loglevel=INFO"),
        env=env,
        cwd=cwd,
        sink=sink,
        ready=" ready.",
    )


def start_beat(tree: ProcessTree, env: Mapping[str, str], cwd: Path, sink: Sink) -> Child:
    return tree.start(
        "beat",
        _celery("--quiet", "-A", "worker", "beat", "--loglevel=INFO"),
        env=env,
        cwd=cwd,
        sink=sink,
    )


def start_flower(tree: ProcessTree, env: Mapping[str, str], cwd: Path, sink: Sink, port: int) -> Child:
    # Loopback only, and so without a password.
    return tree.start(
        "flower",
        _celery("-A", "worker", "flower", f"--address={LOOPBACK}", f"--port={port}", "--logging=warning"),
        env=env,
        cwd=cwd,
        sink=sink,
    )


def flower_answers(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", "/healthcheck")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _celery(*args: str) -> list[str]:
    return [sys.executable, "-m", "celery", *args]
