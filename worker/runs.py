"""What every run of every job has: an identity, one at a time per engine, a record of its failure."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import redis
from celery.signals import task_failure, task_prerun

from worker.errors import GivenUp, InvalidArgument, UnknownHost
from worker.limits import listen_again
from worker.memory import LOCK_TTL_S, Memory, open_memory
from worker.settings import get_settings

log = logging.getLogger(__name__)

TASKS = "tasks."  # what the names of our tasks begin with
MAX_DELIVERIES = 3
ALREADY_RUNNING = "already running"
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
    """This run does nothing, for `reason`, which its report gives."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Finished(Exception):
    """Another delivery of the same message did this run; `report` is None if a retry is on the way."""

    def __init__(self, report: dict[str, Any] | None) -> None:
        super().__init__(report)
        self.report = report


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
                log.warning("lock lost to another run: engine=%s", engine_id)


@contextlib.contextmanager
def tolerating_redis_outage() -> Iterator[None]:
    """For what is written down after the work is done: Redis being away must not undo the report."""
    try:
        yield
    except redis.RedisError as error:
        log.warning("not remembered, Redis is away: error=%s", error)


@task_failure.connect  # type: ignore[untyped-decorator]
def remember_failure(sender: Any, exception: BaseException, args: Any, kwargs: Any, **_: Any) -> None:
    """Notes the failure of a job's run with its host.

    A signal, because at the hard limit it is sent in the worker's main process (the child is gone), where
    Task.on_failure is not called.
    """
    if not sender.name.startswith(TASKS):
        return
    settings, kwargs = get_settings(), kwargs or {}
    if isinstance(exception, InvalidArgument | UnknownHost) or kwargs.get("dry_run"):
        return  # the caller's mistake, or no prune: nothing is wrong with the host
    if getattr(exception, "is_remembered", False):
        return
    host = args[0] if args else kwargs.get("host") or next(iter(settings.fleet), None)
    if not isinstance(host, str) or host not in settings.fleet:
        return
    with tolerating_redis_outage(), open_memory(settings, sender.name.removeprefix(TASKS)) as memory:
        memory.record_failure(host, repr(exception))
