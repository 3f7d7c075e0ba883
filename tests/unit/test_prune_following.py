"""A prune that an earlier run left: what decides whether it has ended, and what is asked and counted."""

from __future__ import annotations

import asyncio
import json
import math
import time
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery.exceptions import Retry

import tasks.prune_build_cache as job
from tasks.prune_build_cache import MAY_STILL_RUN, perform
from tasks.prune_following import (
    PRUNING,
    RECORDS,
    Followed,
    LeftPrune,
    choose_event,
    decide_known_by,
    decide_wait,
    engine_ts,
    events_argv,
    follow,
    follow_overtaken,
    followed_facts,
    is_anything_left,
    parse_note,
    to_note,
)
from tasks.prune_policy import PruneArguments
from tests.unit.captured import BUILDX_013, CLASSIC, CLIS, facts, read
from tests.unit.fakes import FakeMemory, RecordingShell
from worker.docker import CacheRecord, PruneEvent, parse_df, parse_prune_events
from worker.engine import Engine
from worker.errors import CommandFailed, CommandTimedOut, GateDenied, HostUnreachable
from worker.fleet import HostSettings
from worker.hosts import parse_host
from worker.look import look
from worker.policies import PrunePolicy
from worker.runs import Run
from worker.settings import Settings
from worker.shell import Completed

ENGINE = asyncio.run(look(RecordingShell(CLASSIC)))
assert ENGINE.now is not None
NOW = ENGINE.now.timestamp()
LEFT = LeftPrune("id", "build-01", "24h", False, "classic", 1_750_000_000.0, NOW - 7200, 1_000_000)
PRUNE = ("docker", "builder", "prune", "--force", "--filter", "until=24h")
NO_CACHE = '{"BuildCache":[]}'


def _event(ts: float, reclaimed: Any = "5000000", **changes: Any) -> str:
    event = {
        "Type": "builder",
        "Action": "prune",
        "Actor": {"ID": "", "Attributes": {"reclaimed": reclaimed}},
    }
    return json.dumps(event | {"time": int(ts), "timeNano": int(ts * 1e9)} | changes) + "\n"


# The note


def test_a_note_is_read_as_it_was_written() -> None:
    for left in (LEFT, replace(LEFT, begun_ts=None, free_bytes=None, all=True, until="90s")):
        assert parse_note(to_note(left)) == left
    assert json.loads(to_note(LEFT)) == asdict(LEFT)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "2f1c8a5e-an-id-as-an-older-worker-wrote-it",
        "{}",
        "[]",
        "null",
        "[" * 100_000,
        json.dumps(asdict(LEFT) | {"more": 1}),
        *(
            json.dumps(asdict(LEFT) | changes)
            for changes in (
                {"task_id": 7},
                {"host": None},
                {"until": "soon"},
                {"until": "0s"},
                {"until": 24},
                {"all": "yes"},
                {"builder": None},
                {"left_ts": None},
                {"left_ts": "now"},
            )
        ),
    ],
    ids=lambda note: note[-60:],
)
def test_a_note_that_makes_no_sense_is_none(note: str) -> None:
    assert parse_note(note) is None


@pytest.mark.parametrize("value", ["yesterday", True, -1, math.nan, math.inf, 1e30], ids=str)
@pytest.mark.parametrize("field", ["begun_ts", "free_bytes"])
def test_what_the_host_said_and_makes_no_sense_is_not_known(field: str, value: Any) -> None:
    left = parse_note(json.dumps(asdict(LEFT) | {field: value}))
    assert left is not None
    assert left == replace(LEFT, **cast(Any, {field: None}))


# The engine's clock


@pytest.mark.parametrize("hours", [-26, -1, 0, 1, 26])
def test_times_are_of_the_engines_clock_however_wrong_it_is(hours: int) -> None:
    engine = replace(ENGINE, now=datetime(2026, 11, 21, 5, tzinfo=UTC) + timedelta(hours=hours))
    assert engine.now is not None
    assert engine_ts(engine, 100.0, 107.5) == engine.now.timestamp() + 7.5


def test_an_engine_that_tells_no_time_gives_none() -> None:
    assert engine_ts(replace(ENGINE, now=None), 100.0, 107.5) is None


# Its events


@pytest.mark.parametrize("cli", CLIS)
def test_events_are_read_as_each_engine_printed_them(cli: str) -> None:
    (event,) = parse_prune_events(read(cli, "builder_events.json"))
    assert 1_795_246_000 < event.ts < 1_795_247_000
    assert 6_000_000 < event.reclaimed_bytes < 11_000_000


