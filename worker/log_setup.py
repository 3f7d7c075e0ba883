"""Sets up logging in worker, beat and Flower: handlers and level as their own options say, our format."""

import logging
import os
import sys
from logging.handlers import WatchedFileHandler
from typing import Any

from celery import current_app
from celery.app import trace
from celery.utils.log import get_multiprocessing_logger

from worker.logs import make_formatter
from worker.settings import get_settings

# Celery's lines that ours replace (worker/run_log.py, worker/beat.py): these hold whole reports.
REPLACED = {
    *(trace.LOG_RECEIVED, trace.LOG_SUCCESS, trace.LOG_RETRY, trace.LOG_FAILURE, trace.LOG_IGNORED),
    "Discarding revoked task: %s[%s]",
    "Soft time limit (%ss) exceeded for %s[%s]",
    "Hard time limit (%ss) exceeded for %s[%s]",
    "Scheduler: Sending due task %s (%s)",
}
# Their lines hold the tokens of message URLs, or every step of every connection.
_QUIET = {"apprise": logging.CRITICAL, "urllib3": logging.CRITICAL, "asyncssh": logging.ERROR}


def is_replaced(record: logging.LogRecord) -> bool:
    """Whether a line of ours replaces this one. A critical one stays: it tells of an error inside Celery."""
    template = record.msg if isinstance(record.msg, str) else ""
    return record.levelno < logging.CRITICAL and template in REPLACED


def hook_flower() -> None:
    """Has Flower call `set_up_flower` once it knows its options, where this process has loaded Flower."""
    if tornado_options := sys.modules.get("tornado.options"):  # Flower is loaded; this may be another process
        tornado_options.options.add_parse_callback(set_up_flower)


def set_up(loglevel: int, logfile: str | None, colorize: bool, **_: Any) -> None:
    """Receives setup_logging: in worker and beat, and in each pool process that has its own log file (%I)."""
    handler: logging.Handler
    handler = (
        WatchedFileHandler(logfile, encoding="utf-8") if logfile else logging.StreamHandler(sys.__stderr__)
    )
    root = logging.getLogger()
    for former in root.handlers[:]:
        root.removeHandler(former)
        former.close()
    root.addHandler(handler)
    root.setLevel(loglevel)
    _take_over([handler], colorize)
    pool = get_multiprocessing_logger()
    pool.setLevel(logging.ERROR)
    pool.propagate = True
    conf = current_app.conf
    if conf.worker_redirect_stdouts:  # Celery leaves this to the receiver of setup_logging
        current_app.log.redirect_stdouts(conf.worker_redirect_stdouts_level)


def set_up_flower() -> None:
    """The logging of Flower, which Celery has no part in: Tornado's handlers, with our lines."""
    handlers = logging.getLogger().handlers
    _take_over(handlers, any(_is_terminal(handler) for handler in handlers))


def _take_over(handlers: list[logging.Handler], colours: bool) -> None:
    formatter = make_formatter(get_settings(), os.environ, colours)
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.addFilter(lambda record: not is_replaced(record))
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)


def _is_terminal(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and bool(handler.stream.isatty())
