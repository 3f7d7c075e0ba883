"""A key confined by `holystone gate`, as an operator sets it up, on three real engines."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
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


class Confined:
    """The worker's key, in OpenSSH's own hands."""

    def __init__(self, served: ServedHost) -> None:
        self.port, self.user, self.known_hosts = served.host.port, USERS[NAME], served.host.known_hosts
        self.identity = Path(served.env["HOLYSTONE_SSH_IDENTITY"])

    def is_denied(self, command: str) -> None:
        with pytest.raises(RuntimeError, match=r"\(77\): holystone-gate: denied: "):
            ssh(self, command)


class Syslog:
    """The host's /dev/log, where its `logger` writes, read as a syslog daemon would."""

    def __init__(self, reading: socket.socket) -> None:
        self._reading = reading

    def messages(self) -> list[str]:
        """Those that came since the last look. `logger` has sent its own before the gate answers."""
        found: list[str] = []
        while True:
            try:
                found.append(self._reading.recv(65_536).decode("latin-1"))
            except BlockingIOError:
                return found


@contextmanager
def syslog_of(host: DockerHost) -> Iterator[Syslog]:
    # Its /dev is this machine's own: /dev/log must be made in a layer above.
    layer = "mkdir -p /run/dev /run/dev.work && busybox mount -t overlay overlay /dev"
    host.run("sh", "-c", f"{layer} -o lowerdir=/dev,upperdir=/run/dev,workdir=/run/dev.work")
    try:
        path = host.root / "dev/log"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reading:
            reading.setblocking(False)
            reading.bind(str(path))
            path.chmod(0o666)
            yield Syslog(reading)
    finally:
        host.run("sh", "-c", "busybox umount -l /dev && rm -r /run/dev /run/dev.work")


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
    confined = Confined(served)
    assert ssh(confined, "holystone-gate version").startswith(f"holystone-gate {COMMAND_SET_VERSION} ")
    prune = "docker builder prune --force"
    for command in (
        "id",
        "docker ps",
        f"{prune} --all",
        f"{prune} --filter until=24h --all",
        "docker version",
    ):
        confined.is_denied(command)


HOSTILE = (
    " ",
    "docker run --privileged busybox",
    "id\nNov 21 12:00:00 build-01 sshd[1]: Accepted publickey for root",
    "id\r\n<0>Nov 21 12:00:00 kernel: panic\n\n",
    "\x1b[2J\x1b]0;title\x07\x7f\b\t",
    "id -p kern.emerg -t sshd %s %n $(id) `id` ${IFS} '\"\\",
    "caf\u00e9 \u2028\u202e \udcff\udc80",
    "x" * 200 + "y",
    "line\n" * 2_000,
    "x" * 10_000,
)


def test_each_denial_is_one_line_in_syslog_and_nothing_else_is(served: ServedHost) -> None:
    confined = Confined(served)
    with syslog_of(served.host) as syslog:
        for command in HOSTILE:
            confined.is_denied(command)
            (message,) = syslog.messages()
            # 36: facility auth (4), severity warning (4).
            said = re.fullmatch(
                r"<36>[A-Z][a-z]{2} [ 1-3][0-9] [0-9:]{8} holystone-gate: denied: ([ -~]*)", message
            )
            assert said is not None, message
            sent = command.encode(errors="surrogateescape").decode("latin-1")
            assert said[1] == re.sub(r"[^ -~]", "?", sent)[:200]
        ssh(confined, "holystone-gate version")
        served.run(NAME, until=f"{MIN_AGE_S}s", dry_run=True)
        assert syslog.messages() == []
        with pytest.raises(GateDenied):
            served.run(NAME, until="1s")
        (message,) = syslog.messages()
        assert message.endswith(" holystone-gate: denied: docker builder prune --force --filter until=1s")
