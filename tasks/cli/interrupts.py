"""Signals that end a command, while it works and while it cleans up."""

import signal
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP: the first raises KeyboardInterrupt, later ones only count."""

    def __init__(self) -> None:
        self.count = 0
        self._cleaning_up = False

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
        self._cleaning_up = True

    def was_repeated(self) -> bool:
        """Whether another signal came after the first: whoever sends it does not want to wait."""
        return self.count > 1

    def _on(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if not self._cleaning_up:
            self._cleaning_up = True
            raise KeyboardInterrupt
