"""Counts what a run can't count itself: it was killed, failed unforeseen, or never began."""

from typing import Any

from worker.errors import InvalidArgument, UnknownHost
from worker.fleet import host_argument
from worker.memory import open_memory
from worker.runs import count_failure, tolerating_redis_outage
from worker.settings import get_settings


def remember_failure(sender: Any, exception: BaseException, args: Any, kwargs: Any, **_: Any) -> None:
    """Counts the failure of a job's run with its host, unless the run did so itself.

    A signal, because at the hard limit it is sent in the worker's main process (the child is gone), where
    Task.on_failure is not called.
    """
    job = getattr(sender, "job", None)
    if job is None or getattr(exception, "is_remembered", False):
        return
    if isinstance(exception, InvalidArgument | UnknownHost) or (kwargs or {}).get("dry_run"):
        return  # the caller's mistake or a dry run: says nothing about the host
    settings = get_settings()
    host = host_argument(args, kwargs, settings.fleet)
    if host in settings.fleet:
        with tolerating_redis_outage(), open_memory(settings, job) as memory:
            count_failure(host, exception, memory, settings)


def count_expired(sender: Any, request: Any, expired: bool, **_: Any) -> None:
    """Counts a message that expired before a worker began it; the worker that drops it calls this."""
    began = (request.delivery_info or {}).get("redelivered")  # by a worker that was killed, or ended
    job, settings = getattr(sender, "job", None), get_settings()
    host = host_argument(request.args, request.kwargs, settings.fleet)
    if expired and not began and job is not None and host in settings.fleet:
        with tolerating_redis_outage(), open_memory(settings, job) as memory:
            memory.count_expired(host)
