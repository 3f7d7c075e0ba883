"""The main job: prunes BuildKit's cache of one host by age, with `docker builder prune` over ssh."""

import time
import uuid
from dataclasses import asdict
from typing import Any, NoReturn

from celery import Task
from celery.exceptions import Ignore, Retry, SoftTimeLimitExceeded

from tasks import NO_HOST
from tasks.prune_arguments import PruneArguments, check_arguments, reason_not_to_run
from tasks.prune_effects import record_effects
from tasks.prune_on_host import Progress
from tasks.prune_policy import choose_soft_limit_s, decide_prune, worth_telling
from tasks.prune_report import (
    make_report,
    skipped_without_host,
    sum_reclaimed,
)
from tasks.prune_visit import visit
from worker.celery import app
from worker.disk_memory import Disks
from worker.errors import (
    CommandTimedOut,
    HolystoneError,
    TransportError,
    raise_again,
    to_record,
)
from worker.limits import MAX_RETRIES, SoftLimitReached, backoff_s, message_limits, run_limited
from worker.logs import get_logger
from worker.memory import Memory, open_memory
from worker.notify import notify
from worker.policies import PRUNE_JOB, PRUNE_TASK
from worker.runs import (
    Finished,
    Run,
    Skipped,
    check_delivery,
    check_pause,
    count_failure,
    count_success,
    tolerating_redis_outage,
)
from worker.schedule import DUE_HEADER
from worker.settings import Settings, get_settings
from worker.times import utc_text

log = get_logger(__name__)

RAN_RECENTLY = "ran recently"


def perform(
    task: Task, run: Run, arguments: PruneArguments, settings: Settings, memory: Memory
) -> dict[str, Any]:
    """Handles one delivery of a message: makes an attempt, or repeats how an earlier delivery ended.

    Raises the errors of worker.errors, Retry and Ignore.
    """
    try:
        return attempt(task, run, arguments, settings, memory)
    except Finished as finished:
        if finished.report is None:
            raise Ignore from finished  # its retry is on the way
        raise_again(finished.report)
        return finished.report
    except HolystoneError as error:
        with tolerating_redis_outage():  # before the result is there: who sees it may look here next
            if not arguments.dry_run:
                count_failure(run.host, error, memory, settings)
            error.is_remembered = True
            memory.finish(run.attempt, to_record(error))
        raise


def attempt(
    task: Task, run: Run, arguments: PruneArguments, settings: Settings, memory: Memory
) -> dict[str, Any]:
    """One attempt: checks whether to skip, visits the host, records the outcome; returns the report."""
    progress, has_begun = Progress(), False
    _, sent_s = task.request.timelimit or (None, None)  # (hard, soft)
    soft_limit_s = choose_soft_limit_s(sent_s, task.soft_time_limit, arguments.policy.timeout_s)
    try:
        has_begun = not check_delivery(run, memory)
        check_pause(run, memory)
        if arguments.scheduled and not has_begun and not arguments.dry_run:
            record_scheduled_start(run, arguments, memory)
        has_begun = True
        log.info("run started", task=PRUNE_TASK, trigger=arguments.trigger, attempt=run.retries + 1)
        run_limited(visit(run, arguments, settings, memory, progress), soft_limit_s)
        skipped = None
    except Skipped as reason:
        skipped = reason
    except (SoftLimitReached, SoftTimeLimitExceeded) as error:
        reclaimed = sum_reclaimed(progress.passes)
        passes = len(progress.passes)
        raise CommandTimedOut(run.host, soft_limit_s, passes, reclaimed, progress.pruning) from error
    except TransportError as error:
        try_again(task, run, arguments, memory, error)
    finally:
        with tolerating_redis_outage():
            record_effects(run, memory, progress)
    report = make_report(run, arguments, progress, skipped.text if skipped else None, time.time())
    if progress.passes:
        count_success(run.host, report["reclaimed_bytes"], report["duration_s"], memory, settings)
    with tolerating_redis_outage():
        if skipped:
            is_last_run = has_begun and is_last_once_begun(arguments)
            memory.count_skip(run.host, skipped.reason, is_last_run=is_last_run)
            if arguments.early:
                Disks(memory.client).give_back_early_prune(run.host, run.task_id)
        memory.finish(run.attempt, report)
    if worth_telling(arguments, report["reclaimed_bytes"]):
        body = f"Pruned {report['reclaimed']} of build cache."
        notify(settings.notify_urls, f"Holystone: {run.host}", body)
    return report


def record_scheduled_start(run: Run, arguments: PruneArguments, memory: Memory) -> None:
    """Notes that a scheduled run begins: failing must not make it run at once again. Raises Skipped."""
    last_run_ts = memory.host(run.host).last_run_ts
    if not decide_prune(last_run_ts, run.due_ts, arguments.policy.interval_s):
        raise Skipped(RAN_RECENTLY)
    memory.record_start(run.host, run.task_id, run.due_ts)


def is_last_once_begun(arguments: PruneArguments) -> bool:
    """Whether such a run, once begun, is its host's last one; an early one leaves the schedule's as it is."""
    return not (arguments.dry_run or arguments.early)


def try_again(
    task: Task, run: Run, arguments: PruneArguments, memory: Memory, error: TransportError
) -> NoReturn:
    """Sends the next attempt, and raises Retry; raises `error` where this was the last."""
    # A run that has begun no longer expires: it would end as "revoked", and its host look healthy.
    expires = arguments.policy.interval_s
    countdown = backoff_s(run.retries)
    try:
        task.retry(exc=error, countdown=countdown, max_retries=MAX_RETRIES, expires=expires)
    except Retry:
        with tolerating_redis_outage():
            if is_last_once_begun(arguments):
                memory.finish_retried(run.attempt, run.host)
            else:
                memory.finish(run.attempt, None)
        raise
    raise error


@app.task(  # type: ignore[untyped-decorator]
    bind=True,
    throws=(HolystoneError,),  # one line in the worker's log; the traceback is with the result
    name=PRUNE_TASK,
    job=PRUNE_JOB,
    **message_limits(get_settings().longest_timeout_s),  # the run itself keeps to its host's own
)
def prune_build_cache(
    self: Task,
    host: str | None = None,
    *,
    until: str | int | None = None,
    all: bool | None = None,
    dry_run: bool = False,
    trigger: str = "manual",
) -> dict[str, Any]:
    """Prunes the build cache of `host` that was not used for `until`.

    `host` may be left out where one is configured; `until` and `all` default to the host's settings.
    Returns a PruneReport. Raises the errors of worker.errors; transport errors are retried.
    """
    settings, now = get_settings(), time.time()
    if not settings.fleet:
        return asdict(skipped_without_host(NO_HOST, utc_text(now)))
    arguments = check_arguments(settings, host, until, all, dry_run, trigger)
    due = (self.request.headers or {}).get(DUE_HEADER)
    run = Run(
        host=arguments.host.name,
        task_id=self.request.id or uuid.uuid4().hex,
        retries=self.request.retries,
        delivery=uuid.uuid4().hex,
        started_ts=now,
        due_ts=float(due) if arguments.scheduled and due else now,
    )
    if reason := reason_not_to_run(arguments):
        return make_report(run, arguments, Progress(), reason, now)
    with open_memory(settings, PRUNE_JOB) as memory:
        return perform(self, run, arguments, settings, memory)
