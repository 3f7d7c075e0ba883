"""`holystone gate`: prints the forced command that confines Holystone's key on a host."""

from collections.abc import Sequence
from pathlib import Path

import click

from tasks.cli.terminal import one_line, read_settings, refuse, say
from tasks.command_set import JOBS
from tasks.gate_file import GATE_FILE, INSTALLED_AS, authorized_keys_line, render_gate
from tasks.prune_arguments import ages_of
from worker.ages import age_seconds
from worker.policies import PRUNE_JOB, TABLE_OF
from worker.settings import Settings

_LONGEST_KEY_FILE = 64 * 1024


def enabled_jobs(settings: Settings) -> list[str]:
    """The jobs that are on for some configured host; where none is configured, those on by themselves."""
    if not settings.fleet:
        return [job for job in JOBS if getattr(settings, f"{TABLE_OF[job]}_enabled")]
    hosts = settings.fleet.values()
    return [job for job in JOBS if any(host.policy_of(job).enabled for host in hosts)]


def age_warnings(settings: Settings, min_age_s: int) -> list[str]:
    """A line for each age of a configured host that a gate with this minimum would deny."""
    asked = [
        (name, age)
        for name, host in settings.fleet.items()
        if not host.host.is_local
        for age in ages_of(host)
    ]
    return [
        f"{name} prunes what was unused for {age}, which this gate denies: raise that, or lower --min-age"
        for name, age in asked
        if age_seconds(age) < min_age_s
    ]


def hosts_with_all(settings: Settings) -> list[str]:
    """The configured hosts that are pruned with `--all` by ssh."""
    return [
        name
        for name, host in settings.fleet.items()
        if not host.host.is_local and host.prune.enabled and host.prune.all
    ]


def _check_age(_: click.Context, __: click.Parameter, value: str) -> int:
    try:
        return age_seconds(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _names(hosts: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(hosts) - shown} more" if len(hosts) > shown else ""
    return ", ".join(hosts[:shown]) + more


def _read_key(_: click.Context, __: click.Parameter, value: Path | None) -> str | None:
    if value is None:
        return None
    try:
        with value.expanduser().open("rb") as file:
            return authorized_keys_line(file.read(_LONGEST_KEY_FILE).decode())
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: ~ of a user who is not known
        why = error.strerror if isinstance(error, OSError) else error
        if isinstance(error, UnicodeDecodeError):
            why = "that is no public key file"
        raise click.BadParameter(f"{one_line(value)}: {why}") from error


@click.command()
@click.option(
    "--min-age",
    metavar="AGE",
    default="1h",
    show_default=True,
    callback=_check_age,
    help="Deny prunes of cache used more recently than this: 30m, 24h, 7d, 1w.",
)
@click.option(
    "--job",
    "jobs",
    multiple=True,
    type=click.Choice(list(JOBS)),
    help="A job to let in; can be given again.  [default: those that the settings enable]",
)
@click.option(
    "--allow-all",
    is_flag=True,
    help="Let in prunes with --all too.  [default: where the settings prune a host so]",
)
@click.option(
    "--authorized-keys",
    metavar="KEYFILE",
    type=click.Path(path_type=Path),
    callback=_read_key,
    help="Print the authorized_keys line for this public key instead.",
)
def gate(min_age: int, jobs: tuple[str, ...], allow_all: bool, authorized_keys: str | None) -> None:
    """Print the forced command that lets Holystone's key run Holystone's commands, and nothing else.

    \b
      holystone gate > holystone-gate        to be /usr/local/bin/holystone-gate on each host, mode 755
      holystone gate --authorized-keys ~/.ssh/id_ed25519.pub
                                             to be the key's line in the login's authorized_keys there
    """
    if authorized_keys is not None:
        click.echo(authorized_keys)
        return
    settings = read_settings()
    chosen = jobs or enabled_jobs(settings)
    if not chosen:
        refuse("every job is off in the settings; name those to let in with --job")
    with_all = hosts_with_all(settings)
    # Where no host is configured so far, the settings say how the first one will be pruned.
    allow_all = allow_all or bool(with_all) or (not settings.fleet and settings.prune_all)
    click.echo(render_gate(GATE_FILE.read_text("utf-8"), min_age, chosen, allow_all), nl=False)
    for warning in age_warnings(settings, min_age):
        say(f"warning: {warning}")
    if not jobs and (off := [job for job in JOBS if job not in chosen]):
        say(f"note: this gate does not let in {_names(off)}, off in the settings; --job names jobs to let in")
    if with_all and PRUNE_JOB in chosen:
        say(f"note: this gate lets in prunes with --all, as the settings have them for {_names(with_all)}")
    say(
        f"On each host, as root: put this in {INSTALLED_AS}, mode 755. Then put the line that "
        "`holystone gate --authorized-keys KEYFILE` prints in the place of the key's own in authorized_keys."
    )
