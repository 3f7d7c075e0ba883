"""How a host's fields in Redis read. (What is written: tests/integration.)"""

from __future__ import annotations

from pydantic import SecretStr

from worker.memory import LOCK_TTL_S, HostMemory
from worker.redis_client import open_redis
from worker.settings import Settings


def test_a_host_that_never_ran_has_no_fields() -> None:
    assert HostMemory.from_fields({}) == HostMemory()


def test_a_hosts_fields_are_read() -> None:
    assert HostMemory.from_fields(
        {
            "last_run_ts": "1780000000.25",
            "last_run_task_id": "id",
            "last_success_ts": "1780000001.5",
            "last_reclaimed_bytes": "0",
            "total_reclaimed_bytes": "49210000",
            "last_error": "HostUnreachable: lost",
            "consecutive_failures": "2",
            "engine_id": "engine-id",
        }
    ) == HostMemory(1780000000.25, "id", 1780000001.5, 0, 49_210_000, "HostUnreachable: lost", 2, "engine-id")


def test_cleared_fields_are_none_not_zero() -> None:
    memory = HostMemory.from_fields(
        {"last_reclaimed_bytes": "", "last_error": "", "consecutive_failures": "0"}
    )
    assert (memory.last_reclaimed_bytes, memory.last_error, memory.consecutive_failures) == (None, None, 0)


def test_opening_needs_no_redis_and_every_wait_has_an_end() -> None:
    client = open_redis(Settings(redis_url=SecretStr("redis://:hunter2@127.0.0.1:1/3")))
    options = client.connection_pool.connection_kwargs
    assert (options["port"], options["db"], options["password"]) == (1, 3, "hunter2")
    assert 0 < options["socket_timeout"] < LOCK_TTL_S / 3
    assert 0 < options["socket_connect_timeout"] < LOCK_TTL_S / 3
