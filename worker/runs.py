"""What all jobs' runs share: identity and deliveries, one at a time per engine, counted failures."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import redis
from kombu.exceptions import OperationalError

from worker.alerts import note_failure, note_working
from worker.errors import GivenUp
from worker.logs import get_logger
from worker.memory import LOCK_TTL_S, Memory
from worker.pause import Pauses
from worker.settings import Settings

log = get_logger(__name__)

MAX_DELIVERIES = 3
ALREADY_RUNNING = "already running"
PAUSED = "paused"
_RENEW_S = LOCK_TTL_S / 3
_WAIT_S = 0.5


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
    """Ends a run that does nothing. `text` goes into its report; `reason`, one of few, is what is counted."""

    def __init__(self, reason: str, text: str | None = None) -> None:
        super().__init__(reason, text)
        self.reason = reason
        self.text = text or reason


class Finished(Exception):
    """Ends a delivery of a message whose run was done already; `report` is None if a retry is on the way."""

    def __init__(self, report: dict[str, Any] | None) -> None:
        super().__init__(report)
        self.report = report


def check_pause(run: Run, memory: Memory) -> None:
    """Raises Skipped while the host is paused."""
    pause = Pauses(memory.client).in_effect(run.host, run.started_ts)
    if pause is not None:
        raise Skipped(PAUSED, str(pause))


def check_delivery(run: Run, memory: Memory) -> bool:
    """Counts this delivery; returns whether it is the first one of the first attempt.

    Raises Finished where an earlier delivery ended this attempt, GivenUp where each one killed its worker.
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
    """Counts a failure of the host; raises an alert once it keeps failing."""
    with tolerating_redis_outage():
        failures = memory.record_failure(host, type(error).__name__, repr(error))
        note_failure(memory.client, settings, host, memory.job, failures, repr(error), time.time())


def count_success(
    host: str, reclaimed_bytes: int | None, duration_s: float, memory: Memory, settings: Settings
) -> None:
    """Resets the host's failures in a row; raises a recovery alert if they had raised one."""
    with tolerating_redis_outage():
        memory.record_success(host, reclaimed_bytes, duration_s)
        note_working(memory.client, settings, host, memory.job, time.time())
