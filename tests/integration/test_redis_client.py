"""The client of those who can't wait: one try, and an answer or an error in time."""

from __future__ import annotations

import os
import signal

import pytest
import redis as redis_py

from tests.support.network import SilentServer
from tests.support.ports import LOOPBACK
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from worker.redis_client import open_redis_at_once
from worker.settings import Settings


def test_a_redis_that_does_not_answer_is_not_waited_for(silent_server: SilentServer) -> None:
    with (
        open_redis_at_once(Settings(redis_url=f"redis://{silent_server.name}/0"), 0.5) as client,
        pytest.raises(redis_py.TimeoutError),
    ):
        client.ping()
    wait_until(lambda: silent_server.accepted, 60, "its connection")
    assert silent_server.accepted == 1  # a second try would make another


def test_a_redis_that_stops_answering_is_not_asked_again(redis: RedisServer) -> None:
    with Proxy(redis.port) as proxy:
        settings = Settings(redis_url=f"redis://{LOOPBACK}:{proxy.port}/0")
        with open_redis_at_once(settings, 2) as client:
            wait_until(lambda: answers(client), 60, "Redis to answer")
            os.kill(redis.pid, signal.SIGSTOP)
            tries = proxy.accepted
            with pytest.raises(redis_py.TimeoutError):
                client.ping()
            assert proxy.accepted == tries  # a second try would make a connection
            os.kill(redis.pid, signal.SIGCONT)


def answers(client: redis_py.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis_py.TimeoutError:
        return False


def test_what_is_no_text_is_read_all_the_same(session_redis: RedisServer) -> None:
    with open_redis_at_once(Settings(redis_url=session_redis.url), 8) as client:
        client.set("no-text", b"a\xff")
        assert client.getdel("no-text") == "a\ufffd"