@pytest.mark.parametrize(
    "line",
    [
        "",
        "garbage",
        "[]",
        "{}",
        "[" * 100_000,
        _event(NOW, Type="image"),
        _event(NOW, Action="create"),
        _event(NOW, Actor=None),
        _event(NOW, Actor={"Attributes": ["reclaimed"]}),
        _event(NOW, Actor={}),
        _event(NOW, None),
        _event(NOW, 5_000_000),
        _event(NOW, "-5"),
        _event(NOW, "5MB"),
        _event(NOW, "\u0665"),
        _event(NOW, "9" * 17),
        _event(NOW, timeNano=str(NOW)),
        _event(NOW, timeNano=True),
        _event(NOW, timeNano=1e400),
        _event(NOW, timeNano=-1),
        _event(NOW, timeNano=10**30),
        _event(NOW)[:-5],
    ],
    ids=lambda line: line[-70:],
)
def test_a_line_that_is_no_prune_s_event_is_left_out(line: str) -> None:
    good = _event(NOW, "7")
    assert parse_prune_events(f"{line}\n{good}{line}") == [PruneEvent(int(NOW * 1e9) / 1e9, 7)]


def test_the_first_event_after_it_was_sent_is_its_own() -> None:
    before, own, later = (PruneEvent(NOW + seconds, 1) for seconds in (-1, 10, 20))
    assert choose_event([before, own, later], NOW) == own
    assert choose_event([later, own], NOW) == own
    assert choose_event([PruneEvent(NOW, 1)], NOW) == PruneEvent(NOW, 1)


def test_an_earlier_prunes_event_and_none_at_all_are_none() -> None:
    assert choose_event([PruneEvent(NOW - 0.001, 1)], NOW) is None
    assert choose_event([], NOW) is None


def test_events_of_this_runs_own_prunes_are_not_the_left_ones() -> None:
    events = [PruneEvent(NOW + seconds, seconds) for seconds in (1, 2, 3)]
    assert choose_event(events, NOW, own=2) == events[0]
    assert choose_event(events, NOW, own=3) is None


# Its records


def _record(id: str, used_before_s: float, *, shared: bool = False, in_use: bool = False) -> CacheRecord:
    used = datetime.fromtimestamp(LEFT.begun_ts or 0, UTC) - timedelta(seconds=used_before_s)
    return CacheRecord(id, (), "regular", 1, used, in_use, shared)


@pytest.mark.parametrize(
    ("record", "left"),
    [
        (_record("old", 86_400), True),
        (_record("younger", 86_399), False),
        (_record("grew old since, for a later prune", 86_400 - 3600), False),
        (_record("shared", 90_000, shared=True), False),
        (_record("in use", 90_000, in_use=True), False),
    ],
    ids=lambda value: value.id if isinstance(value, CacheRecord) else "",
)
def test_what_the_prune_found_and_would_remove_is_left(record: CacheRecord, left: bool) -> None:
    assert is_anything_left(LEFT, [record]) is left


def test_all_takes_shared_records_as_well() -> None:
    assert is_anything_left(replace(LEFT, all=True), [_record("shared", 90_000, shared=True)]) is True


def test_without_records_or_a_begin_it_is_not_known_whether_anything_is_left() -> None:
    assert is_anything_left(LEFT, []) is False
    assert is_anything_left(LEFT, None) is None
    assert is_anything_left(replace(LEFT, begun_ts=None), []) is None


# What follows


@pytest.mark.parametrize("event", [None, PruneEvent(NOW, 5)])
@pytest.mark.parametrize("anything_left", [True, False, None])
@pytest.mark.parametrize("is_pruning", [True, False, None])
def test_in_doubt_it_may_still_run(
    event: PruneEvent | None, anything_left: bool | None, is_pruning: bool | None
) -> None:
    known_by = decide_known_by(event, anything_left, is_pruning)
    if event:
        assert known_by == "event"
    elif anything_left is False:
        assert known_by == "records"
    elif is_pruning is False:
        assert known_by == "process"
    else:
        assert known_by is None


