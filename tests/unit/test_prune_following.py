"""Prunes that an earlier run left: what is asked of them, and what a run makes of the answers."""

from __future__ import annotations

import asyncio
import json
import math
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Retry

from tasks import prune_on_host, prune_visit
from tasks.followed import Count, Followed, KnownBy
from tasks.left_prunes import LeftPrune, parse_note, to_note
from tasks.prune_arguments import PruneArguments
from tasks.prune_build_cache import perform
from tasks.prune_following import PRUNING, RECORDS, events_argv, follow, follow_overtaken
from tasks.prune_visit import MAY_STILL_RUN
from tests.unit.captured import BUILDX_013, CLASSIC, facts, read
from tests.unit.fakes import FakeMemory, RecordingShell
from worker.docker import Pruned, parse_df
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
BUILDX = "buildx 0.13.1"
PRUNE = ("docker", "builder", "prune", "--force", "--filter", "until=24h")
NO_CACHE = '{"BuildCache":[]}'


def _event(ts: float, reclaimed: Any = "5000000", **changes: Any) -> str:
    event = {
        "Type": "builder",
        "Action": "prune",
        "Actor": {"ID": "", "Attributes": {"reclaimed": reclaimed}},
    }
    return json.dumps(event | {"time": int(ts), "timeNano": int(ts * 1e9)} | changes) + "\n"


# What is sent


def test_the_commands() -> None:
    bounded = ("timeout", "-s", "KILL", "20")
    assert (*bounded, "docker", "system", "df", "-v", "--format", "{{json .}}") == RECORDS
    assert (*bounded, "pgrep", "-f", "builder prune --forc[e]") == PRUNING
    assert events_argv(17, 42) == (
        *bounded, "docker", "events", "--since", "17", "--until", "42", "--filter", "type=builder",
        "--format", "{{json .}}",
    )  # fmt: skip


def _follow(
    shell: RecordingShell, *left: LeftPrune, note: str | None = None, engine: Engine = ENGINE
) -> tuple[Any, FakeMemory]:
    memory = FakeMemory()
    memory.note = note or to_note(left) or None
    used: Any = memory
    return asyncio.run(follow(shell, used, engine, time.monotonic())), memory


def _asked(shell: RecordingShell) -> list[str]:
    return [argv[5] if argv[4] == "docker" else argv[4] for argv in shell.sent]


def test_where_nothing_was_left_nothing_is_asked() -> None:
    shell = RecordingShell(CLASSIC)
    assert _follow(shell)[0] is None
    assert shell.sent == []


def test_a_note_that_can_not_be_read_asks_nothing_and_may_still_run() -> None:
    shell = RecordingShell(CLASSIC)
    followed, memory = _follow(shell, note="garbage")
    assert (followed, memory.note, memory.calls) == (Followed("garbage"), "garbage", [])
    assert shell.sent == []


def test_an_event_is_enough_and_its_bytes_are_counted_with_the_host_that_left_it() -> None:
    shell = RecordingShell(CLASSIC, events=_event(NOW - 7300, "1") + _event(NOW - 60))
    followed, memory = _follow(shell, replace(LEFT, host="by-another-name"))
    assert (followed.known_by, followed.counts) == ("event", (Count(5_000_000, "event"),))
    assert (memory.totals, memory.note) == ({"by-another-name": 5_000_000}, None)
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
    followed, memory = _follow(shell, LEFT)
    assert (followed.known_by, followed.reclaimed_bytes) == ("records", None)
    assert (memory.totals["build-01"], memory.note) == (0, None)
    assert _asked(shell) == ["events", "system", "pgrep", "events", "df"]


def test_a_prune_that_ends_while_the_records_are_asked_for_is_told_by_its_event() -> None:
    shell = RecordingShell(CLASSIC, events="")
    shell.answers_in_turn("docker", ["", NO_CACHE, _event(NOW)])
    followed, memory = _follow(shell, LEFT)
    assert (followed.known_by, followed.reclaimed_bytes) == ("event", 5_000_000)
    assert memory.totals["build-01"] == 5_000_000


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
    followed, memory = _follow(shell, left, engine=replace(ENGINE, now=later))
    assert _asked(shell)[:3] == ["events", "system", "pgrep"]
    assert (followed.known_by, followed.reclaimed_bytes) == (known_by, None)
    assert (memory.note is None) is (known_by is not None)


def test_a_list_of_records_that_was_cut_is_not_known() -> None:
    cut = Completed((), 0, NO_CACHE, "", cut=True)
    shell = RecordingShell(CLASSIC, events="", system=cut, pgrep="4711\n")
    assert not _follow(shell, LEFT)[0].ended


