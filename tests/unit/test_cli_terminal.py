"""Text for a person: lengths of time, hostile text, Redis' trouble without its password."""

from __future__ import annotations

import re

import pytest
import redis

from tasks.cli.local_redis import UNREADABLE
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
        "redis://db:1/0?password=hush",
        "redis://:hu/sh@db:1/0",
        "redis://:hu?sh@db:1/0",
    ],
)
def test_redis_trouble_shows_no_user_and_no_password(url: str) -> None:
    settings = Settings(redis_url=url)
    text = redis_trouble(settings, redis.ConnectionError("Error 111 connecting to db:1. Connection refused."))
    assert "hu" not in text.replace("hold", "")
    assert "HOLYSTONE_REDIS_URL" in text


@pytest.mark.parametrize("url", ["redis://u:p@ss/w@h:1/0", "redis://u:p@ss#w@h:1/0", "redis://:1/w@h:1/0"])
def test_of_an_ambiguous_url_no_place_and_no_error_is_shown(url: str) -> None:
    error = redis.ConnectionError("Error -2 connecting to ss:6379. Name or service not known.")
    assert redis_trouble(Settings(redis_url=url), error) == UNREADABLE


def test_redis_trouble_names_the_place_once_and_the_reason() -> None:
    settings = Settings(redis_url="redis://:hush@db:7/3")
    error = redis.ConnectionError("Error 111 connecting to db:7. Connection refused.")
    assert (
        redis_trouble(settings, error)
        == "Redis at db:7 (HOLYSTONE_REDIS_URL) can't be used: Connection refused"
    )


@pytest.mark.parametrize("url", ["redis://:hu/sh@db:1/0", "redis://:hush@db:1/0?nonsense=1"])
def test_a_url_that_makes_no_sense_is_redis_trouble_without_its_password(url: str) -> None:
    settings = Settings(redis_url=url)
    with pytest.raises(RedisTrouble, match="HOLYSTONE_REDIS_URL") as failure, use_redis(settings):
        pytest.fail("nothing is to be asked of it")
    assert not re.search("hu/?sh", str(failure.value))


@pytest.mark.parametrize("error", [redis.ResponseError("WRONGTYPE"), ValueError("could not convert: 'x'")])
def test_what_goes_wrong_while_redis_is_used_is_redis_trouble(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis.Redis, "ping", lambda client: True)
    settings = Settings(redis_url="redis://db:1/0")
    with pytest.raises(RedisTrouble, match=r"^Redis at db:1 ") as failure, use_redis(settings):
        raise error
    assert failure.value.__cause__ is error


def test_an_error_that_is_not_of_redis_stays_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis.Redis, "ping", lambda client: True)
    with pytest.raises(KeyError), use_redis(Settings(redis_url="redis://db:1/0")):
        raise KeyError
