"""Parses the answers of holystone-gate, a host's forced command (hostside/holystone-gate) (pure)."""

import re
from dataclasses import dataclass

from worker.errors import GateDenied

# Version of the commands that the jobs send: raise it with every change to them (tests/unit/test_gate.py).
COMMAND_SET_VERSION = 1
EXIT_DENIED = 77
VERSION_ARGV = ("holystone-gate", "version")

_FACTS = (
    r"(?P<version>[0-9]{1,9}) jobs=(?P<jobs>[a-z_,]{0,500}) min_age_s=(?P<min_age_s>[0-9]{1,18})"
    r"(?: all=(?P<all>yes|no))?"
)
_VERSION = re.compile(rf"^holystone-gate {_FACTS}(?: .*)?$", re.ASCII | re.MULTILINE)
# Anywhere in stderr: the login shell's startup files may print before it.
_DENIED = re.compile(r"^holystone-gate: denied\b.*$", re.MULTILINE)
_DETAILS = re.compile(
    rf"holystone-gate: denied: (?P<reason>[a-z ]{{1,100}}) \({_FACTS}(?: [^)]*)?\)", re.ASCII
)


@dataclass(frozen=True)
class Gate:
    """A gate on a host: the version of its command set, the jobs that it lets in, its minimum age.

    `all` is whether it lets in prunes with `--all`; the first gates, which don't say so, do.
    """

    version: int
    jobs: tuple[str, ...]
    min_age_s: int
    all: bool


def parse_gate_version(stdout: str) -> Gate | None:
    """What `holystone-gate version` printed, or None where that is no gate's answer."""
    match = _VERSION.search(stdout)
    return _gate(match) if match else None


def parse_denial(host: str, command: str, exit_status: int | None, stderr: str) -> GateDenied | None:
    """The error to raise where the gate of `host` has denied `command`, else None."""
    line = _DENIED.search(stderr) if exit_status == EXIT_DENIED else None
    if line is None:
        return None
    details = _DETAILS.fullmatch(line[0].rstrip())
    if details is None:
        return GateDenied(host, command, "no readable reason", None, None, COMMAND_SET_VERSION)
    gate = _gate(details)
    min_age_s = gate.min_age_s if details["reason"] == GateDenied.BELOW_MIN_AGE else None
    return GateDenied(host, command, details["reason"], min_age_s, gate.version, COMMAND_SET_VERSION)


def _gate(match: re.Match[str]) -> Gate:
    jobs = tuple(filter(None, match["jobs"].split(",")))
    return Gate(int(match["version"]), jobs, int(match["min_age_s"]), match["all"] != "no")
