"""The text of holystone-gate for some jobs, and the authorized_keys line of a key that it confines (pure)."""

import re
import shlex
from collections.abc import Collection
from pathlib import Path

import asyncssh

from tasks.command_set import HOLES, JOBS, PRUNE_ALL, Template, templates_of
from worker.errors import GateDenied
from worker.gate import COMMAND_SET_VERSION

GATE_FILE = Path(__file__).parent.parent / "hostside" / "holystone-gate"  # in a checkout and in site-packages
INSTALLED_AS = "/usr/local/bin/holystone-gate"

_HOLE = re.compile("|".join(HOLES))


def render_gate(file: str, min_age_s: int, jobs: Collection[str], allow_all: bool) -> str:
    """The text of GATE_FILE with the commands of `jobs`, and `min_age_s` seconds as the minimum age.

    Prunes with `--all` are in it only with `allow_all`.
    """
    chosen = [job for job in JOBS if job in jobs]
    templates = templates_of(chosen)
    settings = {
        "set_version": COMMAND_SET_VERSION,
        "jobs": ",".join(chosen),
        "min_age_s": min_age_s,
        "all": "yes" if allow_all and PRUNE_ALL in templates else "no",
    }
    arms = [
        render_denial(each, GateDenied.NO_ALL) if each == PRUNE_ALL and not allow_all else render_arm(each)
        for each in templates
    ]
    file = _replace_part(file, "settings", "".join(f"{name}={settings[name]}\n" for name in settings))
    return _replace_part(file, "commands", "".join(arms))


def _replace_part(file: str, part: str, text: str) -> str:
    ends = re.compile(rf"^( *# begin {part}\n).*^( *# end {part}\n)", re.MULTILINE | re.DOTALL)
    return ends.sub(lambda found: found[1] + text + found[2], file)


def render_arm(template: Template) -> str:
    """The arm of the gate's `case` that lets in, and runs, what `template` describes."""
    command, literals = shlex.join(template), _literals(template)
    kinds = [marker.strip("@") for marker in _HOLE.findall(command)]
    if not kinds:
        return f"  {literals[0]})\n    run {command} ;;\n"
    names = [f"hole_{number}" for number in range(1, len(kinds))] + ["hole"]
    lines = [" ".join(filter(None, ("between", literals[0], literals[-1])))]
    for name, literal in zip(names, literals[1:-1], strict=False):
        lines += [f"{name}=${{hole%%{literal}*}}", f"hole=${{hole#*{literal}}}"]
    lines += [f'check_{kind} "${name}"' for kind, name in zip(kinds, names, strict=True)]
    variables = iter(names)
    lines += ["run " + _HOLE.sub(lambda _: f'"${next(variables)}"', command) + " ;;"]
    return f"  {'*'.join(literals)})\n" + "".join(f"    {line}\n" for line in lines)


def render_denial(template: Template, reason: str) -> str:
    """The arm that denies what `template` describes for a reason of its own."""
    return f"  {'*'.join(_literals(template))})\n    deny '{reason}' ;;\n"


def _literals(template: Template) -> list[str]:
    """What stands before, between and behind the holes, each in sh's double quotes."""
    command = shlex.join(template)
    if re.search(r'["$`\\\n]', command):
        raise ValueError(f"not to be written between sh's double quotes: {command}")
    return [f'"{literal}"' if literal else "" for literal in _HOLE.split(command)]


def authorized_keys_line(text: str) -> str:
    """The line that confines the key in `text`, a public key file's. Raises ValueError where it isn't one."""
    if "PRIVATE KEY" in text:
        raise ValueError("that is a private key, which stays where it is; name its public half, KEYFILE.pub")
    no_key = ValueError("that is no public key file, which holds one line: ssh-ed25519 AAAA... comment")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) != 1 or not lines[0].startswith(("ssh-", "ecdsa-", "sk-")) or not lines[0].isprintable():
        raise no_key
    try:
        key = asyncssh.import_public_key(lines[0])
    except ValueError as error:
        raise no_key from error
    return f'restrict,command="{INSTALLED_AS}" {key.export_public_key().decode().strip()}'
