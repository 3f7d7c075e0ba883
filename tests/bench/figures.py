"""What a figure is, how repeated measurements become one, and the table at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Timing:
    """Repeated measurements of one thing, in seconds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.seconds)

    def __str__(self) -> str:
        """`0.141 s (0.130-0.162)`: the median, and how far the runs lay apart."""
        if len(self.seconds) == 1:
            return f"{self.median:.3g} s"
        return f"{self.median:.3g} s ({min(self.seconds):.3g}-{max(self.seconds):.3g})"


@dataclass(frozen=True)
class Row:
    """One line of the table. `value` is what `goal` is held against: the most that it may be."""

    figure: str
    ours: str
    other: str = ""
    value: float | None = None
    goal: float | None = None
    unit: str = "x"

    @property
    def verdict(self) -> str:
        if self.goal is None or self.value is None:
            return ""
        return "met" if self.value <= self.goal else "missed"


def compared(figure: str, ours: Timing, name: str, other: Timing | None, goal: float) -> Row:
    """Ours over the other's, by their medians; `other` is None where it could not be measured."""
    if other is None:
        return Row(figure, str(ours), f"{name}: not installed", None, goal)
    return Row(figure, str(ours), f"{name} {other}", ours.median / other.median, goal)


def missing(figure: str, why: str) -> list[Row]:
    """The table's line for a figure that can't be measured here."""
    return [Row(figure, f"not measured: {why}")]


def timed(act: Callable[[], object]) -> float:
    """Seconds that `act` takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def interleaved(acts: Sequence[Callable[[], float]], rounds: int) -> list[Timing]:
    """Each of `acts` once per round, in turn: what else the machine does meets all of them alike.

    Every act does its own timing, so that setting up and clearing away don't count.
    """
    taken = [[act() for act in acts] for _ in range(rounds)]
    return [Timing(tuple(column)) for column in zip(*taken, strict=True)]


def show(rows: Sequence[Row], versions: Sequence[str]) -> None:
    """Print the table, and what was compared."""
    table = Table(
        "figure", "Holystone", "beside", "ratio", "goal", "", title="make bench", title_justify="left"
    )
    for row in rows:
        table.add_row(row.figure, row.ours, row.other, _number(row.value, row), _goal(row), row.verdict)
    console = Console(markup=False, highlight=False)
    console.width = max(console.width, 140)  # a log must not wrap it
    console.print(table)
    console.print("Medians; in brackets the fastest and the slowest run.")
    console.print("; ".join(filter(None, versions)))


def _goal(row: Row) -> str:
    return "" if row.goal is None else f"<= {_number(row.goal, row)}"


def _number(value: float | None, row: Row) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if row.unit == "x" else f"{value:.0f} {row.unit}"
