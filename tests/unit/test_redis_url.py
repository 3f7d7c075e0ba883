"""HOLYSTONE_REDIS_URL: what is taken is read alike by all that use it; any other is one line, everywhere."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from click.testing import CliRunner
from kombu import Connection
from kombu.transport.redis import Channel

from tasks.cli import main
from worker.redis_client import open_redis, open_redis_at_once
from worker.redis_url import UnusableUrl, check_url, shown_url
from worker.settings import Settings, get_settings

TLS = "ssl_cert_reqs=required&ssl_ca_certs=/ca&ssl_certfile=/cert&ssl_keyfile=/key&ssl_check_hostname=false"
TAKEN = {  # URL: the host (None: this machine), port, database, user and password that all are to see
    "redis://db": ("db", 6379, 0, None, None),
    "redis://db/": ("db", 6379, 0, None, None),
    "redis:///3": (None, 6379, 3, None, None),
    "redis://db:7/12": ("db", 7, 12, None, None),
    "redis://db:7/12?": ("db", 7, 12, None, None),
    "redis://user:hu%2Fsh%3B%25@db/2": ("db", 6379, 2, "user", "hu/sh;%"),
    "redis://:hu:sh,1&2=3@[::1]:7": ("::1", 7, 0, None, "hu:sh,1&2=3"),
    "redis://:hush@b%C3%BCcher.example": ("bücher.example", 6379, 0, None, "hush"),
    f"rediss://:hush@db:7/1?{TLS}": ("db", 7, 1, None, "hush"),
    "rediss://db?ssl_cert_reqs=none": ("db", 6379, 0, None, None),
    "rediss://db?ssl_cert_reqs=optional": ("db", 6379, 0, None, None),
}
REFUSED = [
    "",
    "redis",
    "db:6379",
    "http://db",
    "REDIS://db",
    "redis://db:0",
    "redis://db:70000",
    "redis://db:abc",
    "redis://[::1",
    "redis://a..b",
    f"redis://{'a' * 64}",
    "redis://d%00b",
    "redis://:hu;sh@db",
    "redis://db;redis://other",
    "redis://:hu/sh@db:1/0",
    "redis://:1/hush@db:1/0",
    "redis://:1?hush@db:1/0",
    "redis://:hu\udcffsh@db",
    "redis://:hu\tsh@db",
    "redis://db/0#hush",
]
REFUSED_DATABASE = [
    "redis://db/abc",
    "redis://db/-1",
    "redis://db/1/2",
    "redis://db/0/",
    f"redis://db/{'1' * 5000}",
]
REFUSED_OPTIONS = [
    "redis://db/0?foo=1",
    "redis://db/0?foo",
    "redis://db/0?db=1",
    "redis://db/0?socket_timeout=5",
    "redis://db/0?password=hush",
    "redis://db/0?ssl_cert_reqs=none",
    "redis://db/0?virtual_host=3",
]
REFUSED_TLS = [
    "rediss://db",
    "rediss://db?ssl_ca_certs=/ca",
    "rediss://db?ssl_cert_reqs=CERT_REQUIRED",
    "rediss://db?ssl_cert_reqs=",
    "rediss://db?ssl_cert_reqs=none&ssl_keyfile_password=hush",
]
_Place = tuple[Any, ...]


def _place(pool: Any) -> _Place:
    pool.make_connection()  # opens none, but knows its arguments
    seen = pool.connection_kwargs
    host = seen.get("host")
    place = (seen.get("port") or 6379, int(seen.get("db") or 0), seen.get("username"), seen.get("password"))
    return (None if host in (None, "localhost", "127.0.0.1") else host, *place)


def redis_py(url: str) -> _Place:
    return _place(redis.ConnectionPool.from_url(url))


def kombu(url: str) -> _Place:
    channel = Channel.__new__(Channel)
    channel.connection = SimpleNamespace(client=Connection(url), default_port=6379)
    return _place(redis.ConnectionPool(**channel._connparams()))


def results(url: str) -> _Place:
    return _place(Celery("x", backend=url, set_as_current=False).backend.client.connection_pool)


def redbeat(url: str) -> _Place:
    options: dict[str, Any] = {"ssl_cert_reqs": ssl.CERT_REQUIRED} if url.startswith("rediss") else {}
    return _place(redis.Redis.from_url(url, decode_responses=True, **options).connection_pool)


@pytest.mark.parametrize("read", [redis_py, kombu, results, redbeat])
@pytest.mark.parametrize("url", TAKEN)
def test_what_is_taken_is_the_same_place_to_all_that_read_it(url: str, read: Callable[[str], _Place]) -> None:
    check_url(url)
    assert read(url) == TAKEN[url]


def test_the_default_is_taken() -> None:
    check_url(Settings().redis_url.get_secret_value())


@pytest.mark.parametrize(
    ("url", "end"),
    [
        *((url, "such as %2F") for url in REFUSED),
        *((url, ", where db is a number") for url in REFUSED_DATABASE),
        *((url, ", without options (?...)") for url in REFUSED_OPTIONS),
        *((url, "ssl_keyfile, ssl_check_hostname") for url in REFUSED_TLS),
    ],
)
def test_any_other_url_is_refused_in_one_line_without_it(url: str, end: str) -> None:
    with pytest.raises(UnusableUrl) as failure:
        check_url(url)
    (line,) = str(failure.value).splitlines()
    assert line.startswith("HOLYSTONE_REDIS_URL can't be read; it is written redis")
    assert line.endswith(end)
    assert "hu" not in line
    assert failure.value.__context__ is None or failure.value.__suppress_context__


@pytest.mark.parametrize("url", ["redis://db/abc", "redis://:hu/sh@db:1/0", "redis://db/0?foo=1"])
def test_no_client_is_opened_for_it(url: str) -> None:
    settings = Settings(redis_url=url)
    with pytest.raises(UnusableUrl):
        open_redis(settings)
    with pytest.raises(UnusableUrl):
        open_redis_at_once(settings, 1)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://user:secret@db:6380/2", "redis://db:6380/2"),
        ("rediss://:secret@[::1]:6380/2?ssl_cert_reqs=none", "rediss://[::1]:6380/2"),
    ],
)
def test_shown_url_says_where_and_never_a_password(url: str, shown: str) -> None:
    assert shown_url(url) == shown


# The verbs


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.mark.parametrize("url", ["redis", "redis://:hush@127.0.0.1:1/abc", "redis://127.0.0.1:1/0?foo=1"])
@pytest.mark.parametrize(
    ("verb", "status"), [("prune", 2), ("pause", 2), ("resume", 2), ("up", 2), ("hosts", 1), ("check", 1)]
)
def test_each_verb_that_needs_redis_says_so_and_asks_none(
    verb: str, status: int, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: object) -> None:
        pytest.fail("a Redis was asked")

    monkeypatch.setattr(redis.connection.AbstractConnection, "connect", connect)
    monkeypatch.setattr("tasks.check_on_host.check_all", _nothing)
    result = CliRunner().invoke(main, [verb], env={"HOLYSTONE_REDIS_URL": url, "HOLYSTONE_HOSTS": "local"})
    assert result.exit_code == status
    (line,) = [line for line in result.output.splitlines() if "HOLYSTONE_REDIS_URL can't be read; " in line]
    assert "hush" not in result.output
    assert verb != "check" or line.endswith(" -> correct HOLYSTONE_REDIS_URL")
    if status == 2:
        assert result.output == f"{line}\n"


async def _nothing(hosts: list[Any], _: Settings) -> list[list[Any]]:
    return [[] for _ in hosts]
