"""Start, look at and end processes, by pid only."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.waiting import wait_until


def is_running(pid: int) -> bool:
    """Whether `pid` exists and is not a zombie."""
    return _state_and_parent(pid)[0] not in ("", "Z", "X")


def is_asleep(pid: int) -> bool:
    """Whether the first thread of `pid` waits for something."""
    return _state_and_parent(pid)[0] == "S"


def start_time(pid: int) -> int:
    """When `pid` started, in the kernel's ticks; 0 where it is gone."""
    fields = _fields(pid)
    return int(fields[19]) if fields else 0


def command_line(pid: int) -> str:
    """The command line of `pid`, its arguments joined by blanks; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def environment_of(pid: int) -> str:
    """The environment that `pid` was started with; empty where it is gone, or is another user's."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    """Every running process below `pid`, parents first."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            state, parent = _state_and_parent(int(entry))
            if state not in ("", "Z", "X"):
                children.setdefault(parent, []).append(int(entry))
    found = list(children.get(pid, []))
    for each in found:
        found.extend(children.get(each, []))
    return found


def send_signal(pid: int, number: int) -> None:
    """Signal `pid`; one that is gone is no error."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def clean_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The least a command needs, plus `extra`: nothing of the developer's own settings leaks in."""
    base = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    return {**base, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", **(extra or {})}


def _state_and_parent(pid: int) -> tuple[str, int]:
    fields = _fields(pid)
    return (fields[0], int(fields[1])) if fields else ("", 0)


def _fields(pid: int) -> list[str]:
    """Those of /proc/<pid>/stat after the command's name; none where it is gone."""
    try:
        # The command name, in brackets, may itself hold blanks and brackets.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


class Seen:
    """Processes that were seen, by number and start: where many tests run a number is soon another's."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, pid: int) -> None:
        self._seen.add((pid, start_time(pid)))

    def left(self) -> list[int]:
        """Those that still run."""
        return [pid for pid, start in self._seen if is_running(pid) and start_time(pid) == start]

    def check_gone(self) -> None:
        """Waits until all have ended."""
        wait_until(
            lambda: not self.left(),
            60,
            "every process to be gone",
            detail=lambda: str([command_line(pid) for pid in self.left()]),
        )

    def kill_left(self) -> None:
        for pid in self.left():
            send_signal(pid, signal.SIGKILL)


class Process:
    """A command in its own session and process group, its output in a log file.

    If the process that started it is SIGKILLed, the group is killed too: a guard holds one end of a pipe.
    """

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path | None = None
    ) -> None:
        self.argv = list(argv)
        self.log_path = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                self.argv,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._popen.pid
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r _ || kill -s KILL -- "-$1"', "guard", str(self.pid)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill_all()

    def log(self) -> str:
        """What the command has written so far."""
        return self.log_path.read_text(errors="replace")

    def running(self) -> bool:
        return self.returncode() is None

    def returncode(self) -> int | None:
        """The exit status (negative: the signal), None while it runs."""
        if self._popen.returncode is not None:
            return self._popen.returncode
        # It stays a zombie until `kill_all`: till then no other process gets its number, or its group's.
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def signal(self, number: int) -> None:
        """Signal the main process alone."""
        if self._popen.returncode is None:
            os.kill(self.pid, number)

    def kill_all(self) -> None:
        """SIGKILL the whole process group at once, as a power cut would."""
        if self._guard.poll() is not None:
            return  # Ended before: the group's number may be another's by now.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        self._end_guard()

    def terminate(self, timeout_s: float = 60) -> int:
        """SIGTERM the main process and wait for it; what it left of its group is killed. The exit status."""
        self.signal(signal.SIGTERM)
        try:
            wait_until(
                lambda: not self.running(), timeout_s, f"{self.argv} to end on SIGTERM", detail=self.log
            )
        finally:
            self.kill_all()
        return self._popen.wait()

    def wait(self, timeout_s: float) -> int:
        """Wait for the command to end by itself; its exit status."""
        wait_until(lambda: not self.running(), timeout_s, f"{self.argv} to end", detail=self.log)
        status = self.returncode()
        assert status is not None
        return status

    def wait_for_log(self, text: str, timeout_s: float) -> None:
        """Wait until the log holds `text`; AssertionError at once where the command ends before that."""

        def seen() -> bool:
            goes_on = self.running()  # before the log is read: its last words may be the text
            if text in self.log():
                return True
            assert goes_on, f"{self.argv} ended ({self.returncode()}) before {text!r}:\n{self.log()}"
            return False

        wait_until(seen, timeout_s, f"{text!r} in the log of {self.argv}", detail=self.log)

    def _end_guard(self) -> None:
        self._guard.kill()
        self._guard.wait()
        if self._guard.stdin:
            self._guard.stdin.close()
