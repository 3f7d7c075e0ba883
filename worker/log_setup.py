"""Where the log goes and how much of it: as Celery's and Flower's options say."""

import logging
import os
import sys
from logging.handlers import WatchedFileHandler
from typing import Any

from celery import current_app
from celery.app import trace
from celery.signals import setup_logging
from celery.utils.log import get_multiprocessing_logger

from worker.logs import make_formatter
from worker.settings import get_settings

# What worker/run_log.py and worker/beat.py say in their own words, without the whole report.
TOLD_ELSEWHERE = {
    *(trace.LOG_RECEIVED, trace.LOG_SUCCESS, trace.LOG_RETRY, trace.LOG_FAILURE, trace.LOG_IGNORED),
    "Discarding revoked task: %s[%s]",
    "Soft time limit (%ss) exceeded for %s[%s]",
    "Hard time limit (%ss) exceeded for %s[%s]",
    "Scheduler: Sending due task %s (%s)",
}
# Their lines hold the tokens of message URLs, or every step of every connection.
_QUIET = {"apprise": logging.CRITICAL, "urllib3": logging.CRITICAL, "asyncssh": logging.ERROR}


def is_told_elsewhere(record: logging.LogRecord) -> bool:
    """Whether a line of Celery's says what one of ours says; those on its own errors do not."""
    template = record.msg if isinstance(record.msg, str) else ""
    return record.levelno < logging.CRITICAL and template in TOLD_ELSEWHERE


def install() -> None:
    """Has worker, beat and Flower set their logging up here, once they know their options."""
    setup_logging.connect(set_up)
    if tornado_options := sys.modules.get("tornado.options"):  # Flower is loaded, though it may not be it
        tornado_options.options.add_parse_callback(set_up_flower)


def set_up(loglevel: int, logfile: str | None, colorize: bool, **_: Any) -> None:
    """The logging of a worker or beat. A slot comes here too, where each has a log file of its own."""
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
    if conf.worker_redirect_stdouts:  # Celery leaves this to who sets up logging
        current_app.log.redirect_stdouts(conf.worker_redirect_stdouts_level)


def set_up_flower() -> None:
    """The logging of Flower, which Celery has no part in: Tornado's handlers, with our lines."""
    handlers = logging.getLogger().handlers
    _take_over(handlers, any(_is_terminal(handler) for handler in handlers))


def _take_over(handlers: list[logging.Handler], colours: bool) -> None:
    formatter = make_formatter(get_settings(), os.environ, colours)
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.addFilter(lambda record: not is_told_elsewhere(record))
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)


def _is_terminal(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and bool(handler.stream.isatty())
