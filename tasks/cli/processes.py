"""Child processes in one tree: started by name, watched, and ended to the last grandchild."""

import collections
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Self

import psutil

WARM_S = 15  # for runs that go on when a stop is asked for; what is cut off is done again later
_POLL_S = 0.05
_LAST_LINES = 15
_KILL_S = 10
_PR_SET_CHILD_SUBREAPER = 36

# Outlives a SIGKILL of this process: its input ends then, and it ends the groups that it was told of.
_GUARD = """
groups=
while read -r pid; do groups="$groups -$pid"; done
[ -z "$groups" ] || kill -s KILL -- $groups
[ -z "$1" ] || rm -rf -- "$1"
"""

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
        self, name: str, popen: subprocess.Popen[str], ready: str, stop_signal: int, stop_last: bool
    ) -> None:
        self.name, self.popen, self.stop_signal, self.stop_last = name, popen, stop_signal, stop_last
        self.last_lines: collections.deque[str] = collections.deque(maxlen=_LAST_LINES)
        self.said_ready = threading.Event()
        self._ready = ready

    def read(self, sink: Sink) -> None:
        """Passes on what it prints, to the end: a full pipe would stop it."""
        assert self.popen.stdout
        for line in self.popen.stdout:
            self.last_lines.append(line.rstrip())
            if self._ready and self._ready in line:
                self.said_ready.set()
            with contextlib.suppress(OSError, SystemExit):  # nobody reads our output any more
                sink(self.name, line.rstrip())

    def running(self) -> bool:
        return self.popen.poll() is None

    def kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)


class ProcessTree:
    """The children of this process. Leaving the context ends them all; so does a SIGKILL of this process.

    `stop_now` says whether to cut short the wait for them. `folder` is removed by the guard if this process
    can't do it any more.
    """

    def __init__(self, stop_now: Callable[[], bool], folder: Path | None = None) -> None:
        self._stop_now, self._folder = stop_now, folder
        self._children: list[Child] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        if sys.platform == "linux":  # grandchildren that lose their parent become ours, and are found
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._others = {process.pid for process in psutil.Process().children()}
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(self._folder or "")],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._others.add(self._guard.pid)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        sink: Sink,
        stdin: str | None = "",
        ready: str = "",
        stop_signal: int = signal.SIGTERM,
        stop_last: bool = False,
    ) -> Child:
        """Starts a child. `stdin` is all of its input, None keeps that open; `stop_last`: after the others.

        Raises OSError where the program can't be started.
        """
        popen = subprocess.Popen(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        child = Child(name, popen, ready, stop_signal, stop_last)
        self._children.append(child)
        assert self._guard.stdin
        assert popen.stdin
        self._guard.stdin.write(f"{popen.pid}\n")
        self._guard.stdin.flush()
        thread = threading.Thread(target=child.read, args=(sink,), daemon=True)
        thread.start()
        self._threads.append(thread)
        if stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                popen.stdin.write(stdin)
                popen.stdin.close()
        return child

    def check(self) -> None:
        """Raises ChildEnded where one has ended."""
        for child in self._children:
            if not child.running():
                self._threads[self._children.index(child)].join(1)  # its last words
                raise ChildEnded(child)

    def wait_for(self, condition: Callable[[], object], limit_s: float, what: str) -> None:
        """Raises ChildEnded, or TimeoutError naming `what`."""
        deadline = time.monotonic() + limit_s
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {limit_s:g} s")
            time.sleep(_POLL_S)

    def wait_for_end(self) -> NoReturn:
        """Waits until a child ends, and raises ChildEnded."""
        while True:
            self.check()
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Ends every child and what it started: in order first, within WARM_S, then by SIGKILL."""
        for last in (False, True):
            stage = [child for child in self._children if child.stop_last is last]
            for child in filter(Child.running, stage):
                child.popen.send_signal(child.stop_signal)
            deadline = time.monotonic() + WARM_S
            while any(map(Child.running, stage)) and time.monotonic() < deadline and not self._stop_now():
                time.sleep(_POLL_S)
            for child in filter(Child.running, stage):
                child.kill_group()
        self._kill_rest()
        self._guard.kill()
        self._guard.wait()
        for thread in self._threads:
            thread.join(1)

    def _kill_rest(self) -> None:
        deadline = time.monotonic() + _KILL_S
        while time.monotonic() < deadline:
            for child in self._children:
                child.running()  # reaps it
            left = [each for each in psutil.Process().children() if each.pid not in self._others]
            if not left:
                return
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    for each in [process, *process.children(recursive=True)]:
                        with contextlib.suppress(psutil.NoSuchProcess):
                            each.kill()
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)  # an orphan of ours
            time.sleep(_POLL_S)
