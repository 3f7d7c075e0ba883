"""`holystone check` and `holystone trust` on real engines: 20.10, 26.1 and 28.5 in one call."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.build_cache import cache_records
from tests.support.client import environment
from tests.support.docker_host import DockerHost
from tests.support.holystone_command import holystone
from tests.support.ports import LOOPBACK, free_port

Checks = dict[str, dict[str, Any]]


def fleet_env(tmp: Path, **hosts: DockerHost) -> dict[str, str]:
    """No Redis, and a known_hosts file that is not there yet."""
    config = "".join(
        f"Host {name}\n  HostName {LOOPBACK}\n  Port {host.port}\n  User root\n"
        f"  IdentityFile {host.identity}\n"
        for name, host in hosts.items()
    )
    (tmp / "ssh_config").write_text(config)
    return environment(
        f"redis://{LOOPBACK}:{free_port()}/0",
        " ".join(f"ssh://{name}" for name in hosts),
        ssh_config=tmp / "ssh_config",
        ssh_known_hosts=tmp / "known_hosts",
        ssh_connect_timeout_s=60,
    )


def check(env: dict[str, str], tmp: Path) -> dict[str, Checks]:
    told = json.loads(holystone(env, "check", "--json", tmp=tmp, status=1, deadline_s=150).output())
    assert told[0]["checks"][0]["status"] == "error"  # Redis
    return {each["host"]: {check["name"]: check for check in each["checks"]} for each in told[1:]}


def fingerprint(host: DockerHost) -> str:
    return host.run("ssh-keygen", "-lf", "/etc/holystone/host_key.pub").split()[1]


def statuses(checks: Checks) -> dict[str, str]:
    """What is not ok; this machine's own disk may be as full as it likes."""
    found = {name: check["status"] for name, check in checks.items() if name != "disk"}
    return {name: status for name, status in found.items() if status != "ok"}


def records(host: DockerHost) -> list[dict[str, Any]]:
    return sorted(cache_records(host), key=lambda record: str(record["ID"]))


def test_three_engines_are_enrolled_and_checked_in_one_call(
    bookworm_host: DockerHost, trixie_host: DockerHost, forky_host: DockerHost, tmp_path: Path
) -> None:
    hosts = {"old": bookworm_host, "middle": trixie_host, "new": forky_host}
    env = fleet_env(tmp_path, **hosts)
    for name, checks in check(env, tmp_path).items():
        assert list(checks) == ["name", "port", "host_key"]
        assert fingerprint(hosts[name]) in checks["host_key"]["text"]
        holystone(env, "trust", name, "--fingerprint", fingerprint(hosts[name]), tmp=tmp_path)
    trixie_host.docker("buildx", "create", "--name", "extra", "--driver", "docker-container")
    state = "buildx_buildkit_theirs0_state"
    trixie_host.docker("volume", "create", state)
    try:
        trixie_host.run(
            "dd", "if=/dev/zero", f"of=/var/lib/docker/volumes/{state}/_data/x", "bs=1M", "count=3"
        )
        trixie_host.fill_cache(megabytes=2)
        before = records(trixie_host)
        found = check(env, tmp_path)
        assert records(trixie_host) == before
        assert trixie_host.docker("ps", "--all", "--quiet") == ""  # no builder was started by looking
    finally:
        trixie_host.docker("volume", "rm", state)
        trixie_host.docker("buildx", "rm", "extra")

    assert statuses(found["old"]) == {
        "engine": "warning",
        "garbage_collection": "warning",
        "gate": "warning",
    }
    assert statuses(found["middle"]) == {
        "garbage_collection": "warning",
        "other_builders": "warning",
        "gate": "warning",
    }
    assert statuses(found["new"]) == {"gate": "warning"}
    assert found["old"]["docker"]["text"].startswith("Engine 20.10.")
    assert found["old"]["docker"]["text"].endswith("prunes by classic")
    assert "builder" not in found["old"]
    assert found["middle"]["builder"]["text"].startswith("buildx 0.13.")
    assert found["new"]["docker"]["text"].startswith("Engine 28.5.")
    assert found["middle"]["other_builders"]["text"] == (
        "caches that no prune covers: theirs0 3.146MB; extra has no cache so far"
    )
    assert found["middle"]["build_cache"]["text"].endswith(f" in {len(before)} records")
    for checks in found.values():
        assert checks["disk"]["text"].endswith("(/var/lib/docker)")
        assert checks["clock"]["status"] == "ok"


