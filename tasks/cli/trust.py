"""`holystone trust`: makes a host's key known to the worker and to ssh, after it was compared."""

import asyncio
import logging
import sys
from typing import TYPE_CHECKING

import click

from tasks.cli.host_arguments import refusal
from tasks.cli.terminal import fail, one_line, read_settings, refuse, say
from worker.errors import HolystoneError, UnknownHost
from worker.hosts import Host
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.host_key import HostKey

NO_TERMINAL = (
    "There is no terminal to ask on: compare the fingerprint on the host itself, then give it with "
    "--fingerprint SHA256:..."
)


def find_host(settings: Settings, name: str) -> Host:
    """The configured host that is called so, or a jump host on the way to one. Raises UnknownHost."""
    if name in settings.fleet:
        return settings.fleet[name].host
    from worker.ssh import find_route

    hosts = [configured.host for configured in settings.fleet.values() if not configured.host.is_local]
    seen = set(hosts)
    for host in hosts:  # and the jump hosts that are added on the way
        for jump in find_route(host, settings, client_keys=None).jumps:
            if jump.name == name:
                return jump
            if jump not in seen:
                seen.add(jump)
                hosts.append(jump)
    raise UnknownHost(name, list(settings.fleet))


def decide_refusal(host: str, key: "HostKey", fingerprint: str | None) -> str | None:
    """Why the key must not be added, or None."""
    from worker.known_hosts import KeyStatus

    shown = f"{host} shows {key.kind.upper()} {key.fingerprint}"
    if fingerprint is not None and key.fingerprint != fingerprint:
        return f"{shown}, not {fingerprint}: nothing was added. Find out who is right before you trust it"
    if key.status is KeyStatus.REVOKED:
        return f"{shown}, which is revoked in known_hosts: nothing was added. Give the host another key"
    if key.status is KeyStatus.CHANGED:
        return (
            f"{shown}, but is known by another key: nothing was added. If the host was not reinstalled this "
            f"may be an attack; else remove the old key first: {key.forget_command}"
        )
    if key.file is None:
        return (
            f"{shown}. ssh_config says UserKnownHostsFile none, so there is no file to add it to: name one "
            "with HOLYSTONE_SSH_KNOWN_HOSTS"
        )
    return None


def question(host: str, key: "HostKey") -> str:
    return (
        f"{host} ({key.name}) shows this key:\n"
        f"  {key.kind.upper()} {key.fingerprint}\n"
        "Log in to that host in another way, and compare it with what this prints there:\n"
        f"  {key.compare_command}\n"
        f"Trust it, and add it to {key.file}? Type yes in full"
    )


def _check_fingerprint(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    from worker.host_key import parse_fingerprint

    try:
        return parse_fingerprint(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("host")
@click.option(
    "--fingerprint",
    metavar="SHA256:...",
    callback=_check_fingerprint,
    help="Don't ask; add the key only if this is its fingerprint.",
)
def trust(host: str, fingerprint: str | None) -> None:
    """Fetch HOST's ssh key, show its fingerprint, ask, and add it to known_hosts.

    HOST is a configured host, or a jump host on the way to one. There is no login, and a key that is known
    already is never replaced. The file is the one that the worker reads: HOLYSTONE_SSH_KNOWN_HOSTS, else
    ssh_config's first UserKnownHostsFile, else ~/.ssh/known_hosts.
    """
    settings = read_settings()
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        found = find_host(settings, host)
    except UnknownHost as error:
        refuse(refusal(settings, error))
    except HolystoneError as error:
        fail(one_line(error))
    if found.is_local:
        refuse(f"{host} is this machine: it is reached without ssh, and needs no key")
    try:
        if fingerprint is None and not sys.stdin.isatty() and not _is_known(found, settings):
            refuse(NO_TERMINAL)
        _trust(found, settings, fingerprint)
    except HolystoneError as error:
        fail(one_line(error))
    except OSError as error:
        fail(one_line(f"{error.filename or 'known_hosts'} can't be written: {error.strerror or error}"))
    except (KeyboardInterrupt, click.Abort):
        click.echo()
        sys.exit(130)


def _is_known(host: Host, settings: Settings) -> bool:
    """Whether known_hosts holds any key of the host: there may be nothing to ask then. Contacts nobody."""
    from worker.known_hosts import match, name_of, read_files
    from worker.known_hosts_files import files_to_read
    from worker.ssh import find_route

    options = find_route(host, settings, client_keys=None).options
    try:
        files = [path for path in files_to_read(host, options, settings) if path.exists()]
        return bool(files and match(read_files(files), name_of(options))[0])
    except (OSError, ValueError):
        return True  # fetching the key says what is wrong


def _trust(host: Host, settings: Settings, fingerprint: str | None) -> None:
    from worker.host_key import fetch_host_key
    from worker.known_hosts import KeyStatus
    from worker.known_hosts_files import add_line

    key = asyncio.run(fetch_host_key(host, settings, fingerprint))
    if refusal := decide_refusal(host.name, key, fingerprint):
        fail(one_line(refusal))
    if key.status is KeyStatus.KNOWN:
        say(
            f"{host.name}: {key.kind.upper()} {key.fingerprint} is known already; nothing was added",
            err=False,
        )
        return
    assert key.file is not None
    if fingerprint is None:
        if not sys.stdin.isatty():
            refuse(NO_TERMINAL)
        say(question(host.name, key), err=False)
        if click.prompt("", default="", show_default=False, prompt_suffix="> ").strip() != "yes":
            fail("that was not yes: nothing was added")
    add_line(key.file, key.line)
    say(f"{host.name}: {key.kind.upper()} {key.fingerprint} was added to {key.file}", err=False)
