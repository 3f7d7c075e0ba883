"""The report's parts."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pytest

from tasks.prune_report import (
    disk_facts,
    engine_facts,
    preview_facts,
    size_text,
    skipped_without_host,
    sum_reclaimed,
)
from worker.docker import CacheRecord, FileSystem, Pruned
from worker.engine import Engine

NOW = datetime(2026, 6, 9, 16, 55, tzinfo=UTC)


def _record(size: int, used: datetime | None) -> CacheRecord:
    return CacheRecord("id", (), "regular", size, used, False, False)


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        ([], None),
        ([None], None),
        ([None, None], None),
        ([0], 0),
        ([5, 0], 5),
        ([5, None], 5),
        ([None, 0], 0),
        ([5, 6, 7], 18),
    ],
)
def test_sum_reclaimed_is_unknown_only_where_nothing_could_be_read(
    totals: list[int | None], expected: int | None
) -> None:
    assert sum_reclaimed([Pruned(total, 1) for total in totals]) == expected


def test_size_text_of_the_unknown_is_none() -> None:
    assert (size_text(None), size_text(0), size_text(49_210_000)) == (None, "0B", "49.21MB")


@pytest.mark.parametrize(("free_after", "freed"), [(700, 300), (400, 0), (100, -300)])
def test_disk_facts_say_what_the_file_system_gained_or_lost(free_after: int, freed: int) -> None:
    assert disk_facts(FileSystem("/data", 1000, 400), FileSystem("/data", 1000, free_after)) == {
        "path": "/data",
        "size_bytes": 1000,
        "free_before_bytes": 400,
        "free_after_bytes": free_after,
        "freed_bytes": freed,
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, None), (FileSystem("/", 1, 1), None), (None, FileSystem("/", 1, 1))],
)
def test_disk_facts_are_none_where_df_could_not_say_both(
    before: FileSystem | None, after: FileSystem | None
) -> None:
    assert disk_facts(before, after) is None


def test_engine_facts() -> None:
    engine = Engine("engine-id", "26.1.5", None, "classic", "/var/lib/docker", NOW)
    assert engine_facts(engine) == {
        "id": "engine-id",
        "server": "26.1.5",
        "client": None,
        "builder": "classic",
    }
    assert engine_facts(None) is None


def test_preview_facts_say_how_much_and_how_old() -> None:
    records = [_record(1_000_000, NOW), _record(2_500_000, NOW - timedelta(days=2)), _record(1, None)]
    assert preview_facts(records) == {
        "would_reclaim": "3.5MB",
        "would_reclaim_bytes": 3_500_001,
        "records": 3,
        "oldest_use": "2026-06-07T16:55:00Z",
        "newest_use": "2026-06-09T16:55:00Z",
    }


@pytest.mark.parametrize("records", [[], [_record(0, None)]])
def test_preview_facts_of_nothing(records: list[CacheRecord]) -> None:
    facts = preview_facts(records)
    assert facts["would_reclaim_bytes"] == 0
    assert facts["would_reclaim"] == "0B"
    assert facts["oldest_use"] is None
    assert facts["newest_use"] is None


def test_skipped_without_host_says_so_and_nothing_else() -> None:
    report = asdict(skipped_without_host("no host configured", "2026-06-09T16:55:00Z"))
    assert (report["host"], report["outcome"], report["reason"]) == (None, "skipped", "no host configured")
    assert report["reclaimed_bytes"] is None
    assert json.loads(json.dumps(report)) == report
