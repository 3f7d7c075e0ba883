"""What `holystone check` makes of what it learned on a host."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.check_findings import (
    Check,
    judge_cache,
    judge_clock,
    judge_disk,
    judge_notifications,
    judge_other_builders,
)
from worker.builders import OtherCache
from worker.docker import CacheRecord, FileSystem
from worker.errors import GateDenied

NOW = datetime(2026, 6, 9, 12, tzinfo=UTC)


def test_other_builders_caches_are_a_warning_the_largest_first() -> None:
    caches = [OtherCache("a", 3_100_000), OtherCache("b", 7 * 10**9)]
    check = judge_other_builders(caches, ["fresh"])
    assert check.status == "warning"
    assert check.text == "caches that no prune covers: b 7GB, a 3.1MB; fresh has no cache so far"
    assert "docker buildx prune --builder" in str(check.remedy)


def test_a_cache_whose_size_was_not_read_is_a_warning_and_an_empty_one_is_not() -> None:
    unread = judge_other_builders([OtherCache("a", None)], [], ["sizes not read: late"])
    assert unread.status == "warning"
    assert unread.text == "caches that no prune covers: a (size not read); sizes not read: late"
    assert judge_other_builders([OtherCache("a", 0)], []).status == "ok"


def test_builders_that_the_gate_hides_are_no_failure() -> None:
    check = judge_other_builders([], [], ["builders not listed: the gate doesn't allow it"])
    assert check == Check("other_builders", "ok", "none seen; builders not listed: the gate doesn't allow it")


def test_what_was_not_looked_at_is_not_said_to_be_none() -> None:
    assert judge_other_builders([], []).text == "none with a cache here"
    both = judge_other_builders([], [], ["sizes not read: late", "builders not listed: late"])
    assert both.text == "not read; sizes not read: late; builders not listed: late"


def test_of_very_many_builders_the_largest_are_shown_and_the_others_counted() -> None:
    caches = [OtherCache(f"b{size}", size * 10**6) for size in range(1, 5001)]
    check = judge_other_builders(caches, [f"fresh{n}" for n in range(5000)])
    assert check.text.startswith("caches that no prune covers: b5000 5GB, ")
    assert "b4991 4.991GB, 4990 more; fresh0 has" in check.text
    assert len(check.text) < 1000


@pytest.mark.parametrize(("free", "status"), [(16, "ok"), (15, "warning"), (0, "warning")])
def test_a_disk_is_a_warning_from_the_alert_mark_on(free: int, status: str) -> None:
    disk = FileSystem("/var/lib/docker", 100 * 10**9, free * 10**9)
    check = judge_disk(disk, 85, "build-01")
    assert check.status == status
    assert (
        check.text == f"{100 - free} % of 100GB used, {f'{free}GB' if free else '0B'} free (/var/lib/docker)"
    )


def test_a_disk_that_can_not_be_read_is_a_warning() -> None:
    assert judge_disk(None, 85, "build-01").status == "warning"
    assert judge_disk(FileSystem("/", 0, 0), 85, "build-01").status == "warning"


def test_a_disk_that_the_gate_hides_is_an_error_of_the_gate() -> None:
    denial = GateDenied("build-01", "df -Pk -- '/my data'", GateDenied.BAD_PATH, None, 1, 1)
    check = judge_disk(denial, 85, "build-01")
    assert check.status == "error"
    assert check.text.startswith("holystone-gate there denied `df -Pk -- '/my data'`")
    assert "gate" in str(check.remedy)


def record(size: int, shared: bool = False) -> CacheRecord:
    return CacheRecord("id", (), "regular", size, None, False, shared)


def test_the_build_cache_is_counted_as_docker_counts_it() -> None:
    check = judge_cache([record(1_000_000), record(2_000_000, shared=True), record(500_000)], "")
    assert check == Check("build_cache", "ok", "1.5MB in 3 records")
    assert judge_cache(None, "no answer within 20 s").text == "size not read: no answer within 20 s"


@pytest.mark.parametrize(
    ("offset_s", "status", "text"),
    [
        (0, "ok", "within a minute"),
        (59, "ok", "within a minute"),
        (-59, "ok", "within a minute"),
        (60, "ok", "within a minute"),
        (-60, "ok", "within a minute"),
        (-61, "warning", "61 s behind"),
        (71, "warning", "61 s ahead of"),
        (90, "warning", "80 s ahead of"),
        (-3600, "warning", "3600 s behind"),
    ],
)
def test_a_clock_that_is_off_by_more_than_a_minute_is_a_warning(
    offset_s: int, status: str, text: str
) -> None:
    check = judge_clock(NOW, NOW + timedelta(seconds=offset_s), NOW + timedelta(seconds=10))
    assert check.status == status
    assert text in check.text


def test_a_slow_answer_is_not_taken_for_a_wrong_clock() -> None:
    assert judge_clock(NOW, NOW, NOW + timedelta(seconds=100)).status == "ok"
    assert judge_clock(NOW, None, NOW).status == "ok"


def test_every_check_that_is_not_ok_has_a_remedy() -> None:
    checks = [
        judge_other_builders([OtherCache("a", None)], []),
        judge_disk(None, 85, "build-01"),
        judge_disk(FileSystem("/", 10, 0), 85, "build-01"),
        judge_clock(NOW, NOW + timedelta(hours=1), NOW),
    ]
    assert [check.name for check in checks if check.status == "ok" or not check.remedy] == []


@pytest.mark.parametrize(
    ("services", "taken", "status", "text"),
    [
        (["tgram"], [True], "ok", "1 URL"),
        (["tgram", "json"], [True, True], "ok", "2 URLs"),
        (["json", "foo"], [True, False], "error", "number 2 (foo://…) is no Apprise URL"),
        (
            ["foo", "unknown"],
            [False, False],
            "error",
            "number 1 (foo://…) and number 2 are no Apprise URLs",
        ),
    ],
)
def test_message_urls_are_judged_by_number_and_service(
    services: list[str], taken: list[bool], status: str, text: str
) -> None:
    (check,) = judge_notifications(services, taken)
    assert (check.name, check.status, check.text) == ("notifications", status, text)
    assert bool(check.remedy) is (status == "error")


def test_without_a_message_url_there_is_no_line() -> None:
    assert judge_notifications([], []) == []
