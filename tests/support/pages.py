"""The pages of the documentation, as tests read them."""

from __future__ import annotations

import re
from textwrap import dedent

from tests.support.paths import CHECKOUT

README = "README.md"
OPERATIONS = "docs/operations.md"


def read_page(path: str) -> str:
    return (CHECKOUT / path).read_text()


def section(path: str, heading: str) -> str:
    """What stands below a `## heading`, up to the next one."""
    (found,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", read_page(path), re.MULTILINE | re.DOTALL)
    return str(found)


def command_blocks(text: str) -> list[str]:
    """The fenced blocks that have no language: commands for a shell, as they are copied."""
    blocks = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [dedent(block) for _, language, block in blocks if not language]


def table_rows(text: str) -> list[list[str]]:
    """The cells of every table, without the lines of dashes; headings included."""
    lines = [line for line in text.splitlines() if line.startswith("|") and set(line) - set("|-: ")]
    return [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in lines]
