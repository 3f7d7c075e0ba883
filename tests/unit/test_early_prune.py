"""What holds a prune back or hastens it: a pause, and a disk that fills."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

import tasks.prune_build_cache as job
from tasks import prune_visit
from tasks.left_prunes import parse_note
from tasks.prune_arguments import DISABLED, NOT_EARLY, check_arguments, reason_not_to_run
from tasks.prune_policy import decide_age
from tests.unit.captured import BUILDX_013
from tests.unit.fakes import FakeMemory, RecordingShell
from worker.docker import FileSystem
from worker.errors import CommandFailed, CommandTimedOut
from worker.fleet import HostSettings
from worker.hosts import parse_host
from worker.pause import ALL
from worker.policies import DiskPolicy, PrunePolicy
from worker.runs import Run
from worker.settings import Settings

PRUNE = PrunePolicy(True, 21_600, "24h", False, 120, 0)
DISK = DiskPolicy(True, 300, 85, 90, ("24h", "6h", "1h"))
RUN = Run("build-01", "id", 0, "delivery", started_ts=1000.0, due_ts=900.0)


def _settings(prune: PrunePolicy = PRUNE, disk: DiskPolicy = DISK) -> Settings:
    return Settings(fleet={"build-01": HostSettings(parse_host("ssh://build-01"), prune, disk)})


def _df(percent: int) -> str:
    head = "Filesystem 1024-blocks Used Available Capacity Mounted on"
    return f"{head}\n/dev/vda 100 {percent} {100 - percent} {percent}% /\n"


def _perform(
    monkeypatch: pytest.MonkeyPatch,
    shell: RecordingShell,
    memory: FakeMemory,
    trigger: str = "disk",
    soft_limit_s: float = 60,
) -> dict[str, Any]:
    monkeypatch.setattr(prune_visit, "connect", shell.connector())
    request = SimpleNamespace(timelimit=(90, soft_limit_s))
    task: Any = SimpleNamespace(request=request, soft_time_limit=900)
    settings, used = _settings(), memory
    arguments = check_arguments(settings, "build-01", None, None, False, trigger)
    return job.perform(task, RUN, arguments, settings, used)  # type: ignore[arg-type]


def _claims(memory: FakeMemory) -> list[str]:
    """What became of the host's hour."""
    return [call[1] for call in memory.calls if call[0] == "early prune"]


def _untils(shell: RecordingShell) -> list[str]:
    return [argv[5] for argv in shell.sent if argv[:3] == ("docker", "builder", "prune")]


# Early prunes


def test_ages_get_shorter_until_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = RecordingShell(BUILDX_013, prunes=["Total:\t0B\n", "Total:\t5MB\n", "Total:\t0B\n"])
    shell.answers_in_turn("df", [_df(95), _df(95), _df(89)])
    memory = FakeMemory()
    report = _perform(monkeypatch, shell, memory)
    assert _untils(shell) == ["until=24h", "until=6h", "until=6h"]
    assert (report["outcome"], report["trigger"], report["until"]) == ("done", "disk", "6h")
    assert report["steps"] == [
        {"until": "24h", "reclaimed_bytes": 0, "used_percent": 95.0},
        {"until": "6h", "reclaimed_bytes": 5_000_000, "used_percent": 89.0},
    ]
    assert (report["reclaimed_bytes"], report["disk"]["freed_bytes"]) == (5_000_000, 6 * 1024)
    assert memory.disks["holystone:disk:build-01"]["free_bytes"] == 11 * 1024
    assert _claims(memory) == ["begins"]


def test_the_ladder_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = RecordingShell(BUILDX_013, prunes=["Total:\t0B\n"], df=_df(95))
    report = _perform(monkeypatch, shell, FakeMemory())
    assert _untils(shell) == ["until=24h", "until=6h", "until=1h"]
    assert (report["until"], len(report["steps"])) == ("1h", 3)


@pytest.mark.parametrize("df", [_df(89), 1, "garbage"])
def test_nothing_is_pruned_early_once_there_is_room_or_the_disk_can_not_be_read(
    monkeypatch: pytest.MonkeyPatch, df: Any
) -> None:
    shell, memory = RecordingShell(BUILDX_013, df=df), FakeMemory()
    report = _perform(monkeypatch, shell, memory)
    assert _untils(shell) == []
    assert (report["outcome"], report["reason"]) == (
        "skipped",
        "there is room on the disk again, or it can't be read",
    )
    assert not [call for call in memory.calls if call[0] in ("record_success", "record_start")]
    assert _claims(memory) == ["given back"]


def test_another_early_prune_of_the_same_host_holds_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    shell, memory = RecordingShell(BUILDX_013, df=_df(95)), FakeMemory()
    memory.may_prune_early = False
    report = _perform(monkeypatch, shell, memory)
    assert (report["outcome"], report["reason"]) == ("skipped", prune_visit.PRUNED_EARLY)
    assert _untils(shell) == []


def test_an_early_prune_that_fails_keeps_its_host_s_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FakeMemory()
    with pytest.raises(CommandFailed):
        _perform(monkeypatch, RecordingShell(BUILDX_013, prunes=[1], df=_df(95)), memory)
    with pytest.raises(CommandFailed):
        _perform(monkeypatch, RecordingShell(BUILDX_013, info=1), FakeMemory())
    assert _claims(memory) == ["begins"]


def test_any_other_prune_takes_no_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FakeMemory()
    assert _perform(monkeypatch, RecordingShell(BUILDX_013), memory, "schedule")["outcome"] == "done"
    assert _claims(memory) == []


