"""Hosts that are named on the command line, and what is said where they make no sense."""

import sys
from collections.abc import Sequence
from typing import NoReturn

from tasks.cli.terminal import say
from worker.errors import UnknownHost
from worker.settings import Settings


def check_hosts(settings: Settings, named: Sequence[str]) -> list[str]:
    """The configured hosts that are named, each once. Raises UnknownHost."""
    for name in named:
        if name not in settings.fleet:
            raise UnknownHost(name, list(settings.fleet))
    return list(dict.fromkeys(named))


def refuse(text: str) -> NoReturn:
    say(text)
    sys.exit(2)
