"""What all verbs need to speak to a person: plain text, times, warnings, and Redis' answer without a wait."""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import click

from worker.text import printable

if TYPE_CHECKING:
    import redis
    from rich.console import Console

    from worker.settings import Settings

PATIENCE_S = 3  # for Redis to connect, and to answer; a person is waiting
PIPE_WIDTH = 1000  # no line is wrapped where a program reads it
_STRANGE = "what it holds can't be read; is that database Holystone's own?"
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


class RedisTrouble(Exception):
    """Redis can't be used; one line that says where it was looked for, without user and password.

    Where `is_url`, nothing was asked: HOLYSTONE_REDIS_URL can't be read. `status` is the command's exit
    status then and else.
    """

    def __init__(self, text: str, is_url: bool = False) -> None:
        super().__init__(text)
        self.is_url, self.status = is_url, 2 if is_url else 1


def open_console() -> "Console":
    """Standard output; text is shown as it is, whatever a host wrote into it."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(width=width, markup=False, highlight=False, emoji=False)


def one_line(text: object) -> str:
    """`text` on one line, without what would steer a terminal: parts of it were printed by hosts."""
    return printable(" ".join(str(text).split()))


def format_seconds(seconds: float) -> str:
    """A length of time in its largest unit: `45 s`, `12 min`, `2 h`, `3 d`."""
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds >= size), ("s", 1))
    return f"{int(seconds // size)} {unit}"


def ago(ts: float | None, now: float) -> str:
    """How long ago `ts` was; `never` for None."""
    return "never" if ts is None else f"{format_seconds(max(now - ts, 0))} ago"


def say(text: str, err: bool = True) -> None:
    """Prints `text`, by default on standard error; a terminal gets it wrapped between words."""
    if (sys.stderr if err else sys.stdout).isatty():
        width = shutil.get_terminal_size().columns
        text = "\n".join(
            textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
            for line in text.splitlines()
        )
    click.echo(text, err=err)


def fail(text: str, status: int = 1) -> NoReturn:
    """Says `text`, and ends the command with `status`."""
    say(text)
    sys.exit(status)


def refuse(text: str) -> NoReturn:
    """Ends the command for wrong arguments, before it did anything."""
    fail(text, 2)


def read_settings() -> "Settings":
    """The settings, after their warnings were said: for each verb that does not show them in its output."""
    from worker.settings import get_settings

    settings = get_settings()
    warn(settings.warnings)
    return settings


def warn(lines: Sequence[str], most: int = 5) -> None:
    """The first lines, on standard error."""
    for line in lines[:most]:
        say(f"warning: {one_line(line)}")
    if len(lines) > most:
        say(f"warning: and {len(lines) - most} more; `holystone hosts` shows all")


@contextmanager
def use_redis(settings: "Settings") -> Iterator["redis.Redis"]:
    """A client that answered a ping, and answers or fails within seconds.

    Raises RedisTrouble, also for what goes wrong with Redis, or with what it holds, in the body.
    """
    import redis

    from worker.redis_client import open_redis_at_once
    from worker.redis_url import UnusableUrl

    try:
        with open_redis_at_once(settings, PATIENCE_S) as client:
            client.ping()
            yield client
    except UnusableUrl as error:
        raise RedisTrouble(str(error), is_url=True) from None
    except (redis.RedisError, OSError, ValueError, TypeError) as error:  # the last two: of what is kept there
        raise RedisTrouble(redis_trouble(settings, error)) from error


def redis_trouble(settings: "Settings", error: Exception) -> str:
    """Why the Redis of a URL that check_url takes can't be used; no user or password is in it."""
    from redis import RedisError
    from redis.connection import parse_url

    place = parse_url(settings.redis_url.get_secret_value())  # type: ignore[no-untyped-call]
    where = f"{place.get('host', 'localhost')}:{place.get('port', 6379)}"
    said = error if isinstance(error, (RedisError, OSError)) else error.__cause__  # kombu wraps them
    why = one_line(said) if isinstance(said, (RedisError, OSError)) else _STRANGE
    why = re.sub(r"^Error -?\d+ connecting to \S+ ", "", why)
    return f"Redis at {where} (HOLYSTONE_REDIS_URL) can't be used: {why.rstrip('.')}"