@pytest.mark.parametrize(
    ("followed", "trigger", "waits"),
    [
        (None, "schedule", False),
        (Followed("note", LEFT), "schedule", False),  # its own, tried again
        (Followed("note", replace(LEFT, task_id="other")), "schedule", True),
        (Followed("note", replace(LEFT, task_id="other")), "disk", True),
        (Followed("note", replace(LEFT, task_id="other")), "manual", False),
        (Followed("note", replace(LEFT, task_id="other"), "event", 5), "schedule", False),
        (Followed("unreadable", None), "schedule", True),
        (Followed("unreadable", None), "manual", False),
    ],
)
def test_only_by_hand_or_tried_again_it_queues_behind_one_that_may_still_run(
    followed: Followed | None, trigger: str, waits: bool
) -> None:
    assert decide_wait(followed, "id", trigger, LEFT.left_ts + 100, 3600) is waits


@pytest.mark.parametrize(("seconds", "waits"), [(-5, True), (3599.9, True), (3600, False)])
def test_no_run_waits_longer_than_an_interval(seconds: float, waits: bool) -> None:
    followed = Followed("note", replace(LEFT, task_id="other"))
    assert decide_wait(followed, "id", "schedule", LEFT.left_ts + seconds, 3600) is waits


def test_the_report_says_what_became_of_it() -> None:
    assert followed_facts(Followed("note", LEFT, "event", 5, 4)) == {
        "task_id": "id", "ended": True, "reclaimed_bytes": 5, "freed_bytes": 4, "known_by": "event",
    }  # fmt: skip
    assert followed_facts(Followed("note", None)) == {
        "task_id": None, "ended": False, "reclaimed_bytes": None, "freed_bytes": None, "known_by": None,
    }  # fmt: skip


# What is sent


def test_the_commands() -> None:
    bounded = ("timeout", "-s", "KILL", "20")
    assert (*bounded, "docker", "system", "df", "-v", "--format", "{{json .}}") == RECORDS
    assert (*bounded, "pgrep", "-f", "builder prune --forc[e]") == PRUNING
    assert events_argv(17, 42) == (
        *bounded, "docker", "events", "--since", "17", "--until", "42", "--filter", "type=builder",
        "--format", "{{json .}}",
    )  # fmt: skip


def _follow(shell: RecordingShell, left: LeftPrune | str | None, engine: Engine = ENGINE) -> Any:
    memory: Any = FakeMemory()
    memory.left_by = to_note(left) if isinstance(left, LeftPrune) else left
    clock = time.monotonic()
    followed = asyncio.run(follow(shell, memory, engine, clock))
    return followed, memory.calls


def _asked(shell: RecordingShell) -> list[str]:
    return [argv[5] if argv[4] == "docker" else argv[4] for argv in shell.sent]


def test_where_nothing_was_left_nothing_is_asked() -> None:
    shell = RecordingShell(CLASSIC)
    assert _follow(shell, None) == (None, [])
    assert shell.sent == []


def test_a_note_that_can_not_be_read_asks_nothing_and_may_still_run() -> None:
    shell = RecordingShell(CLASSIC)
    assert _follow(shell, "garbage") == (Followed("garbage", None), [])
    assert shell.sent == []


def test_an_event_is_enough_and_its_bytes_are_counted_with_the_host_that_left_it() -> None:
    shell = RecordingShell(CLASSIC, events=_event(NOW - 7300, "1") + _event(NOW - 60))
    followed, calls = _follow(shell, replace(LEFT, host="by-another-name"))
    assert (followed.known_by, followed.reclaimed_bytes) == ("event", 5_000_000)
    assert calls == [("clear_may_still_run", ENGINE.id, followed.note, "by-another-name", 5_000_000)]
    assert _asked(shell) == ["events", "df"]
    since, until = shell.sent[0][7], shell.sent[0][9]
    assert since == str(math.floor(NOW - 7200))
    assert NOW <= int(until) <= NOW + 3


def test_the_disk_says_what_was_freed_since() -> None:
    shell = RecordingShell(CLASSIC, events=_event(NOW))
    free = 50_000_000
    followed, _ = _follow(shell, replace(LEFT, free_bytes=free))
    assert followed.freed_bytes == _free_bytes() - free
    for shell, left in (
        (RecordingShell(CLASSIC, events=_event(NOW), df=1), LEFT),
        (RecordingShell(CLASSIC, events=_event(NOW)), replace(LEFT, free_bytes=None)),
    ):
        assert _follow(shell, left)[0].freed_bytes is None


def _free_bytes() -> int:
    disk = parse_df(read("df", "coreutils-9.txt"), "/")
    assert disk is not None
    return disk.free_bytes


