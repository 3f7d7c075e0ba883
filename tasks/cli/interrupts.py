"""Signals that end a command, while it works and while it cleans up."""

import signal
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP: the first raises KeyboardInterrupt, later ones only count."""

    def __init__(self) -> None:
        self.count = 0
        self._is_cleaning_up = False

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, self._on)
        return self

    def __exit__(self, *_: object) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    def begin_cleanup(self) -> None:
        """The work is over: no signal interrupts what follows."""
        self._is_cleaning_up = True

    def check(self) -> None:
        """Raises KeyboardInterrupt once a signal came, until cleanup begins.

        Python drops what a handler raises inside a `__del__`, so long waits call this.
        """
        if self.count and not self._is_cleaning_up:
            raise KeyboardInterrupt

    def was_repeated(self) -> bool:
        """Whether another signal came after the first: whoever sends it does not want to wait."""
        return self.count > 1

    def _on(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count == 1:
            self.check()
