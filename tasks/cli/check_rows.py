"""What `holystone check` prints: a line per check, JSON, a table, and how many hosts are how well (pure)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tasks.cli.terminal import one_line

if TYPE_CHECKING:
    from rich.table import Table

    from tasks.check_findings import Check

SERVICES = "services"
_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


@dataclass(frozen=True)
class Checked:
    """The checks of one host; `host` is None for settings, Redis, worker, beat and notifications."""

    host: str | None
    checks: Sequence["Check"]


def to_json(checked: Sequence[Checked]) -> list[dict[str, Any]]:
    return [{"host": each.host, "checks": [asdict(check) for check in each.checks]} for each in checked]


def has_error(checked: Sequence[Checked]) -> bool:
    return any(check.status == "error" for each in checked for check in each.checks)


def summary(checked: Sequence[Checked]) -> str:
    """How many hosts are how well."""
    worst = Counter(_worst(each.checks) for each in checked if each.host is not None)
    said = {"ok": "ok", "warning": "with warnings", "error": "with errors"}
    return ", ".join(f"{count_hosts(worst[status])} {said[status]}" for status in said if worst[status])


def _worst(checks: Sequence["Check"]) -> str:
    return max((check.status for check in checks), key=list(_STYLES).index, default="ok")


def count_hosts(number: int) -> str:
    return f"{number} host{'' if number == 1 else 's'}"


def plain_lines(checked: Sequence[Checked]) -> list[str]:
    """One line per check, for a pipe."""
    return [
        one_line(
            f"{each.host or SERVICES}: {check.status}: {_shown(check)}: {_text(check)}"
            + (f" -> {check.remedy}" if check.remedy else "")
        )
        for each in checked
        for check in each.checks
    ]


def _text(check: "Check") -> str:
    """Without the arrow that stands before remedies: what a host said must not pass for one."""
    return one_line(check.text).replace("->", "=>")


def _shown(check: "Check") -> str:
    return check.name.replace("_", " ")


def make_table(checks: Sequence["Check"]) -> "Table":
    """The checks of one host, for a terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=len("  warning"))
    table.add_column(no_wrap=True, min_width=len("garbage collection"))  # the same for all hosts
    table.add_column(overflow="fold")
    for check in checks:
        style = _STYLES[check.status]
        table.add_row(Text(f"  {check.status}", style), Text(_shown(check)), Text(_text(check)))
        if check.remedy:
            table.add_row("", "", Text(f"-> {one_line(check.remedy)}", "cyan"))
    return table