@pytest.mark.parametrize("events", ["", "garbage\n", "{}\n", 1, _event(NOW - 7201)])
def test_without_its_event_the_records_tell_and_its_bytes_stay_unknown(events: str | int) -> None:
    """The ring scrolled away, the engine was restarted, or its clock was set back."""
    shell = RecordingShell(CLASSIC, events=events, system=NO_CACHE)
    followed, calls = _follow(shell, LEFT)
    assert (followed.known_by, followed.reclaimed_bytes) == ("records", None)
    assert calls == [("clear_may_still_run", ENGINE.id, followed.note, "build-01", 0)]
    assert _asked(shell) == ["events", "system", "events", "df"]


def test_a_prune_that_ends_while_the_records_are_asked_for_is_told_by_its_event() -> None:
    shell = RecordingShell(CLASSIC, events="")
    shell.answers_in_turn("docker", ["", NO_CACHE, _event(NOW)])
    followed, calls = _follow(shell, LEFT)
    assert (followed.known_by, followed.reclaimed_bytes) == ("event", 5_000_000)
    assert calls[0][-1] == 5_000_000


@pytest.mark.parametrize("system", [read(CLASSIC, "system_df.json"), "garbage", "{}", 1, 137])
@pytest.mark.parametrize(
    ("pgrep", "known_by"), [(1, "process"), ("4711\n", None), (127, None), (2, None), (124, None)]
)
def test_where_something_is_left_or_unknown_the_processes_tell(
    system: str | int, pgrep: str | int, known_by: str | None
) -> None:
    shell = RecordingShell(CLASSIC, events="", system=system, pgrep=pgrep)
    left = replace(LEFT, until="1s", begun_ts=NOW + 300)  # after the captured records' last use
    later = datetime.fromtimestamp(NOW + 600, UTC)
    followed, calls = _follow(shell, left, replace(ENGINE, now=later))
    assert _asked(shell)[:3] == ["events", "system", "pgrep"]
    assert (followed.known_by, followed.reclaimed_bytes) == (known_by, None)
    assert [call[0] for call in calls] == (["clear_may_still_run"] if known_by else [])


def test_a_list_of_records_that_was_cut_is_not_known() -> None:
    cut = Completed((), 0, NO_CACHE, "", cut=True)
    shell = RecordingShell(CLASSIC, events="", system=cut, pgrep="4711\n")
    assert not _follow(shell, LEFT)[0].ended


def test_a_prune_through_buildx_makes_no_event_so_none_is_taken_for_it() -> None:
    shell = RecordingShell(BUILDX_013, events=_event(NOW), system=NO_CACHE)
    followed, calls = _follow(shell, replace(LEFT, builder="buildx 0.13.1"))
    assert (followed.known_by, followed.reclaimed_bytes) == ("records", None)
    assert "events" not in _asked(shell)
    assert calls[0][-1] == 0


@pytest.mark.parametrize(
    ("left", "engine"),
    [
        (replace(LEFT, begun_ts=None), ENGINE),
        (replace(LEFT, begun_ts=NOW + 600), ENGINE),
        (LEFT, replace(ENGINE, now=None)),
    ],
    ids=["begin unknown", "clock set back", "engine tells no time"],
)
def test_without_a_time_span_no_event_is_asked_for(left: LeftPrune, engine: Engine) -> None:
    shell = RecordingShell(CLASSIC, events=_event(NOW), system="garbage", pgrep="4711\n")
    followed, calls = _follow(shell, left, engine)
    assert not followed.ended
    assert calls == []
    assert "events" not in _asked(shell)


def test_a_connection_that_is_lost_while_asking_counts_nothing() -> None:
    shell, memory = RecordingShell(CLASSIC, events=HostUnreachable("lost")), FakeMemory()
    memory.left_by = to_note(LEFT)
    used: Any = memory
    with pytest.raises(HostUnreachable):
        asyncio.run(follow(shell, used, ENGINE, 0.0))
    assert memory.calls == []


