"""The client of those who can't wait: one try, and an answer or an error in time."""

from __future__ import annotations

import os
import signal
import time

import pytest
import redis as redis_py

from tests.support.network import SilentServer
from tests.support.redis_server import RedisServer
from worker.redis_client import open_redis_at_once
from worker.settings import Settings


def test_a_redis_that_does_not_answer_is_not_waited_for(silent_server: SilentServer) -> None:
    begun = time.monotonic()
    with (
        open_redis_at_once(Settings(redis_url=f"redis://{silent_server.name}/0"), 0.5) as client,
        pytest.raises(redis_py.TimeoutError),
    ):
        client.ping()
    assert time.monotonic() - begun < 5


def test_a_redis_that_stops_answering_is_not_asked_again(redis: RedisServer) -> None:
    with open_redis_at_once(Settings(redis_url=redis.url), 2) as client:
        client.ping()
        os.kill(redis.pid, signal.SIGSTOP)
        begun = time.monotonic()
        with pytest.raises(redis_py.TimeoutError):
            client.ping()
        assert time.monotonic() - begun < 3.5  # a second try takes as long as the first
        os.kill(redis.pid, signal.SIGCONT)


def test_what_is_no_text_is_read_all_the_same(session_redis: RedisServer) -> None:
    with open_redis_at_once(Settings(redis_url=session_redis.url), 8) as client:
        client.set("no-text", b"a\xff")
        assert client.getdel("no-text") == "a\ufffd"
