"""What `holystone check` asks of a host, and what it takes for no answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest

from tasks import check_on_host
from tasks.check_findings import Check
from tests.unit.captured import BUILDX_013, read
from worker.builders import LIST_JSON, LIST_TABLE
from worker.engine import Engine
from worker.errors import CommandFailed, GateDenied
from worker.fleet import HostSettings
from worker.gate import VERSION_ARGV
from worker.hosts import Host, parse_host
from worker.policies import UNWATCHED, PrunePolicy
from worker.settings import Settings
from worker.shell import Completed, Shell
from worker.way import Way

NOW = datetime(2026, 6, 9, 12, tzinfo=UTC)
PRUNE = PrunePolicy(enabled=True, interval_s=3600, until="24h", all=False, timeout_s=120, notify_min_gb=0)
CONFIGURED = HostSettings(parse_host("ssh://ci.bot@build-01"), PRUNE)
ENGINE = Engine("engine-id-1", "28.5.2", "28.5.2", "buildx 0.29.1", "/var/lib/docker", NOW)
DF = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda 1000 500 500 50% /\n"
DF_ARGV = ("df", "-Pk", "--", "/var/lib/docker")
USAGE_ARGV = ("docker", "system", "df", "-v", "--format", "{{json .}}")


class Answers:
    """A Shell that answers as a host without a gate, except for `special` commands (without `timeout …`)."""

    def __init__(self, special: dict[tuple[str, ...], Completed | Exception]) -> None:
        self.sent: list[tuple[str, ...]] = []
        self._special = special

    async def run(self, argv: Sequence[str], **_: Any) -> Completed:
        self.sent.append(tuple(argv))
        plain = tuple(argv[4:] if argv[0] == "timeout" else argv)
        usual = {
            VERSION_ARGV: Completed(plain, 127, "", "sh: holystone-gate: not found"),
            DF_ARGV: Completed(plain, 0, DF, ""),
            USAGE_ARGV: Completed(plain, 0, json.dumps({"BuildCache": [], "Volumes": []}), ""),
        }
        answer = self._special.get(plain) or usual.get(plain) or Completed(plain, 0, "", "")
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Any:
    """ask({argv: answer}, engine=…) -> (checks by name, the commands sent)."""

    def ask(
        special: dict[tuple[str, ...], Completed | Exception] | None = None,
        engine: Engine = ENGINE,
        configured: HostSettings = CONFIGURED,
    ) -> tuple[dict[str, Check], list[tuple[str, ...]]]:
        shell = Answers(special or {})

        @asynccontextmanager
        async def reach(host: Host, _: Settings) -> AsyncIterator[tuple[Way, Shell]]:
            yield Way(host.name, "build-01:22", "ci.bot", key_accepted=True), shell

        async def look(_: Shell) -> Engine:
            return engine

        monkeypatch.setattr(check_on_host, "reach", reach)
        monkeypatch.setattr(check_on_host, "look", look)
        checks = asyncio.run(check_on_host.check_host(configured, Settings()))
        assert "connection" not in {check.name for check in checks}, checks
        return {check.name: check for check in checks}, shell.sent

    return ask


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Completed((), 137, "", ""), "no answer within 20 s"),
        (Completed((), None, "", ""), "no answer within 20 s"),
        (Completed((), 0, '{"BuildCache": []}', "", cut=True), "too long an answer"),
        (Completed((), 1, "", "it broke\nbadly"), "it broke"),
        (Completed((), 3, "", ""), "exit status 3"),
        (GateDenied("build-01", "docker", "x", None, 1, 1), "the gate doesn't allow it"),
    ],
)
def test_a_list_that_can_not_be_read_says_why(ask: Any, answer: Completed | Exception, why: str) -> None:
    checks, _ = ask({USAGE_ARGV: answer})
    assert checks["build_cache"].text == f"size not read: {why}"
    assert checks["other_builders"].text == f"none seen; sizes not read: {why}"


@pytest.mark.parametrize(
    ("version", "argv"), [("0.12.9", LIST_TABLE), ("0.13.0", LIST_JSON), ("1.0.0", LIST_JSON)]
)
def test_builders_are_listed_as_their_buildx_can(ask: Any, version: str, argv: tuple[str, ...]) -> None:
    _, sent = ask(engine=replace(ENGINE, builder=f"buildx {version}"))
    assert [each for each in sent if "ls" in each] == [argv]


def test_without_buildx_no_builder_is_listed(ask: Any) -> None:
    checks, sent = ask(engine=replace(ENGINE, builder="classic"))
    assert [each for each in sent if "ls" in each] == []
    assert checks["other_builders"].text == "none with a cache here"


def test_builders_and_volumes_are_put_together(ask: Any) -> None:
    usage = Completed((), 0, read(BUILDX_013, "system_df_builders.json"), "")
    checks, _ = ask({USAGE_ARGV: usage})
    assert checks["other_builders"].text == "caches that no prune covers: ci0 3.146MB"


@pytest.mark.parametrize(("alert", "status"), [(50, "warning"), (51, "ok")])
def test_the_disk_is_judged_by_the_host_s_own_threshold(ask: Any, alert: int, status: str) -> None:
    watched = replace(CONFIGURED, disk=replace(UNWATCHED, alert_percent=alert))
    checks, _ = ask(configured=watched)
    assert checks["disk"].status == status


def test_a_path_that_the_gate_denies_costs_no_other_check(ask: Any) -> None:
    denial = GateDenied("build-01", "df -Pk -- /my/data", GateDenied.BAD_PATH, None, 1, 1)
    checks, _ = ask({DF_ARGV: denial})
    assert checks["disk"].status == "error"
    assert "holystone-gate there denied" in checks["disk"].text
    assert {"build_cache", "clock", "gate"} <= set(checks)


@pytest.mark.parametrize(
    ("engine_now_s", "status"), [(0, "ok"), (99, "ok"), (50, "ok"), (-61, "warning"), (161, "warning")]
)
def test_the_clock_may_be_any_between_the_readings_before_and_after_a_slow_look(
    ask: Any, monkeypatch: pytest.MonkeyPatch, engine_now_s: int, status: str
) -> None:
    class SlowLook:
        times = iter([NOW, NOW + timedelta(seconds=100)])

        @classmethod
        def now(cls, _: tzinfo) -> datetime:
            return next(cls.times)

    monkeypatch.setattr(check_on_host, "datetime", SlowLook)
    checks, _ = ask(engine=replace(ENGINE, now=NOW + timedelta(seconds=engine_now_s)))
    assert checks["clock"].status == status


def test_a_gate_s_answer_is_read_and_then_builders_are_not_asked_for(ask: Any) -> None:
    said = "holystone-gate 1 jobs=prune_build_cache,watch_disk min_age_s=3600 all=no\n"
    checks, sent = ask({VERSION_ARGV: Completed((), 0, said, "")})
    assert checks["gate"].text.startswith("version 1; jobs prune_build_cache, watch_disk; ages from 3600 s")
    assert [each for each in sent if "ls" in each] == []


def test_another_forced_command_is_not_taken_for_a_key_that_can_do_anything(ask: Any) -> None:
    checks, _ = ask({VERSION_ARGV: Completed((), 1, "This account is currently not available.\n", "")})
    assert "another command forced" in checks["gate"].text
    checks, _ = ask()
    assert "can do anything" in checks["gate"].text


def test_on_this_machine_the_remedy_names_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(_: Shell) -> Engine:
        raise CommandFailed("docker info", 1, "permission denied while trying to connect")

    monkeypatch.setattr(check_on_host, "look", look)
    monkeypatch.setattr(check_on_host, "_own_name", lambda: "ci.bot")
    local = HostSettings(parse_host("local"), PRUNE)
    (check,) = asyncio.run(check_on_host.check_host(local, Settings()))
    assert check.remedy == "there, as root: usermod -aG docker ci.bot"


def test_a_user_without_a_name_is_called_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 2_000_000_001)
    assert check_on_host._own_name() == "2000000001"
