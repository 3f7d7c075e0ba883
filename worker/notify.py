"""Messages to people, through Apprise (kept, BSD-2, reaches Telegram and a hundred others)."""

import logging

from pydantic import SecretStr

log = logging.getLogger(__name__)


def notify(urls: tuple[SecretStr, ...], title: str, body: str) -> bool:
    """Sends one message to all `urls`; False, with a line in the log, where one did not take it.

    Never raises: whether a message arrives changes nothing about the run that it tells of.
    """
    if not urls:
        return False
    try:
        import apprise  # 20 MB that a run without a message does not need

        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its warnings carry parts of the URLs
        sender = apprise.Apprise()
        usable = [sender.add(url.get_secret_value()) for url in urls]
        delivered = bool(sender.notify(title=title, body=body)) and all(usable)
    except Exception as error:  # any of a hundred services may raise anything
        log.warning("notification failed: error=%s", type(error).__name__)
        return False
    if not delivered:
        log.warning("notification not delivered: check HOLYSTONE_NOTIFY_URLS")
    return delivered
