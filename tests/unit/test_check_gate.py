"""What `holystone check` makes of the gate on a host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.check_findings import Check
from tasks.check_gate import judge_gate
from tasks.prune_arguments import ages_of
from worker.errors import GateDenied
from worker.fleet import HostSettings
from worker.gate import COMMAND_SET_VERSION, VERSION_ARGV, Gate
from worker.hosts import Host
from worker.policies import UNWATCHED, PrunePolicy
from worker.shell import Completed

PRUNE = PrunePolicy(enabled=True, interval_s=3600, until="24h", all=False, timeout_s=120, notify_min_gb=0)
HOST = HostSettings(Host("build-01", "build-01"), PRUNE)
GATE = Gate(COMMAND_SET_VERSION, ("prune_build_cache",), 3600, all=False)
JOBS = ["prune_build_cache"]
NO_GATE = Completed(VERSION_ARGV, 127, "", "sh: 1: holystone-gate: not found")


def test_a_gate_is_said_with_what_it_allows() -> None:
    text = f"version {COMMAND_SET_VERSION}; jobs prune_build_cache; ages from 3600 s; "
    assert judge_gate(GATE, HOST, JOBS) == Check("gate", "ok", text + "never with --all")
    with_all = replace(GATE, all=True)
    assert judge_gate(with_all, HOST, JOBS) == Check("gate", "ok", text + "with or without --all")


def test_a_key_without_a_gate_is_a_warning_and_so_is_a_gate_beside_the_key() -> None:
    none = judge_gate(NO_GATE, HOST, JOBS)
    assert (none.status, "anything that docker can" in none.text) == ("warning", True)
    assert "holystone gate" in str(none.remedy)
    denial = GateDenied("build-01", "holystone-gate version", "not in the command set", None, 1, 1)
    assert "does not confine this key" in judge_gate(denial, HOST, JOBS).text


@pytest.mark.parametrize(
    ("exit_status", "stderr", "said"),
    [
        (127, "bash: line 1: holystone-gate: command not found", "none: "),
        (1, "holystone-gate: Command not found.", "none: "),
        (1, "This account is currently not available.", "another command forced"),
        (0, "", "another command forced"),
    ],
)
def test_what_can_not_be_asked_is_not_said_to_be_open(exit_status: int, stderr: str, said: str) -> None:
    check = judge_gate(Completed(VERSION_ARGV, exit_status, "", stderr), HOST, JOBS)
    assert check.status == "warning"
    assert said in check.text
    assert ("can do anything" in check.text) == said.startswith("none")
    assert "holystone gate" in str(check.remedy)


def test_an_old_gate_is_a_warning_and_a_newer_one_is_not() -> None:
    old = judge_gate(replace(GATE, version=COMMAND_SET_VERSION - 1), HOST, JOBS)
    assert old.status == "warning"
    assert f"this worker's is version {COMMAND_SET_VERSION}" in old.text
    assert "holystone gate" in str(old.remedy)
    assert judge_gate(replace(GATE, version=COMMAND_SET_VERSION + 1), HOST, JOBS).status == "ok"


def test_a_gate_that_would_deny_the_host_s_own_prunes_is_an_error() -> None:
    assert judge_gate(replace(GATE, jobs=()), HOST, JOBS).status == "error"
    assert judge_gate(replace(GATE, jobs=()), HOST, []).status == "ok"
    short = replace(HOST, prune=replace(PRUNE, until="30m"))
    check = judge_gate(GATE, short, JOBS)
    assert check.status == "error"
    assert check.text.endswith("30m denied")
    ladder = replace(UNWATCHED, ladder=("6h", "10m"))
    assert judge_gate(GATE, replace(HOST, disk=ladder), JOBS).status == "ok"
    early = replace(ladder, enabled=True, prune_percent=90)
    assert judge_gate(GATE, replace(HOST, disk=early), JOBS).text.endswith("10m denied")


def test_a_gate_that_denies_the_all_of_a_host_s_settings_is_an_error() -> None:
    asking = replace(HOST, prune=replace(PRUNE, all=True))
    check = judge_gate(GATE, asking, JOBS)
    assert check.status == "error"
    assert check.text.endswith("; never with --all, which this host's settings ask for")
    assert "HOLYSTONE_PRUNE_ALL" in str(check.remedy)
    assert "holystone gate --allow-all" in str(check.remedy)
    assert judge_gate(replace(GATE, all=True), asking, JOBS).status == "ok"
    off = replace(asking, prune=replace(asking.prune, enabled=False))
    assert judge_gate(GATE, off, []).status == "ok"


def test_every_check_that_is_not_ok_has_a_remedy() -> None:
    checks = [
        judge_gate(NO_GATE, HOST, JOBS),
        judge_gate(replace(GATE, version=0), HOST, JOBS),
        judge_gate(GATE, replace(HOST, prune=replace(PRUNE, all=True)), JOBS),
    ]
    assert [check.name for check in checks if check.status == "ok" or not check.remedy] == []


def test_only_ages_that_are_sent_can_be_denied_by_a_gate() -> None:
    short = replace(HOST.prune, until="30m")
    ladder = replace(UNWATCHED, prune_percent=90, ladder=("10m",))
    host = replace(HOST, prune=short, disk=ladder)
    assert ages_of(host) == ("30m",)
    assert ages_of(replace(host, disk=replace(ladder, enabled=True))) == ("30m", "10m")
    assert ages_of(replace(host, prune=replace(short, enabled=False))) == ()