@pytest.mark.parametrize(
    ("events", "known_by", "reclaimed"),
    [
        (_event(NOW - 60) + _event(NOW - 1, "7"), "event", 5_000_000),
        (_event(NOW - 1, "7"), "prune", None),  # our own
        ("", "prune", None),
        (1, "prune", None),
    ],
)
def test_one_that_was_overtaken_is_over_after_a_prune_of_our_own(
    events: str | int, known_by: str, reclaimed: int | None
) -> None:
    memory: Any = FakeMemory()
    shell = RecordingShell(CLASSIC, events=events)
    before = Followed(to_note(LEFT), LEFT, freed_bytes=9)
    clock = time.monotonic()
    followed = asyncio.run(follow_overtaken(shell, memory, ENGINE, clock, before, own=1))
    assert followed == replace(before, known_by=known_by, reclaimed_bytes=reclaimed)
    assert memory.calls == [("clear_may_still_run", ENGINE.id, before.note, "build-01", reclaimed or 0)]


# In a run


def _perform(
    monkeypatch: pytest.MonkeyPatch,
    shell: RecordingShell,
    memory: FakeMemory,
    trigger: str = "schedule",
    task_id: str = "next",
    soft_limit_s: float = 60,
) -> dict[str, Any]:
    def retry(exc: Exception, **_: Any) -> None:
        raise Retry(exc=exc)

    policy = PrunePolicy(True, 21_600, "24h", False, 120, 0)
    host = HostSettings(parse_host("ssh://build-01"), policy)
    arguments = PruneArguments(host.host, policy, ("24h",), False, False, trigger)
    monkeypatch.setattr(job, "connect", shell.connector())
    task: Any = SimpleNamespace(
        request=SimpleNamespace(timelimit=(90, soft_limit_s)), soft_time_limit=900, retry=retry
    )
    run = Run("build-01", task_id, 0, "delivery", started_ts=1000.0, due_ts=900.0)
    used: Any = memory
    return perform(task, run, arguments, Settings(fleet={"build-01": host}), used)


def _names(memory: FakeMemory) -> list[str]:
    return [call[0] for call in memory.calls]


@pytest.mark.parametrize("trigger", ["schedule", "manual"])
def test_a_run_counts_what_was_left_before_it_prunes_and_reports_it(
    monkeypatch: pytest.MonkeyPatch, trigger: str
) -> None:
    shell, memory = RecordingShell(CLASSIC, events=_event(NOW - 60)), FakeMemory()
    memory.left_by = to_note(LEFT)
    report = _perform(monkeypatch, shell, memory, trigger)
    assert report["outcome"] == "done"
    assert report["reclaimed_bytes"] == 8_170_000  # its own alone
    followed = report["followed"]
    assert (followed["task_id"], followed["reclaimed_bytes"]) == ("id", 5_000_000)
    assert shell.sent.index(PRUNE) > max(n for n, argv in enumerate(shell.sent) if "events" in argv)
    counted = ("clear_may_still_run", facts(CLASSIC)["ID"], memory.left_by, "build-01", 5_000_000)
    assert memory.calls.count(counted) == _names(memory).count("clear_may_still_run") == 1
    assert memory.calls.index(counted) < memory.calls.index(("add_reclaimed", "build-01", 8_170_000))


