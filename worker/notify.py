"""Sends messages to people through Apprise, which reaches Telegram and a hundred other services."""

import contextvars
import logging
import threading

from pydantic import SecretStr

from worker.logs import get_logger

log = get_logger(__name__)

TIMEOUT_S = 10  # Apprise limits each read only: a slow answer could outlast the run


def notify(urls: tuple[SecretStr, ...], title: str, body: str) -> bool:
    """Sends one message to all `urls`; False, with a line in the log, where one did not take it in time.

    Never raises: whether a message arrives changes nothing about the run that it tells of.
    """
    if not urls:
        return False
    outcomes: list[bool] = []
    run = contextvars.copy_context().run  # keeps host and task_id on the thread's log lines
    sending = threading.Thread(target=lambda: outcomes.append(run(_send, urls, title, body)), daemon=True)
    sending.start()
    sending.join(TIMEOUT_S)
    delivered = outcomes == [True]
    if not delivered:
        log.warning("notification not delivered", remedy="check HOLYSTONE_NOTIFY_URLS, or the file of them")
    return delivered


def _send(urls: tuple[SecretStr, ...], title: str, body: str) -> bool:
    try:
        import apprise  # 20 MB that a run without a message does not need

        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its warnings carry parts of the URLs
        sender = apprise.Apprise()
        usable = [sender.add(url.get_secret_value()) for url in urls]
        return bool(sender.notify(title=title, body=body)) and all(usable)
    except Exception as error:  # any of a hundred services may raise anything, a URL in its text
        log.warning("notification failed", error=type(error).__name__)
        return False