def test_a_prune_through_buildx_makes_no_event_so_none_is_taken_for_it() -> None:
    shell = RecordingShell(BUILDX_013, events=_event(NOW), system=NO_CACHE)
    followed, memory = _follow(shell, replace(LEFT, builder=BUILDX))
    assert (followed.known_by, followed.reclaimed_bytes) == ("records", None)
    assert "events" not in _asked(shell)
    assert memory.totals["build-01"] == 0


def test_of_a_prune_through_buildx_counts_what_it_printed_and_more_where_cache_and_disk_say_so() -> None:
    left = replace(LEFT, builder=BUILDX, printed_bytes=3_000_000, free_bytes=_free_bytes() - 9_000_000)
    for cache, count in (
        (None, Count(3_000_000, "printed")),
        (2_000_000, Count(3_000_000, "printed")),
        (7_000_000, Count(7_000_000, "disk")),
        (70_000_000, Count(9_000_000, "disk")),
    ):
        shell = RecordingShell(BUILDX_013, system=NO_CACHE)
        followed, memory = _follow(shell, replace(left, cache_bytes=cache))
        assert (followed.known_by, followed.counts) == ("records", (count,))
        assert memory.totals["build-01"] == count.reclaimed_bytes


def test_of_several_the_last_one_s_end_ends_all_and_each_counts_with_its_host() -> None:
    first = replace(LEFT, host="by-another-name")
    second = replace(LEFT, begun_ts=NOW - 3600)
    events = [_event(NOW - 7000, "1000"), _event(NOW - 60, "200")]
    followed, memory = _follow(RecordingShell(CLASSIC, events="".join(events)), first, second)
    assert (followed.known_by, followed.reclaimed_bytes) == ("event", 1200)
    assert (memory.totals, memory.note) == ({"by-another-name": 1000, "build-01": 200}, None)

    still = RecordingShell(CLASSIC, events=events[0], system="garbage", pgrep="4711\n")
    followed, memory = _follow(still, first, second)
    assert (followed.ended, memory.totals, memory.note) == (False, {}, to_note((first, second)))


def test_what_the_disk_gained_is_nobody_s_own_where_several_were_left() -> None:
    left = replace(LEFT, builder=BUILDX, cache_bytes=7_000_000, free_bytes=_free_bytes() - 9_000_000)
    followed, memory = _follow(RecordingShell(BUILDX_013, system=NO_CACHE), left, left)
    assert (followed.known_by, followed.counts, memory.note) == ("records", (Count(), Count()), None)


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
    followed, memory = _follow(shell, left, engine=engine)
    assert not followed.ended
    assert memory.calls == []
    assert "events" not in _asked(shell)


def test_a_connection_that_is_lost_while_asking_counts_nothing() -> None:
    shell, memory = RecordingShell(CLASSIC, events=HostUnreachable("lost")), FakeMemory()
    memory.note = to_note([LEFT])
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
    events: str | int, known_by: KnownBy, reclaimed: int | None
) -> None:
    memory: Any = FakeMemory()
    shell = RecordingShell(CLASSIC, events=events)
    before = Followed(to_note([LEFT]), (LEFT,), freed_bytes=9)
    memory.note = before.note
    clock = time.monotonic()
    followed = asyncio.run(follow_overtaken(shell, memory, ENGINE, clock, before, [Pruned(7, 0)]))
    count = Count(reclaimed, "event" if reclaimed else None)
    assert followed == replace(before, known_by=known_by, counts=(count,))
    assert (memory.totals["build-01"], memory.note) == (reclaimed or 0, None)


def test_a_note_that_can_not_be_read_is_over_after_a_prune_of_our_own() -> None:
    memory: Any = FakeMemory()
    memory.note = "garbage"
    shell = RecordingShell(CLASSIC, events=_event(NOW))
    followed = asyncio.run(follow_overtaken(shell, memory, ENGINE, 0.0, Followed("garbage"), [Pruned(7, 0)]))
    assert (followed.known_by, followed.reclaimed_bytes, memory.note) == ("prune", None, None)
    assert shell.sent == []


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
    monkeypatch.setattr(prune_visit, "connect", shell.connector())
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
    memory.note = to_note([LEFT])
    report = _perform(monkeypatch, shell, memory, trigger)
    assert report["outcome"] == "done"
    assert report["reclaimed_bytes"] == 8_170_000  # its own alone
    followed = report["followed"]
    assert (followed["task_ids"], followed["reclaimed_bytes"]) == (["id"], 5_000_000)
    assert shell.sent.index(PRUNE) > max(n for n, argv in enumerate(shell.sent) if "events" in argv)
    settled = [call[-1] for call in memory.calls if call[0] == "settle_prune"]
    assert settled == [5_000_000, 8_170_000, 0]
    assert memory.totals["build-01"] == 13_170_000
    assert memory.note is None


