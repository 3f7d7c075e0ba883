"""What an engine's builder lists of its garbage collection; all else of an engine is in test_docker.py."""

from __future__ import annotations

import pytest

from tests.unit.captured import BUILDX_013, BUILDX_029, CLASSIC, inspected, read
from worker.engine import parse_engine

HEAD = "Name:   default\nDriver: docker\n\nNodes:\nName:     default\nEndpoint: default\n"


def rules(cli: str, said: str) -> int | None:
    return parse_engine(None, read(cli, "info.json"), read(cli, "context.json"), said).gc_rules


@pytest.mark.parametrize(("cli", "count"), [(CLASSIC, None), (BUILDX_013, 0), (BUILDX_029, 4)])
def test_the_rules_that_real_builders_list_are_counted(cli: str, count: int | None) -> None:
    said = inspected(cli)
    assert rules(cli, said.stdout or said.stderr) == count


def test_a_classic_builder_lists_no_rules_whatever_is_installed() -> None:
    assert rules(BUILDX_029, read(BUILDX_029, "builder_classic.stderr.txt")) is None


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        ("Status:   running\nPlatforms: linux/amd64\n", 0),
        ("Status:   running\r\nGC Policy rule#0:\r\n All: true\r\n", 1),
        ("Status:   running\nLabels:\n x: GC Policy rule#0:\n", 0),
        ("Status:   inactive\n", None),
        ("Error:    listing workers: failed to list workers\n", None),
        ("Error:    Status: running\n", None),
        ("", None),
    ],
)
def test_none_are_counted_only_where_the_engine_was_asked(lines: str, count: int | None) -> None:
    assert rules(BUILDX_013, HEAD + lines) == count