@contextmanager
def collecting(host: DockerHost, enabled: bool) -> Iterator[None]:
    """Its engine restarted with garbage collection switched on or off, and at the end as it was."""
    settings = host.root / "etc/docker/daemon.json"
    before = settings.read_text() if settings.exists() else "{}"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text(json.dumps({"builder": {"gc": {"enabled": enabled}}}))
    try:
        host.restart_engine()
        yield
    finally:
        settings.write_text(before)
        host.restart_engine()


def test_garbage_collection_is_told_as_the_engine_has_it(
    bookworm_host: DockerHost, trixie_host: DockerHost, forky_host: DockerHost, tmp_path: Path
) -> None:
    """The remedy, done, clears the warning; 20.10's classic builder doesn't say."""
    hosts = {"old": bookworm_host, "middle": trixie_host, "new": forky_host}
    env = fleet_env(tmp_path, **hosts)
    known = "".join(host.known_hosts.read_text() for host in hosts.values())
    (tmp_path / "known_hosts").write_text(known)

    def told() -> dict[str, tuple[str, str]]:
        found = {name: checks["garbage_collection"] for name, checks in check(env, tmp_path).items()}
        return {name: (line["status"], line["text"].partition(",")[0]) for name, line in found.items()}

    off = ("warning", "off: the engine collects no build cache by itself")
    unread, on = ("warning", "before Engine 28.2 it is off"), ("ok", "on")
    assert told() == {"old": unread, "middle": off, "new": on}
    with collecting(bookworm_host, True), collecting(trixie_host, True), collecting(forky_host, False):
        assert told() == {"old": unread, "middle": on, "new": off}


def test_an_engine_that_is_stopped_and_a_user_who_may_not_use_it_are_told_apart(
    forky_host: DockerHost, tmp_path: Path
) -> None:
    env = fleet_env(tmp_path, new=forky_host)
    holystone(env, "trust", "new", "--fingerprint", fingerprint(forky_host), tmp=tmp_path)
    forky_host.stop_engine()
    try:
        stopped = check(env, tmp_path)["new"]["docker"]
    finally:
        forky_host.start_engine()
    assert stopped["text"].startswith("its engine does not run")
    socket = "/run/docker.sock"
    users = (tmp_path / "ssh_config").read_text().replace("User root", "User ci.bot")
    (tmp_path / "ssh_config").write_text(users)
    forky_host.run("chmod", "600", socket)
    try:
        forbidden = check(env, tmp_path)["new"]["docker"]
    finally:
        forky_host.run("chmod", "660", socket)
    assert forbidden["text"].startswith("ci.bot may not use it")
    assert forbidden["remedy"] == "there, as root: usermod -aG docker ci.bot"


def test_ssh_itself_accepts_a_host_after_trust(trixie_host: DockerHost, tmp_path: Path) -> None:
    env = fleet_env(tmp_path, middle=trixie_host)
    holystone(env, "trust", "middle", "--fingerprint", fingerprint(trixie_host), tmp=tmp_path)
    options = ["StrictHostKeyChecking=yes", "BatchMode=yes", f"UserKnownHostsFile={tmp_path / 'known_hosts'}"]
    flags = [flag for option in options for flag in ("-o", option)]
    argv = ["ssh", "-F", str(tmp_path / "ssh_config"), *flags, "middle", "docker", "version"]
    subprocess.run(argv, check=True, capture_output=True, stdin=subprocess.DEVNULL)
