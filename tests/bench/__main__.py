"""Measures what is asked for (default: all), and prints one table."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.bench import many_hosts, memory, one_prune, schedule
from tests.bench.figures import Row, missing, show
from tests.support.redis_server import find_redis_server

FIGURES: dict[str, tuple[str, Callable[[Path], Iterator[Row]]]] = {
    "a": (one_prune.TITLE, one_prune.measure),
    "b": (many_hosts.TITLE, many_hosts.measure),
    "c": (memory.TITLE, memory.measure),
    "d": (schedule.TITLE, schedule.measure),
}
_PACKAGES = ("celery", "kombu", "redis", "celery-redbeat", "asyncssh", "flower")


def main() -> None:
    wanted = sys.argv[1:] or list(FIGURES)
    if unknown := [letter for letter in wanted if letter not in FIGURES]:
        sys.exit(f"no figure {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    rows: list[Row] = []
    for letter in wanted:
        title, measure = FIGURES[letter]
        print(f"measuring {title} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="holystone-bench-") as folder:
            rows += rows_of(title, measure, Path(folder))
    show(rows, versions())


def rows_of(title: str, measure: Callable[[Path], Iterator[Row]], folder: Path) -> list[Row]:
    """The lines of one figure; one that can't be measured must not cost the others."""
    rows: list[Row] = []
    try:
        rows.extend(measure(folder))
    except (pytest.skip.Exception, pytest.fail.Exception) as unmet:
        rows += missing(title, str(unmet))
    except (AssertionError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"{title}: {error}", file=sys.stderr)
        rows += missing(title, (str(error).splitlines() or [type(error).__name__])[0])
    return rows


def versions() -> list[str]:
    """What was compared, and on what."""
    return [
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in _PACKAGES),
        *(
            first_line(command, *options)
            for command, *options in (
                (find_redis_server(), "--version"),
                (shutil.which("ssh"), "-V"),
                (shutil.which("parallel-ssh") or shutil.which("pssh"), "--version"),
                (shutil.which("ansible"), "--version"),
            )
        ),
    ]


def first_line(command: str | None, option: str) -> str:
    """What a program says of its version, or nothing where it is missing."""
    if command is None:
        return ""
    done = subprocess.run([command, option], capture_output=True, text=True, check=False, timeout=30)
    return f"{Path(command).name}: {(done.stdout + done.stderr).splitlines()[0]}"


if __name__ == "__main__":
    main()
