"""What `holystone demo` says: numbered steps on any terminal, plain text where there is none."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tasks.cli.terminal import open_console
from worker.sizes import format_size

_SHOWN = (
    "host",
    "outcome",
    "reclaimed_bytes",
    "duration_s",
    "trigger",
    "until",
    "complete",
    "passes",
    "disk",
)


@dataclass(frozen=True)
class Use:
    """What the engine holds at one moment, in `docker system df`'s words, and how full its disk is."""

    when: str
    images: str
    cache: str
    reclaimable: str
    disk_percent: int


class Narration:
    """Each method prints one thing; `step` also shows that something is going on."""

    def __init__(self) -> None:
        self._console = open_console()
        self._steps = 0

    def title(self, text: str) -> None:
        self._console.print(text, style="bold")

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        """A numbered headline, and a spinner until the step is over."""
        self._steps += 1
        self._console.print(Text.assemble((f"{self._steps}  ", "bold cyan"), (text, "bold")))
        with self._console.status("", spinner="dots"):
            yield

    def say(self, text: str, style: str = "") -> None:
        self._console.print(Padding(Text(text, style=style), (0, 0, 0, 3), expand=False))

    def command(self, text: str) -> None:
        self.say(f"$ {text}", "green")

    def use(self, use: Use) -> None:
        self.say(
            f"images {use.images}, build cache {use.cache} ({use.reclaimable} of it reclaimable), "
            f"disk {use.disk_percent} % full"
        )

    def report(self, report: dict[str, Any]) -> None:
        """The most telling part of a task's return value, as it stands there."""
        said = {key: report[key] for key in _SHOWN}
        self.say(json.dumps(said), "dim")

    def result(self, report: dict[str, Any]) -> None:
        self.say(result_line(report), "bold green")

    def table(self, uses: Sequence[Use]) -> None:
        """Before and after: one column per moment."""
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        table.add_column("")
        for use in uses:
            table.add_column(use.when, justify="right", header_style="cyan")
        table.add_row("   build cache", *(use.cache for use in uses))
        table.add_row("   disk", *(f"{use.disk_percent} % full" for use in uses))
        table.add_row("   images", *(use.images for use in uses))
        self._console.print(table)

    def failed(self, text: str) -> None:
        self._console.print(text, style="bold red")


def result_line(report: dict[str, Any]) -> str:
    """What a prune did, in a sentence (pure)."""
    if report["outcome"] != "done":
        return f"skipped: {report['reason']}"
    freed = f", the disk gained {format_size(report['disk']['freed_bytes'])}" if report["disk"] else ""
    passes = f"{report['passes']} pass{'es' if report['passes'] != 1 else ''}"
    return f"reclaimed {report['reclaimed']} in {passes} and {report['duration_s']} s{freed}"
