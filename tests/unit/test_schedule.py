"""The beat schedule: one entry per host and job that is on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from worker.fleet import HostSettings
from worker.hosts import parse_host
from worker.limits import GRACE_S
from worker.policies import UNWATCHED, PrunePolicy
from worker.schedule import alert_entries, beat_entries, entry_name, turn_ts

POLICY = PrunePolicy(True, 21_600, "24h", False, 120, 0)


def _fleet(**policies: PrunePolicy) -> dict[str, HostSettings]:
    return {name: HostSettings(parse_host(f"ssh://{name}"), policy) for name, policy in policies.items()}


def test_each_host_has_an_entry_of_its_own() -> None:
    own = replace(POLICY, interval_s=3600, timeout_s=7200)
    assert beat_entries(_fleet(a=POLICY, b=own)) == {
        "prune-build-cache:a": {
            "task": "tasks.prune_build_cache",
            "schedule": 21_600.0,
            "kwargs": {"host": "a", "trigger": "schedule"},
            "options": {"expires": 21_599, "soft_time_limit": 120, "time_limit": 150},
        },
        "prune-build-cache:b": {
            "task": "tasks.prune_build_cache",
            "schedule": 3600.0,
            "kwargs": {"host": "b", "trigger": "schedule"},
            "options": {"expires": 3599, "soft_time_limit": 7200, "time_limit": 7230},
        },
    }


def test_a_host_whose_pruning_is_off_has_none() -> None:
    fleet = _fleet(a=replace(POLICY, enabled=False), b=POLICY)
    assert list(beat_entries(fleet)) == [entry_name("b")]


def test_a_disk_that_is_watched_has_an_entry_whose_result_is_not_kept() -> None:
    host = HostSettings(
        parse_host("ssh://a"), replace(POLICY, enabled=False), replace(UNWATCHED, enabled=True)
    )
    assert beat_entries({"a": host}) == {
        "watch-disk:a": {
            "task": "tasks.watch_disk",
            "schedule": 300.0,
            "kwargs": {"host": "a", "trigger": "schedule"},
            "options": {"expires": 299, "ignore_result": True, "soft_time_limit": 60, "time_limit": 90},
        }
    }


def test_lost_alerts_are_looked_for_where_there_is_somebody_to_tell() -> None:
    assert alert_entries(()) == {}
    (entry,) = alert_entries(("json://inbox",)).values()
    assert (entry["task"], entry["schedule"]) == ("tasks.send_alerts", 300.0)


def test_no_host_no_entry() -> None:
    assert beat_entries({}) == {}


@pytest.mark.parametrize("interval_s", [1, 2, 60, 86_400])
def test_a_message_expires_with_its_interval_and_not_at_once(interval_s: int) -> None:
    (entry,) = beat_entries(_fleet(a=replace(POLICY, interval_s=interval_s))).values()
    assert 1 <= entry["options"]["expires"] <= interval_s


@pytest.mark.parametrize("now", [1_750_000_000.0, 1_750_000_123.4, 1_750_000_299.999999])
def test_a_turn_comes_once_an_interval_to_the_second(now: float) -> None:
    turn = turn_ts("watch-disk:a", now, 300)
    assert turn <= now < turn + 300
    assert turn == int(turn)
    assert turn_ts("watch-disk:a", turn, 300) == turn_ts("watch-disk:a", turn + 299.9, 300) == turn
    assert turn_ts("watch-disk:a", turn + 300, 300) == turn + 300


def test_the_turns_of_a_fleet_lie_evenly_in_the_interval() -> None:
    turns = [turn_ts(f"watch-disk:build-{number}", 1_750_000_000, 300) for number in range(10_000)]
    by_ten_seconds = Counter(turn % 300 // 10 for turn in turns)
    assert 250 < min(by_ten_seconds.values()) <= max(by_ten_seconds.values()) < 420  # 333 on average


def test_the_hard_limit_leaves_the_grace() -> None:
    (entry,) = beat_entries(_fleet(a=POLICY)).values()
    assert entry["options"]["time_limit"] - entry["options"]["soft_time_limit"] == GRACE_S
