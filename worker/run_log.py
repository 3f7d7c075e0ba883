"""What the log says of every run: `host` and `task_id` on each of its lines, and how it ended."""

import logging
from collections.abc import Mapping
from typing import Any

from celery.states import FAILURE, RETRY, SUCCESS
from structlog.contextvars import bind_contextvars, get_contextvars, unbind_contextvars

from worker.errors import HolystoneError
from worker.fleet import host_argument
from worker.logs import get_logger
from worker.settings import get_settings

log = get_logger(__name__)

REPORT_FIELDS = (
    *("reason", "until", "passes", "reclaimed_bytes", "would_reclaim_bytes", "complete"),
    *("used_percent", "alert", "early_prune", "alerts", "delivered", "waits_s", "duration_s", "attempt"),
)


def is_routine(task: Any) -> bool:
    """Whether the task runs so often that its end is logged at DEBUG; what matters it logs itself."""
    return getattr(task, "routine", False) is True


def run_context(task: Any, task_id: str, args: Any, kwargs: Any) -> dict[str, str]:
    """The log context of a run: `task_id`, and for jobs `host`."""
    host = host_argument(args, kwargs, get_settings().fleet) if getattr(task, "job", None) else None
    return {"host": host[:200], "task_id": task_id} if host else {"task_id": task_id}


def report_fields(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a line tells of a report (pure)."""
    return {key: report[key] for key in REPORT_FIELDS if report.get(key) is not None}


def describe_error(error: BaseException) -> dict[str, Any]:
    """The error's type and text; with its traceback unless it is one of worker.errors."""
    fields: dict[str, Any] = {"error": type(error).__name__, "text": str(error)}
    if not isinstance(error, HolystoneError):
        fields["exc_info"] = (type(error), error, error.__traceback__)
    return fields


def bind_run(task_id: str, task: Any, args: Any, kwargs: Any, **_: Any) -> None:
    bind_contextvars(**run_context(task, task_id, args, kwargs))


def log_end(task: Any, retval: Any, state: str, **_: Any) -> None:
    try:
        _log_end(task, retval, state)
    finally:
        unbind_contextvars("host", "task_id")


def _log_end(task: Any, retval: Any, state: str) -> None:
    level = logging.DEBUG if is_routine(task) else logging.INFO
    if state == SUCCESS:
        report = retval if isinstance(retval, dict) else {}
        event = "run skipped" if report.get("outcome") == "skipped" else "run finished"
        log.log(level, event, task=task.name, **report_fields(report))
    elif state == RETRY:
        cause = describe_error(retval.exc) if retval.exc else {}
        log.warning("run failed, tried again", task=task.name, attempt=task.request.retries + 1, **cause)
    elif state == FAILURE:
        log.error("run failed", task=task.name, **describe_error(retval))
    else:
        log.info("run left", task=task.name, state=state)


def log_killed(sender: Any, task_id: str, exception: BaseException, args: Any, kwargs: Any, **_: Any) -> None:
    """A run whose process was killed ends in the worker's main process, without a task_postrun."""
    if "task_id" not in get_contextvars():
        run = run_context(sender, task_id, args, kwargs)
        log.error("run failed", **run, task=sender.name, error=type(exception).__name__, text=str(exception))


def log_revoked(sender: Any, request: Any, expired: bool, **_: Any) -> None:
    run = run_context(sender, request.id, request.args, request.kwargs)
    log.warning("run expired" if expired else "run revoked", **run, task=sender.name)