def test_a_report_where_nothing_was_left_has_no_such_field(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "followed" not in _perform(monkeypatch, RecordingShell(CLASSIC), FakeMemory())


def test_a_scheduled_run_is_skipped_while_it_may_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = RecordingShell(CLASSIC, events="", system="garbage", pgrep="4711\n")
    memory = FakeMemory()
    memory.left_by = to_note(replace(LEFT, left_ts=time.time()))
    report = _perform(monkeypatch, shell, memory)
    assert (report["outcome"], report["reason"]) == ("skipped", MAY_STILL_RUN)
    assert report["followed"]["ended"] is False
    assert PRUNE not in shell.sent
    assert "clear_may_still_run" not in _names(memory)


@pytest.mark.parametrize(("trigger", "task_id"), [("manual", "next"), ("schedule", "id")])
def test_by_hand_or_tried_again_it_prunes_on_and_counts_the_left_one_afterwards(
    monkeypatch: pytest.MonkeyPatch, trigger: str, task_id: str
) -> None:
    shell = RecordingShell(CLASSIC, events="", system="garbage", pgrep="4711\n")
    memory = FakeMemory()
    memory.left_by = to_note(LEFT)
    events = _event(NOW - 60) + _event(NOW - 2, "8170000") + _event(NOW - 1, "0")

    async def run(argv: Any, *, let_finish: bool = False) -> Any:
        if "prune" in argv:
            shell._answers["events"] = events
        return await real(argv, let_finish=let_finish)

    real = shell.run
    monkeypatch.setattr(shell, "run", run)
    report = _perform(monkeypatch, shell, memory, trigger, task_id)
    assert (report["outcome"], report["reclaimed_bytes"]) == ("done", 8_170_000)
    assert report["followed"]["known_by"] == "event"
    assert report["followed"]["reclaimed_bytes"] == 5_000_000
    cleared = [call for call in memory.calls if call[0] == "clear_may_still_run"]
    assert cleared == [("clear_may_still_run", facts(CLASSIC)["ID"], memory.left_by, "build-01", 5_000_000)]


def test_one_that_was_overtaken_is_no_more_noted_where_our_own_prune_then_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shell = RecordingShell(
        CLASSIC, prunes=["Total reclaimed space: 5MB\n", 1], events="", system="garbage", pgrep="4711\n"
    )
    memory = FakeMemory()
    memory.left_by = to_note(LEFT)
    with pytest.raises(CommandFailed):
        _perform(monkeypatch, shell, memory, "manual")
    assert ("clear_may_still_run", facts(CLASSIC)["ID"], memory.left_by) in memory.calls


def test_a_limit_that_is_reached_while_asking_leaves_the_note(monkeypatch: pytest.MonkeyPatch) -> None:
    shell, memory = RecordingShell(CLASSIC, events="", system=None), FakeMemory()
    memory.left_by = to_note(LEFT)
    with pytest.raises(CommandTimedOut) as caught:
        _perform(monkeypatch, shell, memory, soft_limit_s=0.1)
    assert caught.value.args[-1] is False
    assert not {"clear_may_still_run", "note_may_still_run"} & set(_names(memory))


@pytest.mark.parametrize("end", [None, HostUnreachable("lost")], ids=["soft limit", "lost connection"])
def test_a_prune_that_is_left_is_noted_with_all_that_following_it_takes(
    monkeypatch: pytest.MonkeyPatch, end: Any
) -> None:
    shell = RecordingShell(CLASSIC, prunes=["Total reclaimed space: 5MB\n", end])
    memory = FakeMemory()
    with suppress(CommandTimedOut, Retry):
        _perform(monkeypatch, shell, memory, soft_limit_s=0.3)
    ((_, engine_id, note, ttl_s),) = [call for call in memory.calls if call[0] == "note_may_still_run"]
    left = parse_note(note)
    assert left is not None
    assert left.begun_ts is not None
    assert NOW <= left.begun_ts < NOW + 5  # by the engine's clock, not this machine's
    assert (engine_id, ttl_s) == (facts(CLASSIC)["ID"], 2 * 21_600)
    assert abs(left.left_ts - time.time()) < 60
    assert replace(left, begun_ts=None) == LeftPrune(
        "next", "build-01", "24h", False, "classic", left.left_ts, None, _free_bytes()
    )


@pytest.mark.parametrize("passes", [0, 1])
def test_the_begin_that_is_noted_is_late_rather_than_early_only_after_another_pass(
    monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    """Else that one's event could be taken for its own; or its own, where it ends soon, be missed."""
    prunes = ["Total reclaimed space: 5MB\n"] * passes + [None]
    shell, memory = RecordingShell(CLASSIC, prunes=prunes), FakeMemory()
    real, look_s = shell.run, 0.2

    async def run(argv: Any, *, let_finish: bool = False) -> Any:
        answer = await real(argv, let_finish=let_finish)
        if "info" in argv:
            await asyncio.sleep(
                look_s
            )  # the engine told its time at once, and its answer was long on its way
        return answer

    monkeypatch.setattr(shell, "run", run)
    with pytest.raises(CommandTimedOut):
        _perform(monkeypatch, shell, memory, soft_limit_s=1)
    (note,) = [call[2] for call in memory.calls if call[0] == "note_may_still_run"]
    left = parse_note(note)
    assert left is not None
    assert left.begun_ts is not None
    assert (left.begun_ts >= NOW + look_s) is (passes > 0)


def test_an_old_gate_that_denies_the_questions_leaves_it_unknown_and_fails_nothing() -> None:
    denied = GateDenied("build-01", "docker events", "not in the command set", None, 1, 2)
    shell, memory = RecordingShell(CLASSIC, events=denied, system=denied, pgrep=denied), FakeMemory()
    memory.left_by = to_note(LEFT)
    memory_: Any = memory
    followed = asyncio.run(follow(shell, memory_, ENGINE, time.monotonic()))
    assert followed is not None
    assert (followed.ended, followed.reclaimed_bytes) == (False, None)
