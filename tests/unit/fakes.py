"""Stand-ins for a host and for Redis that keep what was asked of them."""

from __future__ import annotations

import asyncio
import shlex
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from tests.support.gate import matching
from tests.unit.captured import inspected, read
from worker import alerts, disk_memory
from worker.errors import HostUnreachable
from worker.hosts import Host
from worker.memory import HostMemory
from worker.settings import Settings
from worker.shell import Completed

Answer = str | int | Completed | BaseException | None
"""What a command prints, its exit status, the whole of it, what it raises, or None where it never ends."""


class RecordingShell:
    """Answers as a real host did, except as `answers` say by the start of the command without `timeout …`."""

    def __init__(self, cli: str, *, prunes: Sequence[Answer] = (), **answers: Answer) -> None:
        self.sent: list[tuple[str, ...]] = []
        self.left_to_finish: list[tuple[str, ...]] = []
        self._prunes = list(prunes or [read(cli, "prune.txt"), read(cli, "prune_nothing.txt")])
        self._answers: dict[str, Answer] = {
            "version": read(cli, "version.txt"),
            "info": read(cli, "info.json"),
            "context": read(cli, "context.json"),
            "builder": inspected(cli),
            "system": read(cli, "system_df.json"),
            "df": read("df", "coreutils-9.txt"),
            "pgrep": 1,
            **answers,
        }

        self._in_turn: dict[str, list[Answer]] = {}

    def answers_in_turn(self, program: str, answers: Sequence[Answer]) -> None:
        """The last one for good."""
        self._in_turn[program] = list(answers)

    async def run(
        self, argv: Sequence[str], *, let_finish: bool = False, printed: bytearray | None = None
    ) -> Completed:
        assert matching(shlex.join(argv)), f"not in tasks/command_set.py, so gates would deny it: {argv}"
        self.sent.append(tuple(argv))
        if let_finish:
            self.left_to_finish.append(tuple(argv))
        plain = argv[4:] if argv[0] == "timeout" else argv
        if plain[:3] == ("docker", "builder", "prune"):
            answer = self._prunes.pop(0) if len(self._prunes) > 1 else self._prunes[0]
        elif plain[0] == "docker":
            answer = self._answers[plain[1].removeprefix("--")]
        else:
            answer = self._answers[plain[0]]
        if plain[0] in self._in_turn:
            answers = self._in_turn[plain[0]]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        await asyncio.sleep(0)
        if isinstance(answer, BaseException):
            raise answer
        if answer is None:
            if callable(signal.getsignal(signal.SIGUSR1)):
                signal.raise_signal(signal.SIGUSR1)  # the soft limit strikes now, however busy the machine
            await asyncio.Event().wait()
        if isinstance(answer, Completed):
            return answer
        if isinstance(answer, int):
            return Completed(tuple(argv), answer, "", f"{shlex.join(argv)}: no")
        return Completed(tuple(argv), 0, str(answer), "")

    def connector(self) -> Callable[[Host, Settings], Any]:
        """For `connect` of the job's module."""

        @asynccontextmanager
        async def connect(host: Host, settings: Settings) -> AsyncIterator[RecordingShell]:
            await asyncio.sleep(0)
            yield self

        return connect


def unreachable(host: Host, settings: Settings) -> Any:
    """For `connect` of the job's module."""
    raise HostUnreachable(f"{host.name}: no route")


class FakeMemory:
    """worker.memory.Memory without a Redis; `calls` has what was written, in order."""

    def __init__(self, **host: Any) -> None:
        self.job = "job"
        self.calls: list[tuple[Any, ...]] = []
        self.known = HostMemory(**host)
        self.run_states: list[str] = []  # of the last run, as they were written
        self.owner: str | None = None
        self.note: str | None = None  # of prunes that were left
        self.totals: Counter[str] = Counter()
        self.deliveries = 0
        self.reports: dict[str, Any] = {}
        self.pauses: dict[str, str] = {}
        self.disks: dict[str, Any] = {}
        self.may_prune_early = True

    @contextmanager
    def opened(self, *_: Any) -> Iterator[FakeMemory]:
        yield self

    def count_delivery(self, run: str, delivery: str) -> int:
        self.deliveries += 1
        return self.deliveries

    def finish(self, run: str, report: Any) -> None:
        self.calls.append(("finish", run, report))
        self.reports[run] = report

    def finish_retried(self, run: str, host: str) -> None:
        self.finish(run, None)
        self.run_states.append("retrying")

    def count_skip(self, host: str, reason: str, *, is_last_run: bool = False) -> None:
        self.calls.append(("count_skip", host, reason))
        if is_last_run:
            self.run_states.append("skipped")

    def finished(self, run: str) -> tuple[bool, Any]:
        return run in self.reports, self.reports.get(run)

    def host(self, host: str) -> HostMemory:
        return self.known

    def take(self, engine_id: str, token: str) -> bool:
        if self.owner is None:
            self.owner = token
        return self.owner == token

    def holder(self, engine_id: str) -> str | None:
        return self.owner.split("/")[0] if self.owner else None

    def renew(self, engine_id: str, token: str) -> bool:
        return True

    def release(self, engine_id: str, token: str) -> None:
        self.owner = None

    def noted_prunes(self, engine_id: str) -> str | None:
        return self.note

    def note_prunes(self, engine_id: str, note: str, ttl_s: int) -> None:
        self.calls.append(("note_prunes", engine_id, note, ttl_s))
        self.note = note

    def settle_prune(self, engine_id: str, note: str, rest: str, host: str, reclaimed_bytes: int) -> bool:
        self.calls.append(("settle_prune", engine_id, host, reclaimed_bytes))
        if note == self.note:
            self.note = rest or None
            self.totals[host] += reclaimed_bytes
            return True
        return False

    def add_reclaimed(self, host: str, reclaimed_bytes: int) -> None:
        self.calls.append(("add_reclaimed", host, reclaimed_bytes))
        self.totals[host] += reclaimed_bytes

    @property
    def client(self) -> FakeMemory:
        return self

    def hmget(self, key: str, fields: list[str]) -> list[str | None]:
        kept = self.disks.get(key, self.pauses)
        return [None if kept.get(field) is None else str(kept[field]) for field in fields]

    def hset(self, key: str, mapping: dict[str, Any]) -> None:
        self.disks.setdefault(key, {}).update(mapping)

    def hdel(self, key: str, field: str) -> None:
        self.disks.get(key, {}).pop(field, None)

    def eval(self, script: str, keys: int, key: str, *args: str) -> int:
        """worker.disk_memory's early prunes; of worker.alerts: no news."""
        if script == alerts._CHANGE:
            return -1
        steps = {disk_memory._BEGIN: "begins", disk_memory._GIVE_BACK: "given back"}
        self.calls.append(("early prune", steps[script]))
        return self.may_prune_early

    def record_failure(self, *values: Any) -> int:
        self.calls.append(("record_failure", *values))
        return 1

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith(("record_", "add_", "note_", "clear_", "count_")):
            raise AttributeError(name)
        return lambda *values: self.calls.append((name, *values))
