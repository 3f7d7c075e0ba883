"""A key confined by `holystone gate`, as an operator sets it up, on three real engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tasks.cli import main
from tests.support.build_cache import cache_bytes, cache_records, wait_until_unused_for
from tests.support.docker_host import DockerHost
from tests.support.openssh import ssh
from tests.support.served_host import USERS, ServedHost
from tests.support.ssh_keys import make_key
from worker.errors import GateDenied
from worker.gate import COMMAND_SET_VERSION

MIN_AGE_S = 2
NAME = "by-ci"  # a user in the docker group, whose shell is bash


def holystone_gate(*args: str) -> str:
    result = CliRunner().invoke(main, ["gate", *args])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def served(docker_host: DockerHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """A host with the gate, and a worker that has only the key which it confines."""
    tmp = tmp_path_factory.mktemp(docker_host.suite)
    key = make_key(tmp / "id_ed25519")
    gate, keys = (
        docker_host.root / "usr/local/bin/holystone-gate",
        docker_host.root / "etc/holystone/authorized_keys",
    )
    before = keys.read_text()
    gate.write_text(holystone_gate("--min-age", f"{MIN_AGE_S}s"))
    gate.chmod(0o755)
    keys.write_text(before + holystone_gate("--authorized-keys", f"{key}.pub"))
    try:
        with ServedHost(docker_host, tmp, ssh_identity=key) as served:
            yield served
    finally:
        keys.write_text(before)
        gate.unlink()


def ids(host: DockerHost) -> set[str]:
    return {record["ID"] for record in cache_records(host)}


def test_a_prune_through_the_gate_removes_what_the_engine_had(served: ServedHost) -> None:
    served.host.fill_cache(megabytes=4)
    wait_until_unused_for(served.host, MIN_AGE_S)
    size = cache_bytes(served.host)
    report = served.run(NAME, until=f"{MIN_AGE_S}s")
    assert report["reclaimed_bytes"] == pytest.approx(size, rel=0.001)
    assert report["complete"]
    assert report["disk"]["path"] == "/var/lib/docker"
    assert ids(served.host) == set()


def test_a_dry_run_through_the_gate_says_what_would_go(served: ServedHost) -> None:
    served.host.fill_cache(megabytes=4)
    wait_until_unused_for(served.host, MIN_AGE_S)
    report = served.run(NAME, until=f"{MIN_AGE_S}s", dry_run=True)
    assert report["records"] == len(cache_records(served.host)) > 0


def test_an_age_below_the_minimum_removes_nothing(served: ServedHost) -> None:
    served.host.fill_cache(megabytes=4)
    wait_until_unused_for(served.host, MIN_AGE_S)
    before = ids(served.host)
    with pytest.raises(GateDenied) as failure:
        served.run(NAME, until="1s")
    assert failure.value.args[2:4] == ("age below the minimum", MIN_AGE_S)
    assert ids(served.host) == before != set()


def test_the_key_runs_nothing_else(served: ServedHost) -> None:
    class Confined:
        port, user, known_hosts = served.host.port, USERS[NAME], served.host.known_hosts
        identity = Path(served.env["HOLYSTONE_SSH_IDENTITY"])

    assert ssh(Confined, "holystone-gate version").startswith(f"holystone-gate {COMMAND_SET_VERSION} ")
    prune = "docker builder prune --force"
    attacks = ("id", "docker ps", f"{prune} --all", f"{prune} --filter until=24h --all", "docker version")
    for command in attacks:
        with pytest.raises(RuntimeError, match=r"\(77\): holystone-gate: denied: "):
            ssh(Confined, command)
