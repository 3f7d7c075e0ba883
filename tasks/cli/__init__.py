"""The `holystone` command: one verb per file, each imported only when it is used."""

import importlib
import io
import os
import sys
from typing import Any

import click

# Name -> what it does. Each is `tasks.cli.<name>:<name>`; written here so that --help imports none of them.
VERBS = {
    "prune": "Prune build caches now, and follow the runs.",
    "hosts": "Show each host: its settings, last runs, and when it is due.",
    "check": "Check each host for what a prune needs, and say how to fix what is wrong.",
    "trust": "Add a host's ssh key to known_hosts after you compared its fingerprint.",
    "pause": "Hold back all runs, or those of some hosts.",
    "resume": "End a pause.",
    "gate": "Print the forced command that confines Holystone's key on a host.",
    "up": "Run Redis, worker, beat and Flower on this machine.",
    "demo": "Prune a real, throw-away Docker host over ssh.",
}


class Verbs(click.Group):
    """A group whose commands are imported when asked for, and whose output may fail without a traceback."""

    def main(self, *args: Any, **extra: Any) -> Any:
        _open_streams()
        try:
            return super().main(*args, **extra)
        except OSError as error:  # mostly of the output, as on a full disk; a reader that has gone is click's
            click.echo(f"{error.filename or 'standard output'}: {error.strerror or error}", err=True)
            sys.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(importlib.import_module(f"{__name__}.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


def _open_streams() -> None:
    """What was closed (`>&-`) becomes /dev/null, and a letter that standard output can't show becomes `?`."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version("holystone")
    except PackageNotFoundError:  # a checkout on the import path
        number = "(not installed: version unknown)"
    click.echo(f"holystone {number}")
    ctx.exit()


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Keeps Docker hosts' disks clean.

    Settings come from HOLYSTONE_ variables, and from .env and holystone.toml in the current folder.
    """
