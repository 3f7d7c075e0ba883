"""Sends messages to people through Apprise, which reaches Telegram and a hundred other services."""

import contextlib
import contextvars
import logging
import re
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import SecretStr

from worker.logs import get_logger

if TYPE_CHECKING:
    import apprise

log = get_logger(__name__)

TIMEOUT_S = 10  # Apprise limits each read only: a slow answer could outlast the run
Kind = Literal["info", "success", "warning", "failure"]  # Apprise's: a colour or a sign in many services
_REMEDY = "check HOLYSTONE_NOTIFY_URLS, or the file of them"


def notify(urls: Sequence[SecretStr], title: str, body: str, kind: Kind = "info") -> list[SecretStr]:
    """Sends one message to each of `urls`; returns those that did not take it in time, each with a log line.

    Never raises: whether a message arrives changes nothing about the run that it tells of.
    """
    if urls:
        with contextlib.suppress(Exception):  # `_send` tells of it
            import apprise  # noqa: F401 - it takes seconds on a busy machine, which are not the service's
    taken_by: set[SecretStr] = set()

    def send(url: SecretStr) -> None:
        if _send(url, title, body, kind):
            taken_by.add(url)

    threads = []
    for url in urls:  # each by itself: one that hangs must not hide that others took it
        context = contextvars.copy_context()  # keeps host and task_id on the thread's log lines
        threads.append(threading.Thread(target=context.run, args=(send, url), daemon=True))
        threads[-1].start()
    end = time.monotonic() + TIMEOUT_S
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    refused = [url for url in urls if url not in taken_by]
    for url in refused:
        log.warning("notification not delivered", service=service_of(url), remedy=_REMEDY)
    return refused


def _send(url: SecretStr, title: str, body: str, kind: Kind) -> bool:
    try:
        service = _service(url)
        return service is not None and bool(service.notify(title=title, body=body, notify_type=kind))
    except Exception as error:  # any of a hundred services may raise anything, a URL in its text
        log.warning("notification failed", error=type(error).__name__)
        return False


def accepts(url: SecretStr) -> bool:
    """Whether Apprise knows the service and finds in the URL what that needs. Sends nothing, never raises."""
    try:
        return _service(url) is not None
    except Exception:  # as in _send
        return False


def _service(url: SecretStr) -> "apprise.Apprise | None":
    """Apprise with this one service, None where it does not accept the URL."""
    import apprise  # 20 MB that a run without a message does not need

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its warnings carry parts of the URLs
    service = apprise.Apprise()
    return service if service.add(url.get_secret_value()) else None


def service_of(url: SecretStr) -> str:
    """The URL's scheme, such as `tgram`: all else of it may be a token."""
    found = re.match(r"([a-z0-9]{1,20})://", url.get_secret_value(), re.IGNORECASE)
    return found[1].lower() if found else "unknown"
