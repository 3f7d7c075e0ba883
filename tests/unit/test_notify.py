"""Messages: delivered or not, never an error, never a secret in the log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any, get_args

import apprise
import pytest
from pydantic import SecretStr

from worker import notify as module
from worker.notify import Kind, accepts, notify

SECRET = "hunter2"
_taken: list[tuple[str, str]] = []
_kinds: list[str] = []
_released = threading.Event()


@apprise.decorators.notify(on="holystonetest")  # type: ignore[no-untyped-call, untyped-decorator]
def _take(body: str, title: str, notify_type: Any, *_: Any, **__: Any) -> bool:
    _taken.append((title, body))
    _kinds.append(str(getattr(notify_type, "value", notify_type)))
    return True


@apprise.decorators.notify(on="holystonefail")  # type: ignore[no-untyped-call, untyped-decorator]
def _refuse(body: str, title: str, notify_type: Any, *_: Any, **__: Any) -> bool:
    return False


@apprise.decorators.notify(on="holystonehang")  # type: ignore[no-untyped-call, untyped-decorator]
def _hang(body: str, title: str, notify_type: Any, *_: Any, **__: Any) -> bool:
    return _released.wait(30)


def _urls(*urls: str) -> tuple[SecretStr, ...]:
    return tuple(SecretStr(url) for url in urls)


@pytest.fixture(autouse=True)
def _none_taken() -> Iterator[None]:
    _taken.clear()
    _kinds.clear()
    logging.getLogger("apprise").setLevel(logging.NOTSET)
    yield
    _released.set()


def test_a_message_goes_to_every_url() -> None:
    assert notify(_urls("holystonetest://a", "holystonetest://b"), "title", "body") == []
    assert _taken == [("title", "body")] * 2


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_message_is_of_the_kind_that_was_asked_for(kind: Kind) -> None:
    assert notify(_urls("holystonetest://a"), "title", "body", kind) == []
    assert _kinds == [kind]


@pytest.mark.parametrize(
    ("url", "is_taken"),
    [
        ("holystonetest://a", True),
        ("json://127.0.0.1", True),
        (f"nosuchservice://{SECRET}", False),
        (f"tgram://{SECRET}", False),
        (SECRET, False),
        ("", False),
    ],
)
def test_whether_apprise_takes_a_url_is_told_without_a_message(
    url: str, is_taken: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert accepts(SecretStr(url)) is is_taken
    assert _taken == []
    assert SECRET not in caplog.text


def test_a_url_that_makes_apprise_raise_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: Any, **__: Any) -> bool:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(apprise.Apprise, "add", explode)
    assert accepts(SecretStr("json://127.0.0.1")) is False


def test_without_urls_nothing_is_sent() -> None:
    assert notify((), "title", "body") == []


@pytest.mark.parametrize("bad", [f"holystonefail://{SECRET}", f"nosuchservice://{SECRET}", ""])
def test_one_url_that_fails_costs_neither_the_run_nor_the_others(
    bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        refused = notify(_urls("holystonetest://a", bad), "title", "body")
    assert refused == list(_urls(bad))
    assert _taken == [("title", "body")]
    assert "check HOLYSTONE_NOTIFY_URLS" in caplog.text
    assert SECRET not in caplog.text


def test_an_exception_of_a_service_is_logged_by_type_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*_: Any, **__: Any) -> bool:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(apprise.Apprise, "notify", explode)
    with caplog.at_level(logging.WARNING):
        assert notify(_urls("holystonetest://a"), "title", "body") == list(_urls("holystonetest://a"))
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text


def test_a_service_that_hangs_does_not_hide_that_others_took_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _released.clear()
    monkeypatch.setattr(module, "TIMEOUT_S", 1)
    urls = _urls("holystonehang://a", "holystonetest://b")
    assert notify(urls, "title", "body") == [urls[0]]
    assert _taken == [("title", "body")]


@pytest.mark.parametrize(
    ("bad", "service"),
    [
        (f"HolystoneFail://{SECRET}", "holystonefail"),
        (f"nosuchservice://{SECRET}", "nosuchservice"),
        (SECRET, "unknown"),
    ],
)
def test_each_service_that_refused_is_one_line_by_its_kind_alone(
    bad: str, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "worker.notify"):
        notify(_urls("holystonetest://a", bad), "title", "body")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "worker.notify"]
    assert f"'service': '{service}'" in line
    assert SECRET not in line
