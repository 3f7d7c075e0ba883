"""The `holystone` command: one verb per file, each imported only when it is used."""

import importlib
import io
import os
import sys
from typing import Any

try:
    import click
except KeyboardInterrupt:  # it takes longest to load; from then on `Verbs.main` answers
    sys.exit(130)

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
    """A group whose commands are imported when asked for, and whatever fails with them is one line."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        extra["standalone_mode"] = False  # errors come here, where they become one line
        if not standalone_mode:
            return super().main(*args, **extra)
        try:
            _open_streams()
            sys.exit(super().main(*args, **extra))
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            _say(_usage_text(error))
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(130)
        except OSError as error:  # a reader that has gone is click's
            _say(_system_text(error))
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


def _say(text: str) -> None:
    from tasks.cli.terminal import one_line, say

    say(one_line(text))


def _usage_text(error: click.ClickException) -> str:
    """What click says, and where a value is not all that is wrong, the help to look at."""
    text = error.format_message()
    is_value = isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter)
    if is_value or not isinstance(error, click.UsageError) or error.ctx is None:
        return text
    return f"{text}{'' if text.endswith(('.', '?')) else '.'} See `{error.ctx.command_path} --help`."


def _system_text(error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and not error.filename:  # of os.getcwd
        return "the current folder is gone: go to the one that holds your settings"
    # Without a file it is the output's mostly, as on a full disk.
    return f"{error.filename or 'standard output'}: {error.strerror or error}"


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
