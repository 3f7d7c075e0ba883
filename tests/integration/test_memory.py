"""What Redis remembers, and who holds an engine, against a real Redis."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis as redis_py
from pydantic import SecretStr

from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from worker.errors import GivenUp
from worker.memory import LOCK_TTL_S, RUN_TTL_S, HostMemory, Memory, open_memory
from worker.runs import ALREADY_RUNNING, MAX_DELIVERIES, Finished, Run, Skipped, check_delivery, engine_lock
from worker.settings import Settings

ENGINE = "an-engine"


@pytest.fixture
def client(session_redis: RedisServer) -> redis_py.Redis:
    return session_redis.client()  # type: ignore[no-any-return]


@pytest.fixture
def memory(client: redis_py.Redis) -> Memory:
    """The memory of a job that no other test has."""
    return Memory(client, f"job-{secrets.token_hex(4)}")


def key(memory: Memory, kind: str, name: str = ENGINE) -> str:
    return memory._key(kind, name)


def a_run(task_id: str = "task", retries: int = 0) -> Run:
    now = time.time()
    return Run("h", task_id, retries, secrets.token_hex(4), started_ts=now, due_ts=now)


# Hosts


def test_an_unknown_host_has_an_empty_memory(memory: Memory) -> None:
    assert memory.host("h") == HostMemory()
    assert memory.hosts(["h", "i"]) == {"h": HostMemory(), "i": HostMemory()}


def test_a_run_s_traces_are_read_back(memory: Memory) -> None:
    memory.record_start("h", "task-1", 1000.25)
    memory.record_engine("h", ENGINE)
    memory.add_reclaimed("h", 5_000_000_000)
    memory.add_reclaimed("h", 7)
    memory.record_success("h", 7, 1.5)
    known = memory.host("h")
    assert (known.last_run_ts, known.last_run_task_id) == (1000.25, "task-1")
    assert (known.engine_id, known.last_reclaimed_bytes) == (ENGINE, 7)
    assert known.total_reclaimed_bytes == 5_000_000_007
    assert time.time() - (known.last_success_ts or 0) < 60
    assert memory.hosts(["h"]) == {"h": known}


def test_failures_are_counted_until_a_success(memory: Memory) -> None:
    assert memory.record_failure("h", "CommandFailed", "CommandFailed: no") == 1
    assert memory.record_failure("h", "HostUnreachable", "HostUnreachable: no") == 2
    known = memory.host("h")
    assert (known.last_error, known.consecutive_failures) == ("HostUnreachable: no", 2)
    memory.record_success("h", None, 1.5)
    known = memory.host("h")
    assert (known.last_error, known.consecutive_failures, known.last_reclaimed_bytes) == (None, 0, None)


def test_a_last_run_s_state_is_kept_until_its_end_or_the_next_run(memory: Memory) -> None:
    def state() -> str | None:
        return memory.host("h").last_run_state

    for end in (
        lambda: memory.record_success("h", 7, 1.5),
        lambda: memory.record_failure("h", "Error", "no"),
    ):
        memory.record_start("h", "task-1", 1000.25)
        assert state() == "started"
        memory.finish_retried("task-1:0", "h")
        assert state() == "retrying"
        assert memory.finished("task-1:0") == (True, None)
        end()
        assert state() is None
    memory.count_skip("h", "ran recently")
    assert state() is None
    memory.count_skip("h", ALREADY_RUNNING, is_last_run=True)
    assert state() == "skipped"
    memory.count_skip("h", "ran recently")
    assert state() == "skipped"
    memory.record_start("h", "task-2", 1000.25)
    assert state() == "started"


def test_two_jobs_and_two_hosts_share_nothing(client: redis_py.Redis, memory: Memory) -> None:
    other = Memory(client, f"job-{secrets.token_hex(4)}")
    memory.record_failure("h", "Error", "no")
    assert memory.take(ENGINE, "task/1")
    assert other.host("h") == HostMemory() == memory.host("i")
    assert other.take(ENGINE, "task/2")


# Deliveries


def test_a_run_is_given_up_when_it_is_delivered_too_often(client: redis_py.Redis, memory: Memory) -> None:
    for _ in range(MAX_DELIVERIES):
        check_delivery(a_run(), memory)
    with pytest.raises(GivenUp, match=f"^h: delivered {MAX_DELIVERIES} times"):
        check_delivery(a_run(), memory)
    check_delivery(a_run(retries=1), memory)  # another attempt is counted on its own
    assert 0 < client.ttl(key(memory, "deliveries", "task:0")) <= RUN_TTL_S  # type: ignore[operator]


def test_a_finished_run_is_not_admitted_again_and_gives_its_report(memory: Memory) -> None:
    memory.finish("task:0", {"host": "h", "reason": None})
    with pytest.raises(Finished) as first:
        check_delivery(a_run(), memory)
    assert first.value.args == ({"host": "h", "reason": None},)
    memory.finish("task:1", None)  # it failed and is retried
    with pytest.raises(Finished) as retried:
        check_delivery(a_run(retries=1), memory)
    assert retried.value.args == (None,)
    assert memory.finished("task:2") == (False, None)


# The lock


def test_an_engine_s_lock_is_one_run_s_and_only_that_run_s(client: redis_py.Redis, memory: Memory) -> None:
    assert memory.take(ENGINE, "first/1")
    assert not memory.take(ENGINE, "second/1")
    assert memory.take(ENGINE, "first/1")  # asked twice, as after a lost answer
    assert memory.holder(ENGINE) == "first"
    assert memory.holders([ENGINE, "idle"]) == {ENGINE: "first", "idle": None}
    memory.release(ENGINE, "second/1")
    memory.release(ENGINE, "first/2")
    assert memory.holder(ENGINE) == "first"
    memory.release(ENGINE, "first/1")
    assert memory.holder(ENGINE) is None


def test_only_the_holder_renews_the_lock(client: redis_py.Redis, memory: Memory) -> None:
    memory.take(ENGINE, "first/1")
    client.pexpire(key(memory, "lock"), 15_000)
    assert not memory.renew(ENGINE, "second/1")
    assert client.pttl(key(memory, "lock")) <= 15_000  # type: ignore[operator]
    assert memory.renew(ENGINE, "first/1")
    assert 15_000 < client.pttl(key(memory, "lock")) <= LOCK_TTL_S * 1000  # type: ignore[operator]


def test_a_lock_that_redis_lost_is_taken_again_by_renewing(client: redis_py.Redis, memory: Memory) -> None:
    memory.take(ENGINE, "first/1")
    client.delete(key(memory, "lock"))
    assert memory.renew(ENGINE, "first/1")
    assert memory.holder(ENGINE) == "first"


def test_the_note_of_prunes_is_kept_for_a_time(client: redis_py.Redis, memory: Memory) -> None:
    assert memory.noted_prunes(ENGINE) is None
    memory.note_prunes(ENGINE, "note-1", 600)
    assert memory.noted_prunes(ENGINE) == "note-1"
    assert 500 < client.ttl(key(memory, "prunes")) <= 600  # type: ignore[operator]
    assert memory.settle_prune(ENGINE, "note-1", "", "h", 0)
    assert memory.noted_prunes(ENGINE) is None
    assert memory.host("h") == HostMemory()


def test_what_is_left_of_a_note_is_kept_no_longer(client: redis_py.Redis, memory: Memory) -> None:
    memory.note_prunes(ENGINE, "note-1 and note-2", 600)
    client.expire(key(memory, "prunes"), 300)  # as time has passed
    assert memory.settle_prune(ENGINE, "note-1 and note-2", "note-2", "h", 5)
    assert memory.noted_prunes(ENGINE) == "note-2"
    assert 0 < client.ttl(key(memory, "prunes")) <= 300  # type: ignore[operator]


def test_what_a_prune_reclaimed_counts_once_whoever_comes_how_often(memory: Memory) -> None:
    memory.add_reclaimed("h", 1)
    memory.note_prunes(ENGINE, "note-1", 600)
    assert memory.settle_prune(ENGINE, "note-1", "", "h", 5_000_000_000)
    assert not memory.settle_prune(ENGINE, "note-1", "", "h", 5_000_000_000)
    memory.note_prunes(ENGINE, "note-2", 600)
    assert not memory.settle_prune(ENGINE, "note-1", "", "h", 7)
    assert memory.noted_prunes(ENGINE) == "note-2"
    assert memory.host("h").total_reclaimed_bytes == 5_000_000_001


def test_two_workers_that_follow_one_prune_count_it_once(memory: Memory) -> None:
    for turn in range(20):
        memory.note_prunes(ENGINE, f"note-{turn}", 600)
        with ThreadPoolExecutor(8) as pool:
            settled = [pool.submit(memory.settle_prune, ENGINE, f"note-{turn}", "", "h", 3) for _ in range(8)]
        assert sum(done.result() for done in settled) == 1
    assert memory.host("h").total_reclaimed_bytes == 60


# Turns


async def hold_engine(memory: Memory, run: Run) -> str | None:
    async with engine_lock(run, memory, ENGINE):
        return memory.holder(ENGINE)


def test_a_turn_holds_the_lock_and_gives_it_back(memory: Memory) -> None:
    assert asyncio.run(hold_engine(memory, a_run())) == "task"
    assert memory.holder(ENGINE) is None


def test_a_turn_that_fails_gives_the_lock_back(memory: Memory) -> None:
    async def fail() -> None:
        async with engine_lock(a_run(), memory, ENGINE):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(fail())
    assert memory.holder(ENGINE) is None


def test_another_run_is_skipped_while_the_turn_is_taken(memory: Memory) -> None:
    memory.take(ENGINE, "other/1")
    with pytest.raises(Skipped, match=ALREADY_RUNNING):
        asyncio.run(hold_engine(memory, a_run()))
    assert memory.holder(ENGINE) == "other"


@pytest.fixture
def second_delivery(memory: Memory) -> Iterator[tuple[threading.Thread, list[object]]]:
    """A second delivery that waits for the first; what came of it."""
    outcome: list[object] = []
    first = a_run()
    memory.take(ENGINE, f"{first.task_id}/{first.delivery}")

    def deliver() -> None:
        try:
            outcome.append(asyncio.run(hold_engine(memory, a_run())))
        except Finished as finished:
            outcome.append(finished)

    thread = threading.Thread(target=deliver)
    thread.start()
    yield thread, outcome
    thread.join(60)


def test_a_second_delivery_waits_and_returns_the_first_one_s_report(
    client: redis_py.Redis, memory: Memory, second_delivery: tuple[threading.Thread, list[object]]
) -> None:
    _, outcome = second_delivery
    memory.finish("task:0", {"outcome": "done"})
    assert outcome == []  # it waits for the lock, not for the report
    client.delete(key(memory, "lock"))
    wait_until(lambda: outcome, 60, "the second delivery")
    assert isinstance(outcome[0], Finished)
    assert outcome[0].args == ({"outcome": "done"},)
    assert memory.holder(ENGINE) is None


def test_a_second_delivery_takes_over_when_the_first_one_s_lock_expires(
    client: redis_py.Redis, memory: Memory, second_delivery: tuple[threading.Thread, list[object]]
) -> None:
    _, outcome = second_delivery
    client.pexpire(key(memory, "lock"), 100)
    wait_until(lambda: outcome, 60, "the second delivery")
    assert outcome == ["task"]


# Redis itself


def test_a_restart_of_redis_in_between_is_ridden_out(redis: RedisServer) -> None:
    settings = Settings(redis_url=SecretStr(redis.url))
    with open_memory(settings, "job") as memory:
        memory.add_reclaimed("h", 1)
        redis.stop()
        back = threading.Timer(0.5, redis.start)
        back.start()
        memory.add_reclaimed("h", 2)
        back.join()
        assert memory.host("h").total_reclaimed_bytes == 3
