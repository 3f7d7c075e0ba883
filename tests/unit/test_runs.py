"""What every run has: its delivery, its engine, and a record of its failure."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from tests.unit.fakes import FakeMemory
from worker import run_signals, runs
from worker.errors import GivenUp, HostUnreachable, InvalidArgument, UnknownHost
from worker.fleet import HostSettings
from worker.hosts import parse_host
from worker.policies import PrunePolicy
from worker.runs import (
    ALREADY_RUNNING,
    Finished,
    Run,
    Skipped,
    check_delivery,
    engine_lock,
    tolerating_redis_outage,
)
from worker.settings import Settings

RUN = Run("build-01", "id", 2, "delivery", 0.0, 0.0)


def _memory() -> Any:
    return FakeMemory()


def test_a_retry_is_another_attempt_and_a_second_delivery_the_same() -> None:
    assert RUN.attempt == "id:2"
    assert Run("build-01", "id", 3, "delivery", 0.0, 0.0).attempt != RUN.attempt
    assert Run("build-01", "id", 2, "other", 9.0, 0.0).attempt == RUN.attempt


def test_a_run_is_admitted_three_times() -> None:
    memory = _memory()
    for _ in range(3):
        check_delivery(RUN, memory)
    with pytest.raises(GivenUp, match="build-01: delivered 3 times"):
        check_delivery(RUN, memory)


@pytest.mark.parametrize("report", [None, {"outcome": "done"}])
def test_a_finished_attempt_is_not_done_again(report: Any) -> None:
    memory = _memory()
    memory.reports["id:2"] = report
    with pytest.raises(Finished) as caught:
        check_delivery(RUN, memory)
    assert caught.value.args == (report,)
    assert memory.deliveries == 0


def _hold_engine(memory: Any) -> None:
    async def work() -> None:
        async with engine_lock(RUN, memory, "engine"):
            assert memory.owner == "id/delivery"

    asyncio.run(asyncio.wait_for(work(), 60))


def test_a_turn_is_taken_and_given_back() -> None:
    memory = _memory()
    _hold_engine(memory)
    assert memory.owner is None


def test_a_turn_is_given_back_on_failure() -> None:
    memory = _memory()

    async def fail() -> None:
        async with engine_lock(RUN, memory, "engine"):
            raise HostUnreachable("lost")

    with pytest.raises(HostUnreachable):
        asyncio.run(fail())
    assert memory.owner is None


def test_another_runs_turn_is_not_waited_for() -> None:
    memory = _memory()
    memory.owner = "other/x"
    with pytest.raises(Skipped, match=ALREADY_RUNNING):
        _hold_engine(memory)
    assert memory.owner == "other/x"


@pytest.mark.parametrize("finished", [True, False])
def test_a_second_delivery_waits_for_the_first_and_reports_or_takes_over(
    monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    monkeypatch.setattr(runs, "_WAIT_S", 0.001)
    memory = _memory()
    memory.owner = "id/first"
    asked: list[str | None] = []

    def holder(engine_id: str) -> str | None:
        asked.append(memory.owner)
        if len(asked) == 3:
            memory.owner = None  # the first is done, or dead
            if finished:
                memory.reports["id:2"] = {"outcome": "done"}
        return "id"

    memory.holder = holder
    if finished:
        with pytest.raises(Finished) as caught:
            _hold_engine(memory)
        assert caught.value.args == ({"outcome": "done"},)
    else:
        _hold_engine(memory)
    assert len(asked) == 3
    assert memory.owner is None


def test_remembering_lets_a_report_stand_without_redis(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), tolerating_redis_outage():
        raise redis.ConnectionError("refused")
    assert "not remembered, Redis is away" in caplog.text


def test_remembering_hides_no_other_error() -> None:
    with pytest.raises(ValueError), tolerating_redis_outage():
        raise ValueError


@pytest.mark.parametrize(
    ("job", "args", "kwargs", "error", "host"),
    [
        ("prune_build_cache", [], {"host": "a"}, HostUnreachable("lost"), "a"),
        ("prune_build_cache", ["b"], {}, HostUnreachable("lost"), "b"),
        ("prune_build_cache", [], {}, HostUnreachable("lost"), None),  # there are two
        ("prune_build_cache", [], None, HostUnreachable("lost"), None),
        ("prune_build_cache", [], {"host": "c"}, UnknownHost("c", ["a"]), None),
        ("prune_build_cache", [], {"host": "a"}, InvalidArgument("until: '0'"), None),
        ("prune_build_cache", [], {"host": ["a"]}, HostUnreachable("lost"), None),
        ("prune_build_cache", [], {"host": "c"}, HostUnreachable("lost"), None),
        ("prune_build_cache", [], {"host": "a", "dry_run": True}, HostUnreachable("lost"), None),
        (None, [], {"host": "a"}, HostUnreachable("lost"), None),
    ],
)
def test_a_failure_is_remembered_with_its_host(
    monkeypatch: pytest.MonkeyPatch,
    job: str | None,
    args: Any,
    kwargs: Any,
    error: Exception,
    host: str | None,
) -> None:
    policy = PrunePolicy(True, 60, "24h", False, 120, 0)
    fleet = {known: HostSettings(parse_host(f"ssh://{known}"), policy) for known in ("a", "b")}
    memory = _memory()
    monkeypatch.setattr(run_signals, "get_settings", lambda: Settings(fleet=fleet))
    monkeypatch.setattr(run_signals, "open_memory", memory.opened)
    run_signals.remember_failure(sender=SimpleNamespace(job=job), exception=error, args=args, kwargs=kwargs)
    assert memory.calls == ([("record_failure", host, type(error).__name__, repr(error))] if host else [])


@pytest.mark.parametrize(
    ("job", "host", "expired", "delivery_info", "counted"),
    [
        ("watch_disk", "a", True, {"redelivered": False}, True),
        ("watch_disk", "a", True, None, True),
        ("watch_disk", "a", True, {"redelivered": True}, False),  # a worker began it, and was killed
        ("watch_disk", "a", False, {}, False),  # revoked by hand
        ("watch_disk", "elsewhere", True, {}, False),
        (None, "a", True, {}, False),
    ],
)
def test_a_message_that_no_worker_began_in_time_is_counted_as_expired(
    monkeypatch: pytest.MonkeyPatch,
    job: str | None,
    host: str,
    expired: bool,
    delivery_info: Any,
    counted: bool,
) -> None:
    policy = PrunePolicy(True, 60, "24h", False, 120, 0)
    memory = _memory()
    fleet = {"a": HostSettings(parse_host("ssh://a"), policy)}
    monkeypatch.setattr(run_signals, "get_settings", lambda: Settings(fleet=fleet))
    monkeypatch.setattr(run_signals, "open_memory", memory.opened)
    request = SimpleNamespace(args=[], kwargs={"host": host}, delivery_info=delivery_info)
    run_signals.count_expired(sender=SimpleNamespace(job=job), request=request, expired=expired)
    assert memory.calls == ([("count_expired", "a")] if counted else [])
