"""One child process, and what it prints."""

import collections
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable

_LAST_LINES = 15

Sink = Callable[[str, str], None]  # takes a child's name and one line of its output


class ChildEnded(Exception):
    """A child that should run for good has ended."""

    def __init__(self, child: "Child") -> None:
        status = child.popen.returncode
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        super().__init__(f"{child.name} ended ({how})")
        self.child = child


class Child:
    """One process in a session of its own, the last lines of its output, and whether it said it is ready."""

    def __init__(
        self,
        name: str,
        popen: subprocess.Popen[str],
        sink: Sink,
        ready: str,
        stop_signal: int,
        stop_last: bool,
    ) -> None:
        self.name, self.popen, self.stop_signal, self.stop_last = name, popen, stop_signal, stop_last
        self.last_lines: collections.deque[str] = collections.deque(maxlen=_LAST_LINES)
        self.said_ready = threading.Event()
        self._ready, self._sink = ready, sink
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Passes on what it prints, to the end: a full pipe would stop it."""
        assert self.popen.stdout
        for line in self.popen.stdout:
            self.last_lines.append(line.rstrip())
            if self._ready and self._ready in line:
                self.said_ready.set()
            with contextlib.suppress(OSError, SystemExit):  # nobody reads our output any more
                self._sink(self.name, line.rstrip())

    def wait_for_output(self, limit_s: float) -> None:
        """Waits for its last words, after its end."""
        self._reader.join(limit_s)

    def running(self) -> bool:
        return self.popen.poll() is None

    def kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
