"""The hosts that are named on the command line."""

from collections.abc import Sequence

from worker.errors import UnknownHost
from worker.settings import Settings

NAME_A_HOST = (
    'No host is configured. Name one: HOLYSTONE_HOSTS=ssh://user@build-01 (or "local"), in the environment, '
    "in .env, or as [hosts.build-01] in holystone.toml."
)


def check_hosts(settings: Settings, named: Sequence[str]) -> list[str]:
    """The configured hosts that are named, each once. Raises UnknownHost."""
    for name in named:
        if name not in settings.fleet:
            raise UnknownHost(name, list(settings.fleet))
    return list(dict.fromkeys(named))


def refusal(settings: Settings, error: UnknownHost) -> str:
    """What is said of a host that is not configured."""
    return str(error) if settings.fleet else NAME_A_HOST
