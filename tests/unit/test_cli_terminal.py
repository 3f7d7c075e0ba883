"""Text for a person: lengths of time, hostile text, Redis' trouble without its password."""

from __future__ import annotations

import re

import pytest
import redis
from kombu.exceptions import OperationalError

from tasks.cli.terminal import RedisTrouble, ago, format_seconds, one_line, redis_trouble, use_redis
from worker.settings import Settings


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (86_399, "23 h"),
        (86_400, "1 d"),
    ],
)
def test_format_seconds_uses_the_largest_unit(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_ago_says_never_for_none_and_is_not_negative_for_a_clock_that_is_behind() -> None:
    assert ago(None, 100) == "never"
    assert ago(40, 100) == "1 min ago"
    assert ago(200, 100) == "0 s ago"


def test_one_line_takes_out_line_ends_and_what_steers_a_terminal() -> None:
    assert one_line("a\n  b\tc \x1b[31md\x07") == "a b c ?[31md?"


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hush@db:1/0",
        "redis://hush:hush@db:1/0",
        "rediss://:hush@db:1/0?ssl_cert_reqs=none",
    ],
)
def test_redis_trouble_shows_no_user_and_no_password(url: str) -> None:
    settings = Settings(redis_url=url)
    text = redis_trouble(settings, redis.ConnectionError("Error 111 connecting to db:1. Connection refused."))
    assert text == "Redis at db:1 (HOLYSTONE_REDIS_URL) can't be used: Connection refused"


def test_redis_trouble_names_the_place_once_and_the_reason() -> None:
    settings = Settings(redis_url="redis://:hush@db:7/3")
    error = redis.ConnectionError("Error 111 connecting to db:7. Connection refused.")
    assert (
        redis_trouble(settings, error)
        == "Redis at db:7 (HOLYSTONE_REDIS_URL) can't be used: Connection refused"
    )


def test_redis_trouble_gives_no_python_name() -> None:
    settings = Settings(redis_url="redis://db:7/3")
    wrapped = OperationalError("wrapped")
    wrapped.__cause__ = redis.ConnectionError("Connection reset by peer")
    assert redis_trouble(settings, wrapped).endswith("can't be used: Connection reset by peer")
    for error in (ValueError("x"), TypeError("x")):
        assert redis_trouble(settings, error).endswith(
            "can't be used: what it holds can't be read; is that database Holystone's own?"
        )


@pytest.mark.parametrize("url", ["redis://:hu/sh@db:1/0", "redis://:hush@db:1/0?nonsense=1"])
def test_a_url_that_makes_no_sense_is_redis_trouble_without_its_password(url: str) -> None:
    settings = Settings(redis_url=url)
    with pytest.raises(RedisTrouble, match="HOLYSTONE_REDIS_URL") as failure, use_redis(settings):
        pytest.fail("nothing is to be asked of it")
    assert not re.search("hu/?sh", str(failure.value))
    assert (failure.value.is_url, failure.value.status) == (True, 2)


@pytest.mark.parametrize("error", [redis.ResponseError("WRONGTYPE"), ValueError("could not convert: 'x'")])
def test_what_goes_wrong_while_redis_is_used_is_redis_trouble(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis.Redis, "ping", lambda client: True)
    settings = Settings(redis_url="redis://db:1/0")
    with pytest.raises(RedisTrouble, match=r"^Redis at db:1 ") as failure, use_redis(settings):
        raise error
    assert failure.value.__cause__ is error
    assert (failure.value.is_url, failure.value.status) == (False, 1)


def test_an_error_that_is_not_of_redis_stays_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis.Redis, "ping", lambda client: True)
    with pytest.raises(KeyError), use_redis(Settings(redis_url="redis://db:1/0")):
        raise KeyError
