"""How long a run may take, and how soon a failed one is tried again."""

import asyncio
import contextlib
import random
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

GRACE_S = 30  # from the soft to the hard limit: time to leave the host and to write things down
MAX_RETRIES = 3
LONGEST_BACKOFF_S = 30  # a waiting retry counts towards the visibility timeout, so it stays short


def backoff_s(retries: int) -> float:
    """Seconds before the next attempt: 5, 10, 20, at most 30, each cut by up to half so that hosts spread."""
    return min(5.0 * pow(2.0, retries), LONGEST_BACKOFF_S) * random.uniform(0.5, 1)


def message_limits(timeout_s: int) -> dict[str, int]:
    """Celery's options for a run of `timeout_s` seconds: its soft limit, and GRACE_S later the hard one."""
    return {"soft_time_limit": timeout_s, "time_limit": timeout_s + GRACE_S}


class SoftLimitReached(Exception):
    """The soft limit struck; the coroutine was cancelled."""


def run_limited(coroutine: Coroutine[Any, Any, T], seconds: float) -> T:
    """Runs a coroutine to its end, or raises SoftLimitReached after `seconds` or at Celery's soft limit.

    Celery raises its soft limit from a signal handler, where asyncio would swallow it; here the signal
    cancels the coroutine instead.
    """

    async def limited() -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds) as limit:

                def strike() -> None:
                    with contextlib.suppress(RuntimeError):  # over already
                        limit.reschedule(loop.time())

                with _on_soft_limit(lambda: loop.call_soon_threadsafe(strike)):
                    return await coroutine
        except TimeoutError as error:
            if limit.expired():
                raise SoftLimitReached from error
            raise

    return asyncio.run(limited())


_celerys_handler: Any = None


@contextlib.contextmanager
def _on_soft_limit(strike: Callable[[], object]) -> Iterator[None]:
    global _celerys_handler
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGUSR1, lambda *_: strike())
    try:
        yield
    finally:
        if callable(before):
            # The limit has done its work, or the run is done: late, it would only interrupt the report.
            _celerys_handler, before = before, signal.SIG_IGN
        signal.signal(signal.SIGUSR1, before)


def listen_again(**_: Any) -> None:
    """Gives the soft limit back to Celery, for the next run of this process (a receiver of task_prerun)."""
    if _celerys_handler is not None:
        signal.signal(signal.SIGUSR1, _celerys_handler)
