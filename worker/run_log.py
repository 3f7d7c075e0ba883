"""What the log says of every run: `host` and `task_id` on each of its lines, and how it ended."""

import logging
from collections.abc import Mapping
from typing import Any

from celery.signals import task_failure, task_postrun, task_prerun, task_revoked
from celery.states import FAILURE, RETRY, SUCCESS
from structlog.contextvars import bind_contextvars, get_contextvars, unbind_contextvars

from worker.errors import HolystoneError
from worker.logs import get_logger
from worker.settings import Settings, get_settings

log = get_logger(__name__)

_TOLD = (
    *("reason", "until", "passes", "reclaimed_bytes", "would_reclaim_bytes", "complete"),
    *("used_percent", "alert", "early_prune", "alerts", "delivered", "waits_s", "duration_s", "attempt"),
)


def listen() -> None:
    """To be called once per process."""
    task_prerun.connect(bind)
    task_postrun.connect(tell_end)
    task_failure.connect(tell_kill)
    task_revoked.connect(tell_revoked)


def is_routine(task: Any) -> bool:
    """Whether the task comes so often that its lines are for DEBUG; where something happened it says so."""
    return getattr(task, "routine", False) is True


def find_host(args: Any, kwargs: Any, settings: Settings) -> str | None:
    """The host that a message's arguments name, be it none of ours; the only one, where they name none."""
    host = args[0] if args else (kwargs or {}).get("host")
    if host is None and len(settings.fleet) == 1:
        host = next(iter(settings.fleet))
    return host[:200] if isinstance(host, str) else None


def name_run(task: Any, task_id: str, args: Any, kwargs: Any) -> dict[str, str]:
    """What stands on each line of a run; only jobs have a host."""
    host = find_host(args, kwargs, get_settings()) if getattr(task, "job", None) else None
    return {"host": host, "task_id": task_id} if host else {"task_id": task_id}


def choose_fields(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a line tells of a report (pure)."""
    return {key: report[key] for key in _TOLD if report.get(key) is not None}


def describe_error(error: BaseException) -> dict[str, Any]:
    """The error's type and text; with its traceback where nobody foresaw it."""
    told: dict[str, Any] = {"error": type(error).__name__, "text": str(error)}
    if not isinstance(error, HolystoneError):
        told["exc_info"] = (type(error), error, error.__traceback__)
    return told


def bind(task_id: str, task: Any, args: Any, kwargs: Any, **_: Any) -> None:
    bind_contextvars(**name_run(task, task_id, args, kwargs))


def tell_end(task: Any, retval: Any, state: str, **_: Any) -> None:
    try:
        _tell_end(task, retval, state)
    finally:
        unbind_contextvars("host", "task_id")


def _tell_end(task: Any, retval: Any, state: str) -> None:
    level = logging.DEBUG if is_routine(task) else logging.INFO
    if state == SUCCESS:
        report = retval if isinstance(retval, dict) else {}
        event = "run skipped" if report.get("outcome") == "skipped" else "run finished"
        log.log(level, event, task=task.name, **choose_fields(report))
    elif state == RETRY:
        cause = describe_error(retval.exc) if retval.exc else {}
        log.warning("run failed, tried again", task=task.name, attempt=task.request.retries + 1, **cause)
    elif state == FAILURE:
        log.error("run failed", task=task.name, **describe_error(retval))
    else:
        log.info("run left", task=task.name, state=state)


def tell_kill(sender: Any, task_id: str, exception: BaseException, args: Any, kwargs: Any, **_: Any) -> None:
    """A run whose process was killed ends in the worker's main process, without a task_postrun."""
    if "task_id" not in get_contextvars():
        run = name_run(sender, task_id, args, kwargs)
        log.error("run failed", **run, task=sender.name, error=type(exception).__name__, text=str(exception))


def tell_revoked(sender: Any, request: Any, expired: bool, **_: Any) -> None:
    run = name_run(sender, request.id, request.args, request.kwargs)
    log.warning("run expired" if expired else "run revoked", **run, task=sender.name)
