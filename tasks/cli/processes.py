"""Child processes in one tree: started by name, watched, and ended to the last grandchild."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Self

import psutil

from tasks.cli.child import Child, ChildEnded, Sink
from tasks.cli.interrupts import Interrupts

WARM_S = 15  # for runs that go on when a stop is asked for; what is cut off is done again later
_POLL_S = 0.05
_KILL_S = 10
_LAST_WORDS_S = 5
_PR_SET_CHILD_SUBREAPER = 36

# Outlives a SIGKILL of this process: its input ends then, and it ends the groups that it was told of.
_GUARD = """
groups=
while read -r pid; do groups="$groups -$pid"; done
[ -z "$groups" ] || kill -s KILL -- $groups
[ -n "$1" ] || exit
for _ in 1 2 3 4 5; do rm -rf -- "$1" && exit; sleep 1; done # what was killed may end its last write first
"""


class ProcessTree:
    """The children of this process. Leaving the context ends them all; so does a SIGKILL of this process.

    A repeated interrupt cuts short the wait for them. `folder` is removed by the guard if this process can't
    do it any more.
    """

    def __init__(self, interrupts: Interrupts, folder: Path | None = None) -> None:
        self._interrupts, self._folder = interrupts, folder
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        if sys.platform == "linux":  # grandchildren that lose their parent become ours, and are found
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._not_ours = {process.pid for process in psutil.Process().children()}
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(self._folder or "")],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._not_ours.add(self._guard.pid)
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
        child = Child(name, popen, sink, ready, stop_signal, stop_last)
        self._children.append(child)
        assert self._guard.stdin
        assert popen.stdin
        self._guard.stdin.write(f"{popen.pid}\n")
        self._guard.stdin.flush()
        if stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                popen.stdin.write(stdin)
                popen.stdin.close()
        return child

    def check(self) -> None:
        """Raises ChildEnded where one has ended, KeyboardInterrupt as Interrupts.check."""
        self._interrupts.check()
        for child in self._children:
            if not child.running():
                child.wait_for_output(_LAST_WORDS_S)
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
        """Asks the children to end, those with `stop_last` after the others, and waits WARM_S for each of the
        two; then SIGKILL for what is left, grandchildren too."""
        for last in (False, True):
            stage = [child for child in self._children if child.stop_last is last]
            for child in filter(Child.running, stage):
                child.popen.send_signal(child.stop_signal)
            deadline = time.monotonic() + WARM_S
            while any(map(Child.running, stage)) and time.monotonic() < deadline:
                if self._interrupts.was_repeated():
                    break
                time.sleep(_POLL_S)
            for child in filter(Child.running, stage):
                child.kill_group()
        self._kill_rest()
        self._guard.kill()
        self._guard.wait()
        for child in self._children:
            child.wait_for_output(_LAST_WORDS_S)

    def _kill_rest(self) -> None:
        deadline = time.monotonic() + _KILL_S
        while time.monotonic() < deadline:
            for child in self._children:
                child.running()  # reaps it
            left = [each for each in psutil.Process().children() if each.pid not in self._not_ours]
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
