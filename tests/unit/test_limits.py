"""Limits: a run ends at its limit or at Celery's, and waits a while before it is tried again."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from types import FrameType

import pytest

from worker import limits
from worker.limits import (
    LONGEST_BACKOFF_S,
    MAX_RETRIES,
    SoftLimitReached,
    backoff_s,
    listen_again,
    run_limited,
)


async def _forever() -> None:
    await asyncio.Event().wait()


def test_run_limited_passes_the_result_on() -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    assert run_limited(answer(), 10) == 42


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError("a socket's own"), KeyboardInterrupt()])
def test_run_limited_passes_errors_on(error: BaseException) -> None:
    async def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run_limited(fail(), 10)
    assert caught.value is error


def test_run_limited_ends_at_its_deadline() -> None:
    begin = time.monotonic()
    with pytest.raises(SoftLimitReached):
        run_limited(_forever(), 0.05)
    assert 0.05 <= time.monotonic() - begin < 60


def test_run_limited_lets_the_coroutine_clean_up() -> None:
    cleaned = []

    async def tidy() -> None:
        try:
            await _forever()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    with pytest.raises(SoftLimitReached):
        run_limited(tidy(), 0.01)
    assert cleaned == [True]


def test_celerys_soft_limit_strikes() -> None:
    async def struck() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        await _forever()

    begin = time.monotonic()
    with pytest.raises(SoftLimitReached):
        run_limited(struck(), 60)
    assert time.monotonic() - begin < 60


def test_a_strike_at_the_end_changes_no_result() -> None:
    async def struck() -> str:
        os.kill(os.getpid(), signal.SIGUSR1)
        return "done"

    assert run_limited(struck(), 60) == "done"


def test_after_a_run_a_late_strike_is_ignored_and_the_next_run_hears_celery_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "_celerys_handler", None)
    received: list[int] = []

    def mine(number: int, _: FrameType | None) -> None:
        received.append(number)

    async def fail() -> None:
        assert signal.getsignal(signal.SIGUSR1) is not mine
        raise ValueError

    before = signal.signal(signal.SIGUSR1, mine)
    try:
        with pytest.raises(ValueError):
            run_limited(fail(), 10)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert received == []
        listen_again()
        with pytest.raises(SoftLimitReached):
            run_limited(_forever(), 0.01)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert received == []
        listen_again()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert received == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_run_limited_works_in_a_thread_where_no_signal_can_be_caught() -> None:
    ended: list[str] = []

    def work() -> None:
        try:
            run_limited(_forever(), 0.01)
        except SoftLimitReached:
            ended.append("limit")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert ended == ["limit"]


@pytest.mark.parametrize(("retries", "longest"), [(0, 5), (1, 10), (2, 20), (3, 30), (9, 30)])
def test_backoff_doubles_up_to_its_longest_and_spreads(retries: int, longest: float) -> None:
    waits = [backoff_s(retries) for _ in range(200)]
    assert longest / 2 <= min(waits)
    assert max(waits) <= longest <= LONGEST_BACKOFF_S
    assert len(set(waits)) > 100


def test_a_retry_never_waits_longer_than_the_visibility_timeout_counts_on() -> None:
    assert all(
        backoff_s(retries) <= LONGEST_BACKOFF_S for retries in range(MAX_RETRIES + 1) for _ in range(50)
    )
