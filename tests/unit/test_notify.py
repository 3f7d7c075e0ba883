"""Messages: delivered or not, never an error, never a secret in the log."""

from __future__ import annotations

import logging
from typing import Any

import apprise
import pytest
from pydantic import SecretStr

from worker.notify import notify

SECRET = "hunter2"
_taken: list[tuple[str, str]] = []


@apprise.decorators.notify(on="holystonetest")  # type: ignore[no-untyped-call, untyped-decorator]
def _take(body: str, title: str, notify_type: Any, *_: Any, **__: Any) -> bool:
    _taken.append((title, body))
    return True


@apprise.decorators.notify(on="holystonefail")  # type: ignore[no-untyped-call, untyped-decorator]
def _refuse(body: str, title: str, notify_type: Any, *_: Any, **__: Any) -> bool:
    return False


def _urls(*urls: str) -> tuple[SecretStr, ...]:
    return tuple(SecretStr(url) for url in urls)


@pytest.fixture(autouse=True)
def _none_taken() -> None:
    _taken.clear()


def test_a_message_goes_to_every_url() -> None:
    assert notify(_urls("holystonetest://a", "holystonetest://b"), "title", "body")
    assert _taken == [("title", "body")] * 2


def test_without_urls_nothing_is_sent() -> None:
    assert notify((), "title", "body") is False


@pytest.mark.parametrize("bad", [f"holystonefail://{SECRET}", f"nosuchservice://{SECRET}", ""])
def test_one_url_that_fails_costs_neither_the_run_nor_the_others(
    bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert notify(_urls("holystonetest://a", bad), "title", "body") is False
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
        assert notify(_urls("holystonetest://a"), "title", "body") is False
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text
