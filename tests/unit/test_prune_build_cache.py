"""The main job: its decisions, every command that it can send, and what it makes of any answer."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest
from celery.exceptions import Retry

import tasks.prune_build_cache as job
from tasks import NO_HOST, prune_visit
from tasks.left_prunes import parse_note
from tasks.prune_arguments import DISABLED, PruneArguments, check_arguments
from tasks.prune_build_cache import (
    RAN_RECENTLY,
    perform,
)
from tasks.prune_on_host import Progress, Step
from tasks.prune_policy import (
    GB,
    MAX_PASSES,
    choose_records,
    choose_soft_limit_s,
    decide_another_pass,
    decide_prune,
    is_complete,
    preview_argv,
    prune_argv,
    worth_telling,
)
from tasks.prune_report import make_report
from tasks.prune_visit import MAY_STILL_RUN
from tests.unit.captured import BUILDX_013, CLIS, facts, read
from tests.unit.fakes import FakeMemory, RecordingShell, unreachable
from worker.docker import CacheRecord, FileSystem, Pruned, parse_cache_records
from worker.engine import Engine
from worker.errors import (
    CommandFailed,
    CommandTimedOut,
    GivenUp,
    HolystoneError,
    HostUnreachable,
    InvalidArgument,
    UnknownHost,
    UnsupportedEngine,
)
from worker.fleet import HostSettings
from worker.hosts import parse_host
from worker.limits import MAX_RETRIES
from worker.look import CLI_VERSION
from worker.policies import PrunePolicy
from worker.runs import ALREADY_RUNNING, Run
from worker.settings import Settings
from worker.shell import Completed

POLICY = PrunePolicy(True, 21_600, "24h", False, 120, 0)
NOW = datetime(2026, 11, 21, 5, tzinfo=UTC)


def _settings(*names: str, **changes: Any) -> Settings:
    policy = PrunePolicy(**(vars(POLICY) | changes))
    return Settings(fleet={name: HostSettings(parse_host(f"ssh://{name}"), policy) for name in names})


def _arguments(
    until: str = "24h", all: bool = False, dry_run: bool = False, trigger: str = "manual", **policy: Any
) -> PruneArguments:
    own = _settings("build-01", **policy).fleet["build-01"]
    return PruneArguments(own.host, own.prune, (until,), all, dry_run, trigger)


def _run(retries: int = 0) -> Run:
    return Run("build-01", "id", retries, "delivery", started_ts=1000.0, due_ts=900.0)


# Whether to run


@pytest.mark.parametrize(
    ("prev_run_ts", "now", "decided"),
    [
        (None, 0, True),
        (1000, 1000 + 21_599, False),
        (1000, 1000 + 21_599.999, False),
        (1000, 1000 + 21_600, True),
        (1000, 1000 + 1_000_000, True),
        (1000, 1000, False),
        (1000, 999, False),  # two clocks a little apart
        (1000 + 21_600, 1000, False),
        (1000 + 21_601, 1000, True),  # a clock that was wrong is not waited for
        (10**12, 1000, True),
        (0, 21_600, True),
        (0, 21_599, False),
    ],
)
def test_decide_prune_is_exact(prev_run_ts: float | None, now: float, decided: bool) -> None:
    assert decide_prune(prev_run_ts, now, 21_600) is decided


def _passes(*totals: int | None) -> list[Pruned]:
    return [Pruned(total, 1) for total in totals]


@pytest.mark.parametrize(
    ("totals", "again", "complete"),
    [
        ([5], True, False),
        ([5, 5, 5, 5], True, False),
        ([5, 5, 5, 5, 5], False, False),
        ([0], False, True),
        ([5, 0], False, True),
        ([5, 5, 5, 5, 0], False, True),
        ([None], False, False),
        ([5, None], False, False),
    ],
)
def test_it_prunes_again_until_nothing_or_an_unknown_amount_is_left_or_five_times(
    totals: list[int | None], again: bool, complete: bool
) -> None:
    assert MAX_PASSES == 5
    assert decide_another_pass(_passes(*totals)) is again
    assert is_complete(_passes(*totals)) is complete


def test_nothing_done_is_not_complete() -> None:
    assert is_complete([]) is None


@pytest.mark.parametrize(
    ("sent", "limit"),
    [(None, 30), (900, 30), (3600, 3600), (5.5, 5.5)],
    ids=["none", "default", "long", "short"],
)
def test_a_host_keeps_its_own_soft_limit_unless_the_message_brought_another(sent: Any, limit: float) -> None:
    assert choose_soft_limit_s(sent, 900, 30) == limit


# What is sent


def test_prune_argv() -> None:
    assert prune_argv("24h", False) == ("docker", "builder", "prune", "--force", "--filter", "until=24h")
    assert prune_argv("7s", True) == (
        "docker",
        "builder",
        "prune",
        "--force",
        "--filter",
        "until=7s",
        "--all",
    )


def test_preview_argv() -> None:
    assert preview_argv(7) == (
        "timeout", "-s", "KILL", "7", "docker", "system", "df", "-v", "--format", "{{json .}}"
    )  # fmt: skip


def _every_command(arguments: PruneArguments) -> set[tuple[str, ...]]:
    """The complete set of commands that this job can send to a host; a change here is a change of trust."""
    bounded = ("timeout", "-s", "KILL", "60")
    commands: set[tuple[str, ...]] = {
        (*bounded, "docker", "info", "--format", "{{json .}}"),
        (*bounded, "docker", "context", "inspect", "--format", "{{json .Endpoints.docker.Host}}"),
        (*bounded, "docker", "builder", "inspect"),
        (*bounded, "docker", "--version"),
        (*bounded, "df", "-Pk", "--", "/var/lib/docker"),
    }
    if arguments.dry_run:
        limit_s = str(arguments.policy.timeout_s)
        return commands | {
            ("timeout", "-s", "KILL", limit_s, "docker", "system", "df", "-v", "--format", "{{json .}}")
        }
    prune = ("docker", "builder", "prune", "--force", "--filter", f"until={arguments.ages[0]}")
    return commands | {(*prune, "--all") if arguments.all else prune}


_ANSWERS: list[dict[str, Any]] = [
    {},
    {"prunes": ["Total:\t5MB\n"]},  # never ends by itself
    {"prunes": ["garbage"]},
    {"prunes": ["Total:\t1e99PB\n"]},
    {"prunes": ["Total:\t" + "9" * 400 + "PB\n"]},
    {"prunes": [""]},
    {"prunes": [1]},
    {"prunes": ["Total:\t5MB\n", 1]},
    {"prunes": ["Total:\t5MB\n", HostUnreachable("lost")]},
    {"system": ""},
    {"system": '{"BuildCache": [{}, {"ID": "; rm -rf /", "InUse": "false", "Shared": "false"}]}'},
    {"system": 1},
    {"df": ""},
    {"df": 1},
    {"df": HostUnreachable("lost")},
    {"version": "podman version 4.3.1\n"},
    {"version": ""},
    {"version": 127},
    {"version": "Docker version " + "9" * 5000},
    {"version": HostUnreachable("lost")},
    {"info": "{}"},
    {"info": "9" * 5000},
    {"info": 1},
    {"info": json.dumps(facts(BUILDX_013) | {"DockerRootDir": "--help"})},
    {"context": '"tcp://10.0.0.7:2375"'},
    {"context": '"tcp://10.0.0.7:2375"', "info": 1},
    {"context": '"ssh://root@elsewhere"'},
    {"context": ""},
    {"context": 1},
    {"builder": ""},
    {"builder": 1},
    {"builder": "Name: other\nDriver: docker-container\n"},
    {"builder": HostUnreachable("lost")},
]


@pytest.mark.parametrize("answers", _ANSWERS, ids=lambda answers: repr(answers)[:60])
@pytest.mark.parametrize("dry_run", [False, True], ids=["prune", "dry_run"])
def test_nothing_else_is_ever_sent(
    monkeypatch: pytest.MonkeyPatch, dry_run: bool, answers: dict[str, Any]
) -> None:
    """Whatever a host answers: these commands, as lists, and `--all` only together with `until`."""
    for cli, until, all, trigger in itertools.product(
        CLIS, ("1s", "8784h"), (False, True), ("manual", "schedule")
    ):
        arguments = _arguments(until, all, dry_run, trigger)
        shell = RecordingShell(cli, **answers)
        with contextlib.suppress(HolystoneError, Retry):
            _perform(monkeypatch, shell, arguments)
        assert set(shell.sent) <= _every_command(arguments)
        assert shell.sent.count(prune_argv(until, all)) <= MAX_PASSES
        for argv in shell.sent:
            assert ("--all" in argv) <= any(part.startswith("until=") for part in argv)
            assert all or "--all" not in argv
            assert not {"image", "container", "volume", "rm", "rmi", "restart"} & set(argv)
            assert "prune" not in argv or argv[:3] == ("docker", "builder", "prune")


def _perform(
    monkeypatch: pytest.MonkeyPatch,
    shell: RecordingShell | None,
    arguments: PruneArguments,
    memory: FakeMemory | None = None,
    run: Run | None = None,
    soft_limit_s: float = 60,
) -> dict[str, Any]:
    def retry(exc: Exception, countdown: float, max_retries: int, expires: int) -> None:
        assert 0 < countdown <= 30
        assert (max_retries, expires) == (MAX_RETRIES, 21_600)
        raise exc if run is not None and run.retries >= max_retries else Retry(exc=exc)

    monkeypatch.setattr(prune_visit, "connect", shell.connector() if shell else unreachable)
    request = SimpleNamespace(timelimit=(90, soft_limit_s))
    task: Any = SimpleNamespace(request=request, soft_time_limit=900, retry=retry)
    used: Any = memory or FakeMemory()
    return perform(task, run or _run(), arguments, _settings("build-01"), used)


@pytest.mark.parametrize("cli", CLIS)
def test_a_prune_looks_measures_prunes_until_nothing_is_left_and_measures(
    monkeypatch: pytest.MonkeyPatch, cli: str
) -> None:
    shell, memory = RecordingShell(cli), FakeMemory()
    report = _perform(monkeypatch, shell, _arguments(), memory)
    df = ("timeout", "-s", "KILL", "60", "df", "-Pk", "--", "/var/lib/docker")
    prune = ("docker", "builder", "prune", "--force", "--filter", "until=24h")
    assert [argv for argv in shell.sent[3:] if argv != CLI_VERSION] == [df, prune, prune, df]
    assert shell.left_to_finish == [prune, prune]  # reading commands are killed instead
    assert (report["outcome"], report["reclaimed"], report["reclaimed_bytes"]) == (
        "done",
        "8.17MB",
        8_170_000,
    )
    assert (report["passes"], report["complete"], report["caches_deleted"]) == (2, True, 5)
    assert report["engine"]["id"] == facts(cli)["ID"]
    assert memory.calls == [
        ("record_engine", "build-01", facts(cli)["ID"]),
        ("record_start", "build-01", "id", 900.0),
        ("note_prunes", facts(cli)["ID"], ANY, 43_320),
        ("settle_prune", facts(cli)["ID"], "build-01", 8_170_000),
        ("note_prunes", facts(cli)["ID"], ANY, 43_320),
        ("settle_prune", facts(cli)["ID"], "build-01", 0),
        ("record_success", "build-01", 8_170_000, report["duration_s"]),
        ("finish", "id:0", report),
    ]
    assert memory.note is None


def test_the_cap_ends_it_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    report = _perform(monkeypatch, RecordingShell(BUILDX_013, prunes=["Total:\t5MB\n"]), _arguments())
    assert (report["passes"], report["complete"], report["reclaimed_bytes"]) == (5, False, 25_000_000)


@pytest.mark.parametrize("stdout", ["", "garbage", "Total:\tmuch\n", "Total:\t1e99PB\n", "\ufffd" * 100])
def test_an_unread_total_is_null_and_ends_it_incomplete(monkeypatch: pytest.MonkeyPatch, stdout: str) -> None:
    memory = FakeMemory()
    report = _perform(
        monkeypatch, RecordingShell(BUILDX_013, prunes=[stdout]), _arguments(notify_min_gb=0.001), memory
    )
    assert (report["reclaimed"], report["reclaimed_bytes"]) == (None, None)
    assert (report["outcome"], report["passes"], report["complete"]) == ("done", 1, False)
    assert [call[:3] for call in memory.calls if call[0] == "record_success"] == [
        ("record_success", "build-01", None)
    ]
    assert memory.totals["build-01"] == 0


def test_a_disk_that_can_not_be_measured_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    report = _perform(monkeypatch, RecordingShell(BUILDX_013, df=1), _arguments())
    assert (report["outcome"], report["disk"]) == ("done", None)


@pytest.mark.parametrize(
    ("answers", "error", "match"),
    [
        ({"version": "podman version 4.3.1\n", "info": "{}"}, UnsupportedEngine, "podman"),
        ({"version": "podman version 4.3.1\n", "info": 125, "context": 125}, UnsupportedEngine, "podman"),
        ({"builder": read(BUILDX_013, "builder_other.txt")}, UnsupportedEngine, "builder 'other'"),
        ({"builder": 1}, UnsupportedEngine, "does not say whose cache"),
        ({"context": '"tcp://10.0.0.7:2375"'}, UnsupportedEngine, "tcp://10.0.0.7:2375"),
        ({"context": '"tcp://10.0.0.7:2375"', "info": 1}, UnsupportedEngine, "tcp://10.0.0.7:2375"),
        ({"context": 1}, CommandFailed, "context inspect"),
        ({"info": 1}, CommandFailed, "docker info.* exited with status 1"),
        ({"version": 127, "info": 127}, CommandFailed, "exited with status 127"),
        (
            {"info": read(BUILDX_013, "info_stopped.json")},
            CommandFailed,
            "Cannot connect to the Docker daemon",
        ),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_an_engine_that_will_not_do_is_refused_before_anything_is_pruned(
    monkeypatch: pytest.MonkeyPatch,
    dry_run: bool,
    answers: dict[str, Any],
    error: type[Exception],
    match: str,
) -> None:
    shell = RecordingShell(BUILDX_013, **answers)
    with pytest.raises(error, match=match):
        _perform(monkeypatch, shell, _arguments(dry_run=dry_run))
    assert shell.sent[3:] in ([], [CLI_VERSION])
    assert not any("prune" in argv for argv in shell.sent)


def test_a_prune_that_fails_midway_is_counted_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FakeMemory()
    with pytest.raises(CommandFailed, match=r"builder prune.* exited with status 1"):
        _perform(monkeypatch, RecordingShell(BUILDX_013, prunes=["Total:\t5MB\n", 1]), _arguments(), memory)
    assert [call[0] for call in memory.calls][-2:] == ["record_failure", "finish"]
    assert (memory.totals["build-01"], memory.note) == (5_000_000, None)
    assert memory.owner is None


# Limits and losses


def test_the_soft_limit_says_how_far_it_came_and_that_the_prune_may_still_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = FakeMemory()
    shell = RecordingShell(BUILDX_013, prunes=["Total:\t5MB\n", None])
    with pytest.raises(CommandTimedOut) as caught:
        _perform(monkeypatch, shell, _arguments(), memory, soft_limit_s=30)
    assert caught.value.args == ("build-01", 30, 1, 5_000_000, True)
    (left,) = parse_note(memory.note or "")
    assert (left.task_id, left.until, left.printed_bytes) == ("id", "24h", None)
    assert memory.totals["build-01"] == 5_000_000
    assert memory.owner is None


@pytest.mark.parametrize("silent", ["info", "df", "system"])
def test_the_soft_limit_while_reading_leaves_nothing_running(
    monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    memory = FakeMemory()
    answers: dict[str, Any] = {silent: None}
    shell = RecordingShell(BUILDX_013, **answers)
    with pytest.raises(CommandTimedOut) as caught:
        _perform(monkeypatch, shell, _arguments(dry_run=silent == "system"), memory, soft_limit_s=30)
    assert caught.value.args == ("build-01", 30, 0, None, False)
    assert (memory.totals["build-01"], memory.note) == (0, None)


def test_a_lost_connection_is_retried_and_the_prune_may_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FakeMemory()
    shell = RecordingShell(BUILDX_013, prunes=["Total:\t5MB\n", HostUnreachable("lost")])
    with pytest.raises(Retry):
        _perform(monkeypatch, shell, _arguments(), memory)
    assert memory.note is not None
    assert memory.totals["build-01"] == 5_000_000


def test_only_attempts_that_are_retried_are_over_without_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    for retries, end in ((0, Retry), (MAX_RETRIES - 1, Retry), (MAX_RETRIES, HostUnreachable)):
        memory = FakeMemory()
        with pytest.raises(end):
            _perform(monkeypatch, None, _arguments(), memory, _run(retries=retries))
        assert memory.finished(f"id:{retries}")[0]
        assert (("finish", f"id:{retries}", None) in memory.calls) is (end is Retry)


def test_a_second_delivery_of_a_failed_run_fails_alike_and_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = FakeMemory()
    with pytest.raises(CommandFailed) as first:
        _perform(monkeypatch, RecordingShell(BUILDX_013, prunes=[1]), _arguments(), memory)
    shell = RecordingShell(BUILDX_013)
    with pytest.raises(CommandFailed) as second:
        _perform(monkeypatch, shell, _arguments(), memory)
    assert (str(second.value), shell.sent) == (str(first.value), [])
    assert first.value.is_remembered
    assert second.value.is_remembered
    assert [call for call in memory.calls if call[0] == "record_failure"] == [
        ("record_failure", "build-01", "CommandFailed", repr(first.value))
    ]


def test_a_dry_run_that_fails_is_no_failure_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FakeMemory()
    with pytest.raises(CommandFailed):
        _perform(monkeypatch, RecordingShell(BUILDX_013, system="garbage"), _arguments(dry_run=True), memory)
    assert not [call for call in memory.calls if call[0] == "record_failure"]


def test_a_manual_run_that_is_skipped_records_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FakeMemory()
    memory.owner = "other/delivery"
    report = _perform(monkeypatch, RecordingShell(BUILDX_013), _arguments(), memory)
    assert report["reason"] == "already running"
    assert not [call for call in memory.calls if call[0] == "record_start"]


@pytest.mark.parametrize(("retries", "deliveries"), [(1, 0), (0, 1)])
def test_a_retry_or_second_delivery_of_a_scheduled_run_goes_through(
    monkeypatch: pytest.MonkeyPatch, retries: int, deliveries: int
) -> None:
    memory = FakeMemory(last_run_ts=899.0, last_run_task_id="other")
    memory.deliveries = deliveries
    run = _run(retries=retries)
    report = _perform(monkeypatch, RecordingShell(BUILDX_013), _arguments(trigger="schedule"), memory, run)
    assert report["outcome"] == "done"


# Skipping


@pytest.mark.parametrize(
    ("trigger", "known", "skipped"),
    [
        ("schedule", {"last_run_ts": 899.0, "last_run_task_id": "other"}, True),
        ("schedule", {"last_run_ts": 900.0 - 21_600, "last_run_task_id": "other"}, False),
        ("schedule", {}, False),
        ("manual", {"last_run_ts": 899.0, "last_run_task_id": "other"}, False),
    ],
)
def test_only_a_scheduled_run_is_skipped_for_time(
    monkeypatch: pytest.MonkeyPatch, trigger: str, known: dict[str, Any], skipped: bool
) -> None:
    shell, memory = RecordingShell(BUILDX_013), FakeMemory(**known)
    report = _perform(monkeypatch, shell, _arguments(trigger=trigger), memory)
    assert (report["reason"] == RAN_RECENTLY) is skipped
    assert bool(shell.sent) is not skipped
    assert (("record_start", "build-01", "id", 900.0) in memory.calls) is not skipped


def test_a_dry_run_is_never_skipped_for_time_and_remembers_nothing_of_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = FakeMemory(last_run_ts=899.0, last_run_task_id="other")
    memory.note = memory.owner = "other"
    report = _perform(
        monkeypatch, RecordingShell(BUILDX_013), _arguments(dry_run=True, trigger="schedule"), memory
    )
    assert report["outcome"] == "done"
    assert [call[0] for call in memory.calls] == ["finish"]


@pytest.mark.parametrize(
    ("trigger", "left_by", "skipped"),
    [
        ("schedule", "other", True),
        ("schedule", None, False),
        ("manual", "other", False),
    ],
)
def test_a_scheduled_run_is_not_queued_behind_a_prune_that_may_still_run(
    monkeypatch: pytest.MonkeyPatch, trigger: str, left_by: str | None, skipped: bool
) -> None:
    shell, memory = RecordingShell(BUILDX_013), FakeMemory()
    memory.note = left_by
    report = _perform(monkeypatch, shell, _arguments(trigger=trigger), memory)
    assert (report["reason"] == MAY_STILL_RUN) is skipped
    assert any("prune" in argv for argv in shell.sent) is not skipped


def test_an_engine_that_another_run_works_on_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    shell, memory = RecordingShell(BUILDX_013), FakeMemory()
    memory.owner = "other/x"
    report = _perform(monkeypatch, shell, _arguments(), memory)
    assert (report["outcome"], report["reason"]) == ("skipped", ALREADY_RUNNING)
    assert not any("prune" in argv for argv in shell.sent)
    assert memory.owner == "other/x"


def test_a_finished_message_gives_its_report_again_and_touches_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = FakeMemory()
    memory.reports["id:0"] = {"host": "build-01", "outcome": "done"}
    shell = RecordingShell(BUILDX_013)
    assert _perform(monkeypatch, shell, _arguments(), memory) == {"host": "build-01", "outcome": "done"}
    assert (shell.sent, memory.calls) == ([], [])


def test_a_run_that_keeps_killing_its_worker_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, shell = FakeMemory(), RecordingShell(BUILDX_013)
    memory.deliveries = 3
    with pytest.raises(GivenUp, match="delivered 3 times"):
        _perform(monkeypatch, shell, _arguments(), memory)
    assert shell.sent == []


# Dry runs


def _record(id: str, *parents: str, age_s: float = 90_000, **changes: Any) -> CacheRecord:
    values: dict[str, Any] = {
        "id": id,
        "parents": parents,
        "kind": "regular",
        "size": 1,
        "used": NOW - timedelta(seconds=age_s),
        "in_use": False,
        "shared": False,
    }
    return CacheRecord(**(values | changes))


def _chosen(*records: CacheRecord, all: bool = False, until_s: int = 86_400) -> set[str]:
    return {record.id for record in choose_records(records, NOW, until_s, all)}


@pytest.mark.parametrize("cli", CLIS)
@pytest.mark.parametrize("capture", ["", "_shared", "_seven"])
def test_choose_records_names_what_a_real_prune_removed(cli: str, capture: str) -> None:
    records = parse_cache_records(read(cli, f"system_df{capture}.json"))
    assert records
    now = max(record.used for record in records if record.used) + timedelta(seconds=3)
    chosen = {record.id for record in choose_records(records, now, 2, all=False)}
    body = read(cli, f"prune{capture}.txt").split("Total", 1)[0].splitlines()[1:]
    assert chosen == {line.split()[0].rstrip("*") for line in body if line}


@pytest.mark.parametrize("cli", CLIS)
def test_choose_records_takes_no_record_that_an_image_shares(cli: str) -> None:
    records = parse_cache_records(read(cli, "system_df_shared_after.json"))
    assert records
    now = NOW + timedelta(days=365)
    assert choose_records(records, now, 1, all=False) == []
    assert len(choose_records(records, now, 1, all=True)) == 5


def test_choose_records_is_exact_in_time() -> None:
    records = [_record("old", age_s=86_400), _record("young", age_s=86_399.999), _record("ahead", age_s=-5)]
    assert _chosen(*records, _record("unknown", used=None)) == {"old", "unknown"}


@pytest.mark.parametrize(
    ("change", "chosen", "chosen_by_all"),
    [
        ({}, True, True),
        ({"in_use": True}, False, False),
        ({"shared": True}, False, True),
        ({"kind": "internal"}, False, True),
        ({"kind": "frontend"}, False, True),
        ({"kind": "source.local"}, True, True),
        ({"kind": "exec.cachemount"}, True, True),
        ({"age_s": 1}, False, False),
    ],
)
def test_choose_records_spares_what_is_in_use_and_by_itself_what_is_shared_or_internal(
    change: dict[str, Any], chosen: bool, chosen_by_all: bool
) -> None:
    record = _record("a", **change)
    assert bool(_chosen(record)) is chosen
    assert bool(_chosen(record, all=True)) is chosen_by_all


def test_choose_records_keeps_what_a_kept_record_is_built_on() -> None:
    chain = [_record("a"), _record("b", "a"), _record("c", "b"), _record("leaf", "c", in_use=True)]
    assert _chosen(*chain) == set()
    assert _chosen(*chain[:3]) == {"a", "b", "c"}
    assert _chosen(*chain, _record("side", "b"), _record("other")) == {"side", "other"}


def test_choose_records_keeps_every_parent_of_a_kept_merge() -> None:
    assert _chosen(_record("a"), _record("b"), _record("c"), _record("merge", "a", "b", age_s=1)) == {"c"}


def test_choose_records_survives_circles_and_unknown_parents() -> None:
    assert _chosen(_record("a", "b"), _record("b", "a"), _record("c", "gone")) == {"a", "b", "c"}
    assert _chosen(_record("a", "b"), _record("b", "a"), _record("c", "a", in_use=True)) == set()


def test_choose_records_agrees_with_taking_leaves_off_one_by_one() -> None:
    numbers = random.Random(7)
    for _ in range(300):
        records = [
            _record(
                str(n),
                *{str(numbers.randrange(n)) for _ in range(numbers.choice([0, 1, 1, 2])) if n},
                age_s=numbers.choice([1, 90_000, 90_000]),
                in_use=numbers.random() < 0.1,
                shared=numbers.random() < 0.1,
                kind=numbers.choice(["regular", "regular", "internal"]),
            )
            for n in range(numbers.randrange(15))
        ]
        left = list(records)
        while leaves := [
            record
            for record in left
            if record.kind == "regular"
            and not record.in_use
            and not record.shared
            and record.used is not None
            and record.used < NOW - timedelta(days=1)
            and not any(record.id in other.parents for other in left)
        ]:
            left = [record for record in left if record not in leaves]
        assert _chosen(*records) == {record.id for record in records} - {record.id for record in left}


def test_choose_records_follows_a_long_chain() -> None:
    chain = [_record(str(n), str(n - 1)) for n in range(40_000)] + [_record("leaf", "39999", in_use=True)]
    assert _chosen(*chain) == set()


@pytest.mark.parametrize(
    "system_time", [facts(BUILDX_013)["SystemTime"], None, "0001-01-01T00:00:00Z", "garbage"]
)
def test_a_dry_run_says_what_would_go(monkeypatch: pytest.MonkeyPatch, system_time: str | None) -> None:
    """By the engine's clock where it tells one, else by the worker's."""
    info = json.dumps(facts(BUILDX_013) | {"SystemTime": system_time})
    records = json.loads(read(BUILDX_013, "system_df.json"))
    for record in records["BuildCache"]:
        record["LastUsedAt"] = "2026-01-02 03:04:05 +0000 UTC"
    shell = RecordingShell(BUILDX_013, info=info, system=json.dumps(records))
    report = _perform(monkeypatch, shell, _arguments("1m", dry_run=True))
    assert (report["would_reclaim_bytes"], report["records"]) == (8_170_000, 5)
    assert report["oldest_use"] == report["newest_use"] == "2026-01-02T03:04:05Z"
    assert (report["dry_run"], report["passes"], report["reclaimed_bytes"], report["complete"]) == (
        True,
        0,
        None,
        None,
    )


@pytest.mark.parametrize("stdout", ["", "garbage", "{}", '{"BuildCache": 5}'])
def test_a_dry_run_that_can_not_read_the_list_fails(monkeypatch: pytest.MonkeyPatch, stdout: str) -> None:
    with pytest.raises(CommandFailed, match="no readable list of build cache"):
        _perform(monkeypatch, RecordingShell(BUILDX_013, system=stdout), _arguments(dry_run=True))


def test_a_dry_run_does_not_guess_from_a_list_that_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = Completed(("docker", "system", "df"), 0, read(BUILDX_013, "system_df.json"), "", cut=True)
    with pytest.raises(CommandFailed, match="no readable list of build cache"):
        _perform(monkeypatch, RecordingShell(BUILDX_013, system=cut), _arguments(dry_run=True))


# What is asked for


def test_the_hosts_settings_fill_in_what_is_not_asked() -> None:
    settings = _settings("a", until="7h", all=True)
    assert check_arguments(settings, None, None, None, False, "manual") == PruneArguments(
        settings.fleet["a"].host, settings.fleet["a"].prune, ("7h",), True, False, "manual"
    )


@pytest.mark.parametrize(("until", "sent"), [("7d", "168h"), (3600, "1h"), ("1h30m", "90m")])
def test_check_arguments_sends_an_age_with_a_unit(until: Any, sent: str) -> None:
    arguments = check_arguments(_settings("a"), "a", until, False, True, "schedule")
    assert (arguments.ages, arguments.all, arguments.dry_run, arguments.scheduled) == (
        (sent,),
        False,
        True,
        True,
    )


@pytest.mark.parametrize(
    "host",
    ["c", "", "A", "a ", "ssh://a", "-oProxyCommand=x", 5, True, ["a"], {"a": 1}, ("a",), "x" * 10_000],
)
def test_only_configured_hosts_are_accepted(host: Any) -> None:
    with pytest.raises(UnknownHost, match="is not a configured host; known: a, b") as caught:
        check_arguments(_settings("a", "b"), host, None, None, False, "manual")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"host": None}, "host: several are configured, name one of a, b"),
        ({"until": "0"}, "until: .*out of range"),
        ({"until": 0}, "until: .*out of range"),
        ({"until": "garbage"}, "until: .*is not an age"),
        ({"until": ""}, "until: .*is not an age"),
        ({"until": -5}, "until: .*is not an age"),
        ({"until": True}, "until: .*is not an age"),
        ({"until": 1.5}, "until: .*is not an age"),
        ({"until": ["24h"]}, "until: .*is not an age"),
        ({"until": "24h --all"}, "until: .*is not an age"),
        ({"all": "false"}, "all: 'false' is neither true nor false"),
        ({"all": 1}, "all: 1 is neither"),
        ({"dry_run": "true"}, "dry_run: 'true' is neither"),
        ({"dry_run": 0}, "dry_run: 0 is neither"),
        ({"trigger": "cron"}, "trigger: 'cron' is not"),
        ({"trigger": None}, "trigger: None is not"),
        ({"trigger": "disk", "until": "1h"}, "trigger: 'disk' takes its ages from disk.ladder"),
        ({"trigger": "disk", "dry_run": True}, "trigger: 'disk' takes its ages from disk.ladder"),
    ],
)
def test_nonsense_given_by_hand_is_an_error(changes: dict[str, Any], match: str) -> None:
    asked = {"host": "a", "until": None, "all": None, "dry_run": False, "trigger": "manual"} | changes
    with pytest.raises(InvalidArgument, match=match):
        check_arguments(_settings("a", "b"), **asked)


# Telling


@pytest.mark.parametrize(
    ("threshold_gb", "reclaimed", "told"),
    [
        (0, 10**12, False),
        (1, GB - 1, False),
        (1, GB, True),
        (0.5, GB // 2, True),
        (1, None, False),
        (1, 0, False),
    ],
)
def test_worth_telling_from_the_threshold_on(threshold_gb: float, reclaimed: int | None, told: bool) -> None:
    assert worth_telling(_arguments(notify_min_gb=threshold_gb), reclaimed) is told


@pytest.mark.parametrize(("threshold_gb", "messages"), [(0, 0), (0.007, 1), (0.008, 0)])
def test_one_message_tells_of_a_run(
    monkeypatch: pytest.MonkeyPatch, threshold_gb: float, messages: int
) -> None:
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(job, "notify", lambda urls, title, body: told.append((title, body)))
    _perform(monkeypatch, RecordingShell(BUILDX_013), _arguments(notify_min_gb=threshold_gb))
    assert told == [("Holystone: build-01", "Pruned 8.17MB of build cache.")] * messages


# The report

ENGINE = Engine("engine-id", "26.1.5", "26.1.5", "buildx 0.13.1", "/var/lib/docker", NOW)


def test_the_report_has_the_most_telling_first() -> None:
    before, after = FileSystem("/var/lib/docker", 1000, 100), FileSystem("/var/lib/docker", 1000, 150)
    progress = Progress(ENGINE, before, after, [Step("24h", [Pruned(49_000_000, 6), Pruned(0, 0)])])
    report = make_report(_run(retries=1), _arguments(trigger="schedule"), progress, None, 1001.5)
    assert list(report.items()) == [
        ("host", "build-01"),
        ("outcome", "done"),
        ("reason", None),
        ("reclaimed", "49MB"),
        ("reclaimed_bytes", 49_000_000),
        ("duration_s", 1.5),
        ("job", "prune_build_cache"),
        ("trigger", "schedule"),
        ("until", "24h"),
        ("all", False),
        ("dry_run", False),
        ("complete", True),
        ("passes", 2),
        ("caches_deleted", 6),
        (
            "disk",
            {
                "path": "/var/lib/docker",
                "size_bytes": 1000,
                "free_before_bytes": 100,
                "free_after_bytes": 150,
                "freed_bytes": 50,
            },
        ),
        ("engine", {"id": "engine-id", "server": "26.1.5", "client": "26.1.5", "builder": "buildx 0.13.1"}),
        ("started_at", "1970-01-01T00:16:40Z"),
        ("attempt", 2),
    ]


def test_the_reports_keys_are_in_order() -> None:
    done = make_report(
        _run(), _arguments(), Progress(ENGINE, steps=[Step("24h", _passes(5, 0))]), None, 1001.5
    )
    keys = [
        "host",
        "outcome",
        "reason",
        "reclaimed",
        "reclaimed_bytes",
        "duration_s",
        "job",
        "trigger",
        "until",
        "all",
        "dry_run",
        "complete",
        "passes",
        "caches_deleted",
        "disk",
        "engine",
        "started_at",
        "attempt",
    ]
    assert list(done) == keys
    preview = make_report(
        _run(), _arguments(dry_run=True), Progress(ENGINE, preview=[_record("a")]), None, 1001.5
    )
    added = ["would_reclaim", "would_reclaim_bytes", "records", "oldest_use", "newest_use"]
    assert list(preview) == keys + added
    assert json.loads(json.dumps(preview)) == preview


# The task


@pytest.fixture
def _no_services(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("nothing is started")

    monkeypatch.setattr(job, "open_memory", never)
    monkeypatch.setattr(prune_visit, "connect", never)


def _call(monkeypatch: pytest.MonkeyPatch, settings: Settings, *args: Any, **kwargs: Any) -> dict[str, Any]:
    monkeypatch.setattr(job, "get_settings", lambda: settings)
    report: dict[str, Any] = job.prune_build_cache(*args, **kwargs)
    return report


@pytest.mark.usefixtures("_no_services")
@pytest.mark.parametrize("host", [None, "build-01"])
def test_without_hosts_nothing_is_started(monkeypatch: pytest.MonkeyPatch, host: str | None) -> None:
    report = _call(monkeypatch, _settings(), host)
    assert (report["host"], report["outcome"], report["reason"]) == (None, "skipped", NO_HOST)


@pytest.mark.usefixtures("_no_services")
@pytest.mark.parametrize("dry_run", [False, True])
def test_with_the_kill_switch_off_nothing_is_started(monkeypatch: pytest.MonkeyPatch, dry_run: bool) -> None:
    report = _call(monkeypatch, _settings("build-01", enabled=False), dry_run=dry_run)
    assert (report["host"], report["outcome"], report["reason"]) == ("build-01", "skipped", DISABLED)


@pytest.mark.usefixtures("_no_services")
def test_a_message_can_not_name_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownHost, match="known: build-01"):
        _call(monkeypatch, _settings("build-01"), "ssh://root@elsewhere")


def test_a_bare_call_works_where_one_host_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, shell = FakeMemory(), RecordingShell(BUILDX_013)
    monkeypatch.setattr(job, "open_memory", memory.opened)
    monkeypatch.setattr(prune_visit, "connect", shell.connector())
    report = _call(monkeypatch, _settings("build-01"))
    assert (report["host"], report["outcome"], report["trigger"]) == ("build-01", "done", "manual")


def test_the_task_has_the_limits_of_the_longest_host() -> None:
    assert job.prune_build_cache.name == "tasks.prune_build_cache"
    assert (job.prune_build_cache.soft_time_limit, job.prune_build_cache.time_limit) == (120, 150)
