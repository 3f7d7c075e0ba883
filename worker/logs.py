"""How the log looks: one line per event, `key=value` or JSON, for worker, beat, Flower and their libraries.

In the plain form a traceback follows on indented lines; JSON has it in its event's object.

Programs that only send runs keep their own logging: worker/log_setup.py is for our processes.
"""

import logging
import os
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, cast

import structlog
from structlog.stdlib import ProcessorFormatter

from worker.redaction import find_secrets, make_redactor
from worker.settings import Settings

Event = MutableMapping[str, Any]

FIRST_KEYS = ("timestamp", "level", "event", "host", "task_id")
_OWN = ("worker", "tasks", "celeryconfig")


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger for `log.info("static event name", key=value)`, on top of logging's own `name`."""
    logger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return cast("structlog.stdlib.BoundLogger", logger)


def make_formatter(settings: Settings, environment: Mapping[str, str], colours: bool) -> logging.Formatter:
    """Formats the records of our loggers and of all others alike: as JSON, or for people."""
    redact = make_redactor(find_secrets(settings, environment))
    render: Callable[[Any, str, Event], str | bytes]
    clean: Callable[[Any, str, Event], Event]
    if settings.log_format == "json":
        render, clean = structlog.processors.JSONRenderer(), _on_one_line
    else:
        plain = structlog.dev.plain_traceback
        render = structlog.dev.ConsoleRenderer(
            colors=colours, sort_keys=False, pad_event_to=0, pad_level=False, exception_formatter=plain
        )
        clean = _printable
    return ProcessorFormatter(
        processors=[
            _describe,
            structlog.contextvars.merge_contextvars,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            clean,
            _in_order,
            lambda logger, name, event: _indent(redact(str(render(logger, name, event)))),
        ]
    )


def set_up_early_lines(settings: Settings) -> None:
    """Formats lines logged before logging is set up, or by a command that never does that; to stderr."""
    if logging.lastResort and logging.lastResort.formatter is None:
        logging.lastResort.setFormatter(make_formatter(settings, os.environ, colours=False))


def _describe(_logger: Any, _name: str, event: Event) -> Event:
    record: logging.LogRecord = event["_record"]
    event["level"] = record.levelname.lower()
    if record.name.partition(".")[0] not in _OWN:
        event["logger"] = record.name
    return event


def _on_one_line(_logger: Any, _name: str, event: Event) -> Event:
    event["event"] = " ".join(str(event["event"]).split())
    return event


def _printable(logger: Any, name: str, event: Event) -> Event:
    """Escapes control characters: a host's output must not steer the terminal that shows the log."""
    _on_one_line(logger, name, event)
    return {key: _escape(value) if isinstance(value, str) else value for key, value in event.items()}


def _escape(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def _indent(line: str) -> str:
    """A traceback's lines begin with spaces, as no event does: none of its text can pose as one."""
    return line.replace("\n", "\n    ")


def _in_order(_logger: Any, _name: str, event: Event) -> Event:
    return {key: event[key] for key in FIRST_KEYS if key in event} | dict(event)
