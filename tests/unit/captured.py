"""What real engines printed: see tests/data/README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from worker.shell import Completed

DATA = Path(__file__).parents[1] / "data"
CLASSIC, BUILDX_013, BUILDX_029 = "docker-20.10.24", "docker-26.1.5", "docker-28.5.2"
CLIS = (CLASSIC, BUILDX_013, BUILDX_029)


def read(folder: str, file: str) -> str:
    return (DATA / folder / file).read_text()


def inspected(folder: str) -> Completed:
    """`docker builder inspect`, which the classic builder does not know."""
    if folder == CLASSIC:
        return Completed((), 1, "", read(folder, "builder.stderr.txt"))
    return Completed((), 0, read(folder, "builder.txt"), "")


def facts(folder: str) -> dict[str, Any]:
    """`docker info` as a dictionary, to change."""
    return dict(json.loads(read(folder, "info.json")))