def test_a_report_where_nothing_was_left_has_no_such_field(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "followed" not in _perform(monkeypatch, RecordingShell(CLASSIC), FakeMemory())


def test_a_scheduled_run_is_skipped_while_it_may_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = RecordingShell(CLASSIC, events="", system="garbage", pgrep="4711\n")
    memory = FakeMemory()
    memory.note = note = to_note([replace(LEFT, left_ts=time.time())])
    report = _perform(monkeypatch, shell, memory)
    assert (report["outcome"], report["reason"]) == ("skipped", MAY_STILL_RUN)
    assert report["followed"]["ended"] is False
    assert PRUNE not in shell.sent
    assert memory.note == note


@pytest.mark.parametrize(("trigger", "task_id"), [("manual", "next"), ("schedule", "id")])
def test_by_hand_or_tried_again_it_prunes_on_and_counts_the_left_one_afterwards(
    monkeypatch: pytest.MonkeyPatch, trigger: str, task_id: str
) -> None:
    shell = RecordingShell(CLASSIC, events="", system="garbage", pgrep="4711\n")
    memory = FakeMemory()
    memory.note = to_note([LEFT])
    events = _event(NOW - 60) + _event(NOW - 2, "8170000") + _event(NOW - 1, "0")

    async def run(argv: Any, **how: Any) -> Any:
        if "prune" in argv:
            shell._answers["events"] = events
        return await real(argv, **how)

    real = shell.run
    monkeypatch.setattr(shell, "run", run)
    report = _perform(monkeypatch, shell, memory, trigger, task_id)
    assert (report["outcome"], report["reclaimed_bytes"]) == ("done", 8_170_000)
    assert report["followed"]["known_by"] == "event"
    assert report["followed"]["reclaimed_bytes"] == 5_000_000
    assert memory.totals["build-01"] == 13_170_000
    assert memory.note is None


def test_one_that_was_overtaken_is_no_more_noted_where_our_own_prune_then_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shell = RecordingShell(
        CLASSIC, prunes=["Total reclaimed space: 5MB\n", 1], events="", system="garbage", pgrep="4711\n"
    )
    memory = FakeMemory()
    memory.note = to_note([LEFT])
    with pytest.raises(CommandFailed):
        _perform(monkeypatch, shell, memory, "manual")
    assert memory.totals["build-01"] == 5_000_000
    assert memory.note is None


def test_a_limit_that_is_reached_while_asking_leaves_the_note(monkeypatch: pytest.MonkeyPatch) -> None:
    shell, memory = RecordingShell(CLASSIC, events="", system=None), FakeMemory()
    memory.note = to_note([LEFT])
    with pytest.raises(CommandTimedOut) as caught:
        _perform(monkeypatch, shell, memory, soft_limit_s=30)
    assert caught.value.args[-1] is False
    assert memory.note == to_note([LEFT])


@pytest.mark.parametrize("end", [None, HostUnreachable("lost")], ids=["soft limit", "lost connection"])
def test_a_prune_that_is_left_is_noted_with_all_that_following_it_takes(
    monkeypatch: pytest.MonkeyPatch, end: Any
) -> None:
    shell = RecordingShell(CLASSIC, prunes=["Total reclaimed space: 5MB\n", end])
    memory = FakeMemory()
    with suppress(CommandTimedOut, Retry):
        _perform(monkeypatch, shell, memory, soft_limit_s=30)
    _, engine_id, _, ttl_s = [call for call in memory.calls if call[0] == "note_prunes"][-1]
    (left,) = parse_note(memory.note or "")
    assert left.begun_ts is not None
    assert NOW <= left.begun_ts < NOW + 5  # by the engine's clock, not this machine's
    assert (engine_id, ttl_s) == (facts(CLASSIC)["ID"], 120 + 2 * 21_600)
    assert abs(left.left_ts - time.time()) < 60
    assert replace(left, begun_ts=None) == LeftPrune(
        "next", "build-01", "24h", False, "classic", left.left_ts, None, _free_bytes() + 5_000_000
    )


@pytest.mark.parametrize("passes", [0, 1])
def test_the_begin_that_is_noted_is_late_rather_than_early_only_after_another_pass(
    monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    """Else that one's event could be taken for its own; or its own, where it ends soon, be missed."""
    prunes = ["Total reclaimed space: 5MB\n"] * passes + [None]
    shell, memory = RecordingShell(CLASSIC, prunes=prunes), FakeMemory()
    real, look_s, clock_s = shell.run, 0.2, 0.0

    async def run(argv: Any, **how: Any) -> Any:
        nonlocal clock_s
        answer = await real(argv, **how)
        if "info" in argv:
            clock_s += look_s  # the engine told its time at once, and its answer was long on its way
        return answer

    clock = SimpleNamespace(time=time.time, monotonic=lambda: clock_s)
    for module in (prune_visit, prune_on_host):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(shell, "run", run)
    with pytest.raises(CommandTimedOut):
        _perform(monkeypatch, shell, memory, soft_limit_s=30)
    (left,) = parse_note(memory.note or "")
    assert left.begun_ts is not None
    assert (left.begun_ts >= NOW + look_s) is (passes > 0)


def test_an_old_gate_that_denies_the_questions_leaves_it_unknown_and_fails_nothing() -> None:
    denied = GateDenied("build-01", "docker events", "not in the command set", None, 1, 2)
    shell, memory = RecordingShell(CLASSIC, events=denied, system=denied, pgrep=denied), FakeMemory()
    memory.note = to_note([LEFT])
    memory_: Any = memory
    followed = asyncio.run(follow(shell, memory_, ENGINE, time.monotonic()))
    assert followed is not None
    assert (followed.ended, followed.reclaimed_bytes) == (False, None)


def test_a_prune_that_a_gate_denies_is_not_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    denied = GateDenied("build-01", "docker builder prune", "age below the minimum", 3600, 1, 1)
    memory = FakeMemory()
    with pytest.raises(GateDenied):
        _perform(monkeypatch, RecordingShell(CLASSIC, prunes=[denied]), memory)
    assert memory.note is None


ROW = "abc\ttrue\t3MB\t2 days ago\n"


@pytest.mark.parametrize(("passes", "printed"), [([ROW], 3_000_000), ([ROW, ""], None)])
def test_what_the_pass_that_is_left_printed_is_noted(
    monkeypatch: pytest.MonkeyPatch, passes: list[str], printed: int | None
) -> None:
    shell, memory = RecordingShell(BUILDX_013, prunes=["Total:\t3MB\n"]), FakeMemory()
    real, left = shell.run, list(passes)

    async def run(argv: Any, **how: Any) -> Any:
        if "prune" in argv:
            how["printed"] += left.pop(0).encode()
            if not left:
                raise HostUnreachable("lost")
        return await real(argv, **how)

    monkeypatch.setattr(shell, "run", run)
    with pytest.raises(Retry):
        _perform(monkeypatch, shell, memory)
    (noted,) = parse_note(memory.note or "")
    assert noted.printed_bytes == printed


def test_rows_count_where_the_total_can_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FakeMemory()
    report = _perform(monkeypatch, RecordingShell(BUILDX_013, prunes=[ROW + "Total:\tmuch\n"]), memory)
    assert (report["reclaimed_bytes"], memory.totals["build-01"]) == (None, 3_000_000)


def test_a_connection_that_is_lost_after_our_own_prune_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = RecordingShell(CLASSIC, events="", system="garbage", pgrep="4711\n")
    memory = FakeMemory()
    memory.note = to_note([LEFT])
    real = shell.run

    async def run(argv: Any, **how: Any) -> Any:
        if "prune" in argv:
            shell._answers["events"] = HostUnreachable("lost")
        return await real(argv, **how)

    monkeypatch.setattr(shell, "run", run)
    assert _perform(monkeypatch, shell, memory, "manual")["outcome"] == "done"
    assert memory.note is None


def test_the_event_of_one_that_was_overtaken_is_waited_for() -> None:
    memory: Any = FakeMemory()
    memory.note = to_note([LEFT])
    shell = RecordingShell(CLASSIC, events="")
    shell.answers_in_turn("docker", ["", "", "", _event(NOW - 60)])
    left = Followed(memory.note, (LEFT,))
    followed = asyncio.run(follow_overtaken(shell, memory, ENGINE, time.monotonic(), left, []))
    assert (followed.known_by, followed.reclaimed_bytes) == ("event", 5_000_000)
    assert len(shell.sent) == 4
