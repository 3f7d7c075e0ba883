"""What a signal does to a command, also where Python drops the exception that it raised."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tasks.cli.interrupts import Interrupts
from tasks.cli.processes import ProcessTree


class Disposed:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGHUP)


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.SIG_DFL)  # under nohup one is ignored, and stays so
    with Interrupts() as interrupts:
        yield interrupts
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_first_signal_interrupts_and_the_second_only_counts(interrupts: Interrupts) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGHUP)
    assert not interrupts.was_repeated()
    signal.raise_signal(signal.SIGHUP)
    assert interrupts.was_repeated()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_met_a_del_ends_the_next_wait(interrupts: Interrupts) -> None:
    tree = ProcessTree(interrupts)
    tree.check()
    Disposed()
    assert interrupts.count == 1
    with pytest.raises(KeyboardInterrupt):
        tree.wait_for(lambda: False, 1, "never")
    interrupts.begin_cleanup()
    tree.check()


def test_no_signal_interrupts_the_cleanup(interrupts: Interrupts) -> None:
    interrupts.begin_cleanup()
    signal.raise_signal(signal.SIGHUP)
    interrupts.check()
    assert not interrupts.was_repeated()
