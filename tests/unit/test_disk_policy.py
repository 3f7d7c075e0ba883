"""Disk pressure: what a look at a disk leads to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.disk_policy import (
    CACHE_EVERY_S,
    CACHE_USAGE,
    decide_alert,
    decide_asking_for_cache,
    decide_early_prune,
    parse_cache_usage,
)
from worker.docker import FileSystem
from worker.policies import DiskPolicy, PrunePolicy

DISK = DiskPolicy(True, 300, 85, 90, ("24h", "6h", "1h"))
PRUNE = PrunePolicy(True, 21_600, "24h", False, 120, 0)
NOW = 1_750_000_000.0


@pytest.mark.parametrize(
    ("size", "free", "percent"),
    [(1000, 150, 85.0), (1000, 0, 100.0), (1000, 1000, 0.0), (0, 0, None), (3, 1, 66.7)],
)
def test_what_docker_can_not_write_to_counts_as_used(size: int, free: int, percent: float | None) -> None:
    assert FileSystem("/", size, free).used_percent == percent


@pytest.mark.parametrize(
    ("percents", "alerts"),
    [
        ([84.9, 85.0, 90.0, 85.0], [None, True, None, None]),
        ([85.0, 84.9, 85.0, 82.1, 86.0, 84.0, 82.1], [True, None, None, None, None, None, None]),
        ([85.0, 82.0, 84.9, 82.0, 85.0], [True, False, None, None, True]),
        ([90.0, 10.0, 90.0], [True, False, True]),
        ([90.0, None, 90.0, None, 80.0], [True, None, None, None, False]),
        ([None, 80.0], [None, None]),
    ],
)
def test_a_disk_that_wobbles_around_its_mark_is_told_of_once(
    percents: list[float | None], alerts: list[bool | None]
) -> None:
    above, told = False, []
    for percent in percents:
        told.append(decide_alert(percent, 85, above))
        above = above if told[-1] is None else told[-1]
    assert told == alerts


@pytest.mark.parametrize(("percent", "wanted"), [(89.9, False), (90.0, True), (100.0, True), (None, False)])
def test_a_disk_at_its_mark_is_pruned_early(percent: float | None, wanted: bool) -> None:
    assert decide_early_prune(percent, DISK, PRUNE) is wanted


@pytest.mark.parametrize(
    ("last_ts", "wanted"),
    [
        (None, True),
        (NOW - CACHE_EVERY_S, True),
        (NOW - CACHE_EVERY_S + 0.1, False),
        (NOW, False),
        (NOW + 1, True),
    ],
)
def test_the_build_cache_is_asked_for_once_an_hour(last_ts: float | None, wanted: bool) -> None:
    assert decide_asking_for_cache(last_ts, NOW) is wanted


@pytest.mark.parametrize(
    ("disk", "prune"),
    [
        (replace(DISK, prune_percent=None), PRUNE),
        (replace(DISK, enabled=False), PRUNE),
        (replace(DISK, ladder=()), PRUNE),
        (DISK, replace(PRUNE, enabled=False)),
    ],
)
def test_nothing_is_pruned_early_where_that_is_not_wanted(disk: DiskPolicy, prune: PrunePolicy) -> None:
    assert decide_early_prune(100.0, disk, prune) is False


@pytest.mark.parametrize(
    ("stdout", "size"),
    [
        ("ID RECLAIMABLE SIZE\nabc true 5MB\nReclaimable:\t5MB\nTotal:\t\t49.21MB\n", 49_210_000),
        ("Total:\t0B\n", 0),
        ("Total:\tmuch\n", None),
        ("", None),
        ("Usage: docker builder COMMAND", None),
    ],
)
def test_the_size_of_the_build_cache_is_read_from_buildx(stdout: str, size: int | None) -> None:
    assert parse_cache_usage(stdout) == size


def test_asking_for_the_build_cache_changes_nothing_and_is_bounded() -> None:
    assert CACHE_USAGE == ("timeout", "-s", "KILL", "30", "docker", "builder", "du")
