"""What every run of every job has: an identity, one at a time per engine, a record of its failure."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import redis
from celery.signals import task_failure, task_prerun, task_revoked
from kombu.exceptions import OperationalError

from worker.alerts import FAILURES, note_failing, note_working
from worker.errors import GivenUp, InvalidArgument, UnknownHost
from worker.limits import listen_again
from worker.logs import get_logger
from worker.memory import LOCK_TTL_S, Memory, open_memory
from worker.pause import Pauses, find_pause
from worker.settings import Settings, get_settings

log = get_logger(__name__)

MAX_DELIVERIES = 3
ALREADY_RUNNING = "already running"
PAUSED = "paused"
_RENEW_S = LOCK_TTL_S / 3
_WAIT_S = 0.5

task_prerun.connect(listen_again)


@dataclass(frozen=True)
class Run:
    """One delivery of one attempt. `due_ts` is when it was due, else when it started; Unix seconds."""

    host: str
    task_id: str
    retries: int
    delivery: str
    started_ts: float
    due_ts: float

    @property
    def attempt(self) -> str:
        """What all deliveries of this attempt's message share."""
        return f"{self.task_id}:{self.retries}"


class Skipped(Exception):
    """This run does nothing. Its report gives `text`; skips are counted by `reason`, one of few."""

    def __init__(self, reason: str, text: str | None = None) -> None:
        super().__init__(reason, text)
        self.reason = reason
        self.text = text or reason


class Finished(Exception):
    """Another delivery of the same message did this run; `report` is None if a retry is on the way."""

    def __init__(self, report: dict[str, Any] | None) -> None:
        super().__init__(report)
        self.report = report


def check_pause(run: Run, memory: Memory) -> None:
    """Raises Skipped while the host is paused."""
    pause = find_pause(Pauses(memory.client).of(run.host), run.host, run.started_ts)
    if pause is not None:
        raise Skipped(PAUSED, str(pause))


def check_delivery(run: Run, memory: Memory) -> bool:
    """Whether this is the run's first attempt and delivery; the others go on with what it began.

    Raises Finished for a message that was dealt with, GivenUp for one that keeps killing workers.
    """
    finished, report = memory.finished(run.attempt)
    if finished:
        raise Finished(report)
    deliveries = memory.count_delivery(run.attempt, run.delivery)
    if deliveries > MAX_DELIVERIES:
        raise GivenUp(
            f"{run.host}: delivered {MAX_DELIVERIES} times, and each time its worker died; not tried again"
        )
    return run.retries == 0 and deliveries == 1


@contextlib.asynccontextmanager
async def engine_lock(run: Run, memory: Memory, engine_id: str) -> AsyncIterator[None]:
    """Holds the engine: no other run of the job works there meanwhile, whatever it calls the host.

    Raises Skipped where another run holds it. A second delivery of the same message waits for the
    first, and then raises Finished, or takes over from it if it died.
    """
    token = f"{run.task_id}/{run.delivery}"
    while not await asyncio.to_thread(memory.take, engine_id, token):
        if await asyncio.to_thread(memory.holder, engine_id) not in (run.task_id, None):
            raise Skipped(ALREADY_RUNNING)
        await asyncio.sleep(_WAIT_S)
    ended = asyncio.Event()
    keeper = asyncio.create_task(_renew(memory, engine_id, token, ended))
    try:
        finished, report = await asyncio.to_thread(memory.finished, run.attempt)
        if finished:
            raise Finished(report)
        yield
    finally:
        ended.set()
        await keeper  # a renewal that came after the release would take the lock again
        with tolerating_redis_outage():
            await asyncio.to_thread(memory.release, engine_id, token)


async def _renew(memory: Memory, engine_id: str, token: str, ended: asyncio.Event) -> None:
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), _RENEW_S)
            return
        with tolerating_redis_outage():
            if not await asyncio.to_thread(memory.renew, engine_id, token):
                log.warning("lock lost to another run", engine_id=engine_id)


@contextlib.contextmanager
def tolerating_redis_outage() -> Iterator[None]:
    """For what is written down after the work is done: Redis being away must not undo the report."""
    try:
        yield
    except (redis.RedisError, OperationalError) as error:
        log.warning("not remembered, Redis is away", error=type(error).__name__, text=str(error))


def count_failure(host: str, error: BaseException, memory: Memory, settings: Settings) -> None:
    """Counts a failure with its host, and tells people once it keeps failing."""
    with tolerating_redis_outage():
        failures = memory.record_failure(host, type(error).__name__, repr(error))
        if failures >= FAILURES:
            note_failing(memory.client, settings, host, memory.job, repr(error), time.time())


def count_success(
    host: str, reclaimed_bytes: int | None, duration_s: float, memory: Memory, settings: Settings
) -> None:
    """Ends the host's failures in a row, and tells people if they were told of those."""
    with tolerating_redis_outage():
        memory.record_success(host, reclaimed_bytes, duration_s)
        note_working(memory.client, settings, host, memory.job, time.time())


def message_host(args: Any, kwargs: Any, settings: Settings) -> str | None:
    """The configured host that a message with these arguments is about; the only one, if it names none."""
    host = args[0] if args else (kwargs or {}).get("host")
    if host is None and len(settings.fleet) == 1:
        host = next(iter(settings.fleet))
    return host if isinstance(host, str) and host in settings.fleet else None


@task_failure.connect  # type: ignore[untyped-decorator]
def remember_failure(sender: Any, exception: BaseException, args: Any, kwargs: Any, **_: Any) -> None:
    """Counts the failure of a job's run with its host, unless the run did so itself.

    A signal, because at the hard limit it is sent in the worker's main process (the child is gone), where
    Task.on_failure is not called.
    """
    job = getattr(sender, "job", None)
    if job is None or getattr(exception, "is_remembered", False):
        return
    if isinstance(exception, InvalidArgument | UnknownHost) or (kwargs or {}).get("dry_run"):
        return  # the caller's mistake, or no prune: nothing is wrong with the host
    settings = get_settings()
    if host := message_host(args, kwargs, settings):
        with tolerating_redis_outage(), open_memory(settings, job) as memory:
            count_failure(host, exception, memory, settings)


@task_revoked.connect  # type: ignore[untyped-decorator]
def count_expired(sender: Any, request: Any, expired: bool, **_: Any) -> None:
    """Counts a message that no worker took up in time, in the worker that meets it at last."""
    job, settings = getattr(sender, "job", None), get_settings()
    host = message_host(request.args, request.kwargs, settings)
    if expired and job is not None and host is not None:
        with tolerating_redis_outage(), open_memory(settings, job) as memory:
            memory.count_expired(host)
