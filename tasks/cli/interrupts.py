"""Signals that end a command, while it works and while it tidies up."""

import signal
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP: the first raises KeyboardInterrupt, later ones only count."""

    def __init__(self) -> None:
        self.count = 0
        self._done = False

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, self._on)
        return self

    def __exit__(self, *_: object) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    def done(self) -> None:
        """The work is over, the tidying begins: no signal interrupts that."""
        self._done = True

    def again(self) -> bool:
        """Whether a signal came while stopping."""
        return self.count > 1

    def _on(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if not self._done:
            self._done = True
            raise KeyboardInterrupt
