"""Every command that is sent to a host is one that a gate there lets in."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks import check_on_host, watch_visit
from tests.support.gate import is_let_in
from tests.support.paths import CHECKOUT
from tests.unit.captured import CLIS, read
from tests.unit.fakes import RecordingShell
from worker.builders import LIST_JSON, LIST_TABLE
from worker.disk_memory import DiskMemory
from worker.docker import FileSystem
from worker.fleet import HostSettings
from worker.gate import COMMAND_SET_VERSION, VERSION_ARGV
from worker.hosts import parse_host
from worker.policies import UNWATCHED, PrunePolicy
from worker.settings import Settings
from worker.shell import Completed
from worker.way import Way

POLICY = PrunePolicy(enabled=True, interval_s=3600, until="24h", all=False, timeout_s=120, notify_min_gb=0)
HOST = HostSettings(parse_host("ssh://build-01"), POLICY, replace(UNWATCHED, enabled=True))
GATE = f"holystone-gate {COMMAND_SET_VERSION} jobs=prune_build_cache,watch_disk min_age_s=3600 all=no\n"

# What `shell.run` is called with, place by place. A new command is to be in tasks/command_set.py, and a test
# is to send it to a RecordingShell, which knows that set; so are those behind `argv`.
SENT = {
    "tasks/check_on_host.py": ["VERSION_ARGV", "argv"],
    "tasks/prune_following.py": ["argv"],
    "tasks/prune_on_host.py": ["argv", "prune_argv"],
    "tasks/watch_visit.py": ["CACHE_USAGE"],
    "worker/look.py": ["CLI_VERSION", "argv", "disk_argv"],
}


def test_no_other_place_sends_commands() -> None:
    files = [*CHECKOUT.glob("tasks/**/*.py"), *CHECKOUT.glob("worker/*.py")]
    found = {str(file.relative_to(CHECKOUT)): sent_by(file) for file in files}
    assert {file: names for file, names in found.items() if names} == SENT


def sent_by(file: Path) -> list[str]:
    """The constants, variables and functions that a `run` of some shell is given, sorted."""
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    runs = [
        call
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "run"
        and "shell" in ast.unparse(call.func.value).lower()
    ]
    given = [call.args[0] for call in runs]
    return sorted(ast.unparse(each.func if isinstance(each, ast.Call) else each) for each in given)


class CheckedShell(RecordingShell):
    """Answers what `holystone check` asks beside, and keeps all that was asked, whatever came of it."""

    def __init__(self, cli: str, gate: str | None = None) -> None:
        super().__init__(cli)
        self.asked: list[tuple[str, ...]] = []
        self._gate = gate

    async def run(self, argv: Sequence[str], **how: Any) -> Completed:
        self.asked.append(tuple(argv))
        if argv == VERSION_ARGV:
            status, text = (127, "") if self._gate is None else (0, self._gate)
            return Completed(tuple(argv), status, text, "")
        if argv in (LIST_JSON, LIST_TABLE):
            return Completed(tuple(argv), 0, read("docker-26.1.5", "buildx_ls.json"), "")
        return await super().run(argv, **how)

    def denied(self) -> set[tuple[str, ...]]:
        """What a gate without --all would not let in."""
        return {argv for argv in self.asked if not is_let_in(shlex.join(argv), allow_all=False)}


@pytest.mark.parametrize("gate", [GATE, None], ids=["gate", "none"])
@pytest.mark.parametrize("cli", CLIS)
def test_check_sends_what_its_gate_lets_in_and_lists_builders_where_there_is_none(
    cli: str, gate: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = CheckedShell(cli, gate)

    @contextlib.asynccontextmanager
    async def reach(*_: Any) -> AsyncIterator[tuple[Way, CheckedShell]]:
        await asyncio.sleep(0)
        yield Way("build-01", "build-01:22", "ci.bot", key_accepted=True), shell

    monkeypatch.setattr(check_on_host, "reach", reach)
    checks = {check.name: check for check in asyncio.run(check_on_host.check_host(HOST, Settings()))}
    assert "build_cache" in checks
    assert "connection" not in checks, checks
    assert checks["gate"].status == ("ok" if gate else "warning")
    assert shell.denied() <= (set() if gate else {LIST_JSON, LIST_TABLE})


@pytest.mark.parametrize("cli", CLIS)
def test_a_look_at_a_disk_sends_what_a_gate_lets_in(cli: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = CheckedShell(cli)
    monkeypatch.setattr(watch_visit, "connect", shell.connector())
    for known in (DiskMemory(), DiskMemory(disk=FileSystem("/", 1, 1))):
        reading = watch_visit.Reading()
        asyncio.run(watch_visit.visit(HOST, Settings(), known, 1000.0, reading))
        assert reading.disk
        assert reading.asked_for_cache
    assert len(shell.asked) > 6
    assert shell.denied() == set()
