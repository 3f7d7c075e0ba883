"""When a prune that is tried again, or pruned nothing, is kept as its host's last run."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Retry

from tasks import prune_visit
from tasks.prune_arguments import check_arguments
from tasks.prune_build_cache import perform
from tests.unit.captured import BUILDX_013
from tests.unit.fakes import FakeMemory, RecordingShell, unreachable
from worker.fleet import HostSettings
from worker.hosts import parse_host
from worker.pause import ALL
from worker.policies import DiskPolicy, PrunePolicy
from worker.runs import Run
from worker.settings import Settings

POLICY = PrunePolicy(True, 21_600, "24h", False, 120, 0)
DISK = DiskPolicy(True, 300, 85, 90, ("24h",))
SETTINGS = Settings(fleet={"build-01": HostSettings(parse_host("ssh://build-01"), POLICY, DISK)})


def _perform(memory: FakeMemory, trigger: str, retries: int = 0, dry_run: bool = False) -> dict[str, Any]:
    def retry(**_: Any) -> None:
        raise Retry

    request = SimpleNamespace(timelimit=(90, 60))
    task: Any = SimpleNamespace(request=request, soft_time_limit=900, retry=retry)
    run = Run("build-01", "id", retries, "delivery", started_ts=1000.0, due_ts=900.0)
    arguments = check_arguments(SETTINGS, "build-01", None, None, dry_run, trigger)
    return perform(task, run, arguments, SETTINGS, memory)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("trigger", "dry_run", "states"),
    [
        ("schedule", False, ["retrying"]),
        ("manual", False, ["retrying"]),
        ("manual", True, []),
        ("disk", False, []),
    ],
)
def test_a_run_tried_again_is_the_last_one_but_for_dry_and_early_ones(
    monkeypatch: pytest.MonkeyPatch, trigger: str, dry_run: bool, states: list[str]
) -> None:
    monkeypatch.setattr(prune_visit, "connect", unreachable)
    memory = FakeMemory()
    with pytest.raises(Retry):
        _perform(memory, trigger, dry_run=dry_run)
    assert memory.run_states == states
    assert memory.finished("id:0") == (True, None)


@pytest.mark.parametrize(
    ("trigger", "states"), [("schedule", ["skipped"]), ("manual", ["skipped"]), ("disk", [])]
)
def test_a_run_held_back_by_another_prune_is_the_last_one_but_for_early_ones(
    monkeypatch: pytest.MonkeyPatch, trigger: str, states: list[str]
) -> None:
    monkeypatch.setattr(prune_visit, "connect", RecordingShell(BUILDX_013).connector())
    memory = FakeMemory()
    memory.owner = "other/delivery"
    assert _perform(memory, trigger)["reason"] == "already running"
    assert memory.run_states == states


def test_a_run_that_an_earlier_prune_holds_back_is_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_visit, "connect", RecordingShell(BUILDX_013).connector())
    memory = FakeMemory()
    memory.note = "of prunes, but not to be read"
    assert _perform(memory, "schedule")["reason"] == prune_visit.MAY_STILL_RUN
    assert memory.run_states == ["skipped"]


def test_a_scheduled_run_that_comes_too_soon_leaves_the_last_one() -> None:
    memory = FakeMemory(last_run_ts=899.0)
    assert _perform(memory, "schedule")["reason"] == "ran recently"
    assert memory.run_states == []


@pytest.mark.parametrize(
    ("retries", "deliveries", "states"), [(0, 0, []), (1, 0, ["skipped"]), (0, 1, ["skipped"])]
)
def test_a_pause_skips_a_run_that_had_begun_and_leaves_the_last_one_before_others(
    retries: int, deliveries: int, states: list[str]
) -> None:
    memory = FakeMemory()
    memory.deliveries = deliveries
    memory.pauses[ALL] = json.dumps({"by": "ops@bastion", "until_ts": time.time() + 60})
    assert "paused by" in _perform(memory, "schedule", retries)["reason"]
    assert memory.run_states == states