def test_an_early_prune_waits_for_one_that_may_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FakeMemory()
    memory.note = "another"
    shell = RecordingShell(BUILDX_013, df=_df(95))
    assert _perform(monkeypatch, shell, memory)["reason"] == prune_visit.MAY_STILL_RUN
    assert _untils(shell) == []
    assert _claims(memory) == ["given back"]


@pytest.mark.parametrize(
    ("prune", "disk", "reason"),
    [
        (PRUNE, DISK, None),
        (PrunePolicy(False, 21_600, "24h", False, 120, 0), DISK, DISABLED),
        (PRUNE, DiskPolicy(True, 300, 85, None, ("1h",)), NOT_EARLY),
        (PRUNE, DiskPolicy(True, 300, 85, 90, ()), NOT_EARLY),
        (PRUNE, DiskPolicy(False, 300, 85, 90, ("1h",)), NOT_EARLY),
    ],
)
def test_the_settings_may_have_changed_since_an_early_prune_was_sent(
    prune: PrunePolicy, disk: DiskPolicy, reason: str | None
) -> None:
    arguments = check_arguments(_settings(prune, disk), "build-01", None, None, False, "disk")
    assert reason_not_to_run(arguments) == reason


def test_any_other_prune_has_one_age_however_full_the_disk() -> None:
    arguments = check_arguments(_settings(), "build-01", "7d", None, False, "schedule")
    full = FileSystem("/", 100, 0)
    assert [decide_age(arguments, done, disk) for done, disk in ((0, None), (0, full), (1, full))] == [
        "168h",
        "168h",
        None,
    ]


# Pauses


@pytest.mark.parametrize("host", ["build-01", ALL])
@pytest.mark.parametrize("trigger", ["manual", "schedule", "disk"])
def test_a_paused_host_is_left_alone_and_the_report_says_by_whom(
    monkeypatch: pytest.MonkeyPatch, host: str, trigger: str
) -> None:
    shell, memory = RecordingShell(BUILDX_013), FakeMemory()
    memory.pauses[host] = json.dumps({"by": "ops@bastion", "until_ts": 1000.5})
    report = _perform(monkeypatch, shell, memory, trigger)
    assert (report["outcome"], report["reason"]) == (
        "skipped",
        "paused by ops@bastion until 1970-01-01T00:16:40Z",
    )
    assert shell.sent == []
    assert ("count_skip", "build-01", "paused") in memory.calls
    assert _claims(memory) == (["given back"] if trigger == "disk" else [])
    assert not [call for call in memory.calls if call[0] in ("record_start", "record_success")]


def test_a_pause_that_has_ended_or_is_another_hosts_holds_nothing_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = FakeMemory()
    memory.pauses["build-01"] = json.dumps({"by": "ops@bastion", "until_ts": 1000.0})
    memory.pauses["build-02"] = json.dumps({"by": "ops@bastion", "until_ts": None})
    assert _perform(monkeypatch, RecordingShell(BUILDX_013), memory, "manual")["outcome"] == "done"


def test_one_that_is_left_at_a_later_age_is_noted_with_what_was_there_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shell = RecordingShell(BUILDX_013, prunes=["Total:\t5kB\n", "Total:\t0B\n", "Total:\t3kB\n", None])
    shell.answers_in_turn("df", [_df(95), _df(92)])
    memory = FakeMemory()
    memory.disks["holystone:disk:build-01"] = {"build_cache_bytes": 9000, "build_cache_ts": time.time()}
    with pytest.raises(CommandTimedOut):
        _perform(monkeypatch, shell, memory, soft_limit_s=30)
    (left,) = parse_note(memory.note or "")
    assert (left.until, left.cache_bytes, left.free_bytes) == ("6h", 1000, 8 * 1024 + 3000)


@pytest.mark.parametrize(
    ("prunes", "is_known"),
    [(["Total:\t5kB\n", "Total:\t0B\n"], False), (["Total:\t0B\n"], True), (["no total\n"], False)],
)
def test_what_a_prune_reclaims_outdates_the_known_size_of_the_cache(
    monkeypatch: pytest.MonkeyPatch, prunes: list[str], is_known: bool
) -> None:
    memory = FakeMemory()
    known = memory.disks["holystone:disk:build-01"] = {
        "build_cache_bytes": 9000,
        "build_cache_ts": time.time(),
    }
    _perform(monkeypatch, RecordingShell(BUILDX_013, prunes=prunes, df=_df(95)), memory)
    assert ("build_cache_ts" in known) is is_known
    assert known["build_cache_bytes"] == 9000


def test_a_left_prune_outdates_the_known_size_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FakeMemory()
    known = memory.disks["holystone:disk:build-01"] = {"build_cache_ts": time.time()}
    with pytest.raises(CommandTimedOut):
        _perform(monkeypatch, RecordingShell(BUILDX_013, prunes=[None], df=_df(95)), memory, soft_limit_s=30)
    assert "build_cache_ts" not in known


@pytest.mark.parametrize(("hours", "known"), [(1.9, 9000), (2.1, None)])
def test_an_old_size_of_the_cache_is_not_known(
    monkeypatch: pytest.MonkeyPatch, hours: float, known: int | None
) -> None:
    memory = FakeMemory()
    ts = time.time() - hours * 3600
    memory.disks["holystone:disk:build-01"] = {"build_cache_bytes": 9000, "build_cache_ts": ts}
    shell = RecordingShell(BUILDX_013, prunes=[None], df=_df(95))
    with pytest.raises(CommandTimedOut):
        _perform(monkeypatch, shell, memory, soft_limit_s=30)
    (left,) = parse_note(memory.note or "")
    assert left.cache_bytes == known
