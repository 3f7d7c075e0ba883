"""`holystone trust` against a real sshd: afterwards the worker and OpenSSH's own client accept the host."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tasks.check_findings import Check
from tasks.check_way import judge_way
from tests.support.holystone_command import Holystone, holystone
from tests.support.network import SilentServer
from tests.support.paths import CHECKOUT
from tests.support.ports import LOOPBACK
from tests.support.processes import clean_environment, is_asleep
from tests.support.ssh_keys import make_key, public_key
from tests.support.sshd import SshServer
from tests.support.waiting import wait_until
from worker.errors import HostKeyRejected
from worker.host_key import fetch_host_key
from worker.hosts import parse_host
from worker.settings import Settings
from worker.shell import connect
from worker.way import reach

LONG_S = 60  # to connect, on a busy machine


@dataclass
class Enrolment:
    """A host `build-01` that nobody knows yet, and where its key is to be known."""

    server: SshServer
    tmp: Path
    config: str = ""
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known_hosts = self.tmp / "enrolled/known_hosts"
        self.ssh_config = self.tmp / "ssh_config"
        self.configure()

    @property
    def line(self) -> str:
        return f"[{LOOPBACK}]:{self.server.port} {public_key(self.server.tmp / 'host_key')}\n"

    @property
    def fingerprint(self) -> str:
        argv = ["ssh-keygen", "-lf", str(self.server.tmp / "host_key.pub")]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[1]

    def configure(self, more: str = "", hosts: str = "ssh://build-01 local", **settings: Any) -> None:
        self.ssh_config.write_text(
            f"Host build-01\n  HostName {LOOPBACK}\n  Port {self.server.port}\n  User {self.server.user}\n"
            f"  IdentityFile {self.server.identity}\n{more}"
        )
        files = {"ssh_config": self.ssh_config, "ssh_known_hosts": self.known_hosts}
        values = {"hosts": hosts, "ssh_connect_timeout_s": LONG_S, **files, **settings}
        self.env = {f"HOLYSTONE_{name.upper()}": str(value) for name, value in values.items()}

    def trust(self, *args: str, status: int = 0, host: str = "build-01") -> str:
        """All that the command says, which ends with `status`."""
        done = holystone(self.env, "trust", host, *args, tmp=self.tmp, status=status)
        return done.output() + done.log()

    def worker_accepts(self, url: str = "ssh://build-01") -> bool:
        """Whether the worker's own connection is made. The settings' files are those of `env`."""
        known_hosts = self.env["HOLYSTONE_SSH_KNOWN_HOSTS"]
        settings = Settings(
            ssh_config=self.ssh_config,
            ssh_known_hosts=Path(known_hosts) if known_hosts else None,
            ssh_connect_timeout_s=LONG_S,
        )

        async def visit() -> bool:
            async with connect(parse_host(url), settings) as shell:
                return (await shell.run(("echo", "here"))).check().stdout == "here\n"

        try:
            return asyncio.run(visit())
        except HostKeyRejected:
            return False

    def ssh_accepts(self, file: Path | None = None, host: str = "build-01") -> bool:
        """Whether OpenSSH's client, asking nobody, logs in."""
        options = f"  BatchMode yes\n  UserKnownHostsFile {file or self.known_hosts}\n"
        config = self.tmp / "strict_ssh_config"  # no -o: those options don't reach a jump host
        config.write_text(f"{self.ssh_config.read_text()}Host *\n  StrictHostKeyChecking yes\n{options}")
        argv = ["ssh", "-F", str(config), host, "echo", "here"]
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        assert done.returncode == 0 or "Host key verification failed" in done.stderr, done.stderr
        return done.stdout == "here\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def enrolment(own_ssh_server: SshServer, tmp_path: Path) -> Enrolment:
    return Enrolment(own_ssh_server, tmp_path)


# With a fingerprint


def test_the_right_fingerprint_makes_the_host_known_to_worker_and_ssh(enrolment: Enrolment) -> None:
    told = enrolment.trust("--fingerprint", enrolment.fingerprint)
    assert f"was added to {enrolment.known_hosts}" in told
    assert enrolment.known_hosts.read_text() == enrolment.line
    assert stat.S_IMODE(enrolment.known_hosts.stat().st_mode) == 0o600
    assert stat.S_IMODE(enrolment.known_hosts.parent.stat().st_mode) == 0o700
    assert enrolment.worker_accepts()
    assert enrolment.ssh_accepts()
    assert "publickey" in enrolment.server.log()


def test_nothing_is_sent_to_the_host_but_the_start_of_a_connection(enrolment: Enrolment) -> None:
    enrolment.trust("--fingerprint", enrolment.fingerprint)
    assert "publickey" not in enrolment.server.log()
    assert "Starting session" not in enrolment.server.log()


def test_a_fingerprint_with_padding_is_the_same(enrolment: Enrolment) -> None:
    enrolment.trust("--fingerprint", enrolment.fingerprint + "=")
    assert enrolment.known_hosts.read_text() == enrolment.line


def test_another_fingerprint_adds_nothing_and_both_are_shown(enrolment: Enrolment) -> None:
    other = "SHA256:" + "a" * 43
    told = enrolment.trust("--fingerprint", other, status=1)
    assert enrolment.fingerprint in told
    assert other in told
    assert told.count("\n") == 1
    assert not enrolment.known_hosts.exists()


@pytest.mark.parametrize("change", [str.swapcase, lambda text: text[:-1] + ("a" if text[-1] != "a" else "b")])
def test_a_fingerprint_that_is_nearly_right_adds_nothing(enrolment: Enrolment, change: Any) -> None:
    nearly = "SHA256:" + change(enrolment.fingerprint.removeprefix("SHA256:"))
    assert "nothing was added" in enrolment.trust("--fingerprint", nearly, status=1)
    assert not enrolment.known_hosts.exists()


def test_the_fingerprint_of_any_of_the_host_s_keys_is_found(enrolment: Enrolment) -> None:
    server = enrolment.server
    key = server.tmp / "rsa_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-C", "", "-f", str(key)], check=True)
    with (server.tmp / "sshd_config").open("a") as config:
        config.write(f"HostKey {key}\n")
    server.stop()
    server.start()
    argv = ["ssh-keygen", "-lf", f"{key}.pub"]
    fingerprint = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[1]
    enrolment.trust("--fingerprint", fingerprint)
    assert enrolment.known_hosts.read_text() == f"[{LOOPBACK}]:{server.port} {public_key(key)}\n"
    assert enrolment.worker_accepts()
    assert enrolment.ssh_accepts()
    assert "known already" in enrolment.trust("--fingerprint", fingerprint)


# What is known before


def test_a_known_key_is_not_added_twice(enrolment: Enrolment) -> None:
    enrolment.trust("--fingerprint", enrolment.fingerprint)
    assert "is known already; nothing was added" in enrolment.trust("--fingerprint", enrolment.fingerprint)
    assert enrolment.known_hosts.read_text() == enrolment.line


def test_without_a_terminal_or_fingerprint_a_known_key_is_known_and_no_other_is_added(
    enrolment: Enrolment,
) -> None:
    assert "no terminal to ask on" in enrolment.trust(status=2)
    assert not enrolment.known_hosts.exists()
    enrolment.trust("--fingerprint", enrolment.fingerprint)
    assert "is known already; nothing was added" in enrolment.trust()
    other = public_key(make_key(enrolment.tmp / "other"))
    # Known at another port only, the key is a new one.
    for name, status in [(f"[{LOOPBACK}]:{enrolment.server.port}", 1), (LOOPBACK, 2)]:
        enrolment.known_hosts.write_text(f"{name} {other}\n")
        enrolment.trust(status=status)
        assert enrolment.known_hosts.read_text() == f"{name} {other}\n"


def test_a_known_key_is_known_though_its_line_is_hashed(enrolment: Enrolment) -> None:
    enrolment.trust("--fingerprint", enrolment.fingerprint)
    hash_it = ["ssh-keygen", "-q", "-H", "-f", str(enrolment.known_hosts)]
    subprocess.run(hash_it, check=True, capture_output=True)
    assert enrolment.known_hosts.read_text().startswith("|1|")
    assert "known already" in enrolment.trust("--fingerprint", enrolment.fingerprint)


def test_the_lines_before_stay_as_they_are_even_without_a_newline_at_the_end(enrolment: Enrolment) -> None:
    other = public_key(make_key(enrolment.tmp / "other"))
    before = f"# mine\n\nbuild-02,10.0.0.6 {other}\n[build-01]:22 {other}"
    enrolment.known_hosts.parent.mkdir()
    enrolment.known_hosts.write_text(before)
    enrolment.trust("--fingerprint", enrolment.fingerprint)
    assert enrolment.known_hosts.read_text() == f"{before}\n{enrolment.line}"
    assert enrolment.worker_accepts()


def test_another_known_key_is_never_replaced(enrolment: Enrolment) -> None:
    other = make_key(enrolment.tmp / "other")
    before = f"[{LOOPBACK}]:{enrolment.server.port} {public_key(other)}\n"
    enrolment.known_hosts.parent.mkdir()
    enrolment.known_hosts.write_text(before)
    told = enrolment.trust("--fingerprint", enrolment.fingerprint, status=1)
    assert "known by another key: nothing was added" in told
    assert enrolment.known_hosts.read_text() == before
    remedy = told.partition("first: ")[2].split()
    assert remedy[:2] == ["ssh-keygen", "-f"]
    subprocess.run(["sh", "-c", told.partition("first: ")[2]], check=True, capture_output=True)
    enrolment.trust("--fingerprint", enrolment.fingerprint)
    assert enrolment.worker_accepts()


def test_the_same_host_at_another_port_is_another_matter(enrolment: Enrolment) -> None:
    other = make_key(enrolment.tmp / "other")
    enrolment.known_hosts.parent.mkdir()
    enrolment.known_hosts.write_text(f"{LOOPBACK} {public_key(other)}\n")
    enrolment.trust("--fingerprint", enrolment.fingerprint)
    assert enrolment.worker_accepts()
    assert enrolment.ssh_accepts()


def test_a_revoked_key_is_refused(enrolment: Enrolment) -> None:
    before = f"@revoked * {public_key(enrolment.server.tmp / 'host_key')}\n"
    enrolment.known_hosts.parent.mkdir()
    enrolment.known_hosts.write_text(before)
    assert "revoked" in enrolment.trust("--fingerprint", enrolment.fingerprint, status=1)
    assert enrolment.known_hosts.read_text() == before


# Where it is written


def test_without_the_setting_it_is_openssh_s_own_file(enrolment: Enrolment, home: Path) -> None:
    enrolment.configure(ssh_known_hosts="")
    process = holystone(
        enrolment.env, "trust", "build-01", "--fingerprint", enrolment.fingerprint, tmp=enrolment.tmp
    )
    file = next(enrolment.tmp.glob("*.home")) / ".ssh/known_hosts"
    assert f"was added to {file}" in process.output()
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert enrolment.ssh_accepts(file)
    (home / ".ssh").mkdir()
    (home / ".ssh/known_hosts").write_text(file.read_text())
    assert enrolment.worker_accepts()


def test_the_first_file_of_ssh_config_is_taken(enrolment: Enrolment) -> None:
    first, second = enrolment.tmp / "first", enrolment.tmp / "second"
    enrolment.configure(f"  UserKnownHostsFile {first} {second}\n", ssh_known_hosts="")
    enrolment.trust("--fingerprint", enrolment.fingerprint)
    assert first.read_text() == enrolment.line
    assert not second.exists()
    assert enrolment.worker_accepts()
    assert enrolment.ssh_accepts(first)


def test_where_ssh_config_says_none_or_names_no_file_that_is_said(enrolment: Enrolment) -> None:
    enrolment.configure("  UserKnownHostsFile none\n", ssh_known_hosts="")
    assert "HOLYSTONE_SSH_KNOWN_HOSTS" in enrolment.trust("--fingerprint", enrolment.fingerprint, status=1)
    enrolment.configure("  UserKnownHostsFile /dev/null\n", ssh_known_hosts="")
    told = enrolment.trust("--fingerprint", enrolment.fingerprint, status=1)
    assert "/dev/null can't be written" in told


def test_a_host_key_alias_is_the_name_that_ssh_looks_for(enrolment: Enrolment) -> None:
    enrolment.configure("  HostKeyAlias The-Builder\n")
    enrolment.trust("--fingerprint", enrolment.fingerprint)
    assert enrolment.known_hosts.read_text().startswith("the-builder ssh-ed25519 ")
    assert enrolment.worker_accepts()
    assert enrolment.ssh_accepts()


def test_a_name_with_capitals_is_known_to_both(enrolment: Enrolment) -> None:
    port, user = enrolment.server.port, enrolment.server.user
    url = f"ssh://{user}@LocalHost:{port}"
    enrolment.configure(
        f"Host LocalHost\n  Port {port}\n  IdentityFile {enrolment.server.identity}\n", hosts=url
    )
    enrolment.trust("--fingerprint", enrolment.fingerprint, host=f"LocalHost:{port}")
    assert enrolment.known_hosts.read_text().startswith(f"[localhost]:{port} ")
    assert enrolment.worker_accepts(url)
    assert enrolment.ssh_accepts(host="LocalHost")


@pytest.mark.parametrize(
    ("lines", "hashed", "accepted"),
    [
        ("{NAME} {key}\n", False, True),
        ("{NAME} {key}\n", True, True),
        ("x,{NAME}* {key}\n", False, True),
        ("*,!FLEET,!*LOCALHOST* {key}\n", False, False),
        ("* {key}\n@revoked {NAME} {key}\n", False, False),
        ("{name} {key}\n@revoked *.EXAMPLE.com,{NAME}* {key}\n", False, False),
        ("@revoked {NAME} {key}\n{name} {key}\n", True, False),
    ],
)
@pytest.mark.parametrize("name", ["fleet", "[localhost]:{port}"])
def test_case_tells_no_names_apart_as_in_openssh(
    enrolment: Enrolment, lines: str, hashed: bool, accepted: bool, name: str
) -> None:
    enrolment.configure("  HostKeyAlias Fleet\n" * (name == "fleet"))
    config = enrolment.ssh_config.read_text()
    enrolment.ssh_config.write_text(config.replace(f"HostName {LOOPBACK}", "HostName LocalHost"))
    name = name.format(port=enrolment.server.port)
    key = public_key(enrolment.server.tmp / "host_key")
    enrolment.known_hosts.parent.mkdir()
    enrolment.known_hosts.write_text(lines.format(name=name, NAME=name.upper(), key=key))
    if hashed:
        hash_it = ["ssh-keygen", "-q", "-H", "-f", str(enrolment.known_hosts)]
        subprocess.run(hash_it, check=True, capture_output=True)
        assert "|1|" in enrolment.known_hosts.read_text()
    assert enrolment.worker_accepts() is enrolment.ssh_accepts() is accepted


def test_a_file_that_can_not_be_written_is_one_line(enrolment: Enrolment) -> None:
    (enrolment.tmp / "enrolled").write_text("a file where the folder should be")
    told = enrolment.trust("--fingerprint", enrolment.fingerprint, status=1)
    assert "can't be written" in told or "can't be read" in told
    assert told.count("\n") == 1


def test_where_only_a_global_file_is_named_it_is_the_user_s_own_that_is_added_to_and_read(
    enrolment: Enrolment, home: Path
) -> None:
    enrolment.configure("  GlobalKnownHostsFile /dev/null\n", ssh_known_hosts="")
    enrolment.env["HOME"] = str(home)
    told = enrolment.trust("--fingerprint", enrolment.fingerprint)
    assert f"was added to {home}/.ssh/known_hosts" in told
    assert enrolment.worker_accepts()
    assert "known already" in enrolment.trust("--fingerprint", enrolment.fingerprint)


@pytest.mark.parametrize("path", ["%d/kh", "${HOME}/kh", "${HOME}/%%.%h.%p.%k.%n.%i.%r"])
def test_ssh_config_s_tokens_are_replaced_as_ssh_does(enrolment: Enrolment, home: Path, path: str) -> None:
    enrolment.configure(f"  UserKnownHostsFile {path}\n", ssh_known_hosts="")
    enrolment.env["HOME"] = str(home)
    server = enrolment.server
    long = f"%.{LOOPBACK}.{server.port}.build-01.build-01.{os.getuid()}.{server.user}"
    file = home / ("kh" if path.endswith("kh") else long)
    assert f"was added to {file}" in enrolment.trust("--fingerprint", enrolment.fingerprint)
    assert file.read_text() == enrolment.line
    assert enrolment.worker_accepts()
    assert "%d" in path or enrolment.ssh_accepts()  # whose %d is not $HOME but the user's own


@pytest.mark.parametrize("path", ["~no-such-user/x", "~/%C", "${NO_SUCH_VARIABLE}/x"])
def test_a_path_that_can_not_be_replaced_is_one_line_that_names_it(enrolment: Enrolment, path: str) -> None:
    enrolment.configure(f"  UserKnownHostsFile {path}\n", ssh_known_hosts="")
    told = enrolment.trust("--fingerprint", enrolment.fingerprint, status=1)
    assert path in told
    assert told.count("\n") == 1
    assert not enrolment.worker_accepts()


@pytest.mark.parametrize("setting", ["ssh_known_hosts", "ssh_config", "ssh_identity"])
def test_a_setting_that_names_no_user_is_one_line(enrolment: Enrolment, setting: str) -> None:
    enrolment.configure(**{setting: "~no-such-user/x"})
    told = enrolment.trust("--fingerprint", enrolment.fingerprint, status=1)
    assert "~no-such-user/x: there is no such user" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("alias", ["b\xe4u", '"a b"', "*", "a,b", "'#x'", "@revoked", "!x", "|1|a"])
def test_a_name_that_would_mean_something_else_in_the_file_is_refused(
    enrolment: Enrolment, alias: str
) -> None:
    enrolment.configure(f"  HostKeyAlias {alias}\n")
    told = enrolment.trust("--fingerprint", enrolment.fingerprint, status=1)
    assert "HostKeyAlias" in told
    assert told.count("\n") == 1
    assert not enrolment.known_hosts.exists()


def test_the_file_to_remove_an_old_key_from_is_the_one_that_holds_it(enrolment: Enrolment) -> None:
    first, second = enrolment.tmp / "first", enrolment.tmp / "second"
    first.touch()
    second.write_text(f"[{LOOPBACK}]:{enrolment.server.port} {public_key(make_key(enrolment.tmp / 'old'))}\n")
    enrolment.configure(f"  UserKnownHostsFile {first} {second}\n", ssh_known_hosts="")
    told = enrolment.trust("--fingerprint", enrolment.fingerprint, status=1)
    assert f"ssh-keygen -f {second} -R" in told
    subprocess.run(["sh", "-c", told.partition("first: ")[2]], check=True, capture_output=True)
    enrolment.trust("--fingerprint", enrolment.fingerprint)
    assert enrolment.worker_accepts()


@pytest.mark.parametrize(
    "before", ["@revoked {address} {key}\n", "{address} {key}\n@revoked {address} {key}\n"]
)
def test_a_key_that_is_revoked_for_the_host_is_refused_at_its_port(enrolment: Enrolment, before: str) -> None:
    text = before.format(address=LOOPBACK, key=public_key(enrolment.server.tmp / "host_key"))
    enrolment.known_hosts.parent.mkdir()
    enrolment.known_hosts.write_text(text)
    assert "revoked" in enrolment.trust("--fingerprint", enrolment.fingerprint, status=1)
    assert enrolment.known_hosts.read_text() == text
    assert way_to(enrolment)[-1].text.startswith("revoked")


# What `holystone check` says of the same


def way_to(enrolment: Enrolment, **changes: Any) -> list[Check]:
    files = {"ssh_config": enrolment.ssh_config, "ssh_known_hosts": enrolment.known_hosts}
    settings = Settings(**{**files, "ssh_connect_timeout_s": LONG_S, **changes})

    async def look() -> list[Check]:
        async with reach(parse_host("ssh://build-01"), settings) as (way, _):
            return judge_way(way)

    return asyncio.run(look())


def test_a_host_that_hangs_up_over_its_key_is_told_by_that_key(enrolment: Enrolment) -> None:
    """sshd does where ssh_config allows only a type that it has not."""
    enrolment.configure("  HostKeyAlgorithms rsa-sha2-512\n")
    enrolment.known_hosts.parent.mkdir()
    enrolment.known_hosts.touch()
    found = way_to(enrolment)[-1]
    assert found.name == "host_key"
    assert enrolment.fingerprint in found.text
    other = public_key(make_key(enrolment.tmp / "other"))
    enrolment.known_hosts.write_text(f"[{LOOPBACK}]:{enrolment.server.port} {other}\n")
    assert str(way_to(enrolment)[-1].remedy).startswith("find out why it changed")
    enrolment.known_hosts.write_text(enrolment.line)
    assert [(each.name, each.status) for each in way_to(enrolment)][2:] == [
        ("host_key", "ok"),
        ("login", "error"),
    ]


def test_a_bad_certificate_is_said_and_trusting_the_key_is_a_way_out(enrolment: Enrolment) -> None:
    server, authority = enrolment.server, make_key(enrolment.tmp / "authority")
    argv = ["ssh-keygen", "-q", "-s", str(authority), "-I", "host", "-h", "-n", "build-77"]
    subprocess.run([*argv, str(server.tmp / "host_key.pub")], check=True)
    with (server.tmp / "sshd_config").open("a") as config:
        config.write(f"HostCertificate {server.tmp / 'host_key-cert.pub'}\n")
    server.stop()
    server.start()
    enrolment.known_hosts.parent.mkdir()
    enrolment.known_hosts.write_text(f"@cert-authority * {public_key(authority)}\n")
    found = way_to(enrolment)[-1]
    assert "Certificate principal mismatch" in found.text
    assert "holystone trust build-01" in str(found.remedy)
    enrolment.trust("--fingerprint", enrolment.fingerprint)
    assert [each.status for each in way_to(enrolment)] == ["ok"] * 4
    assert enrolment.ssh_accepts()


# Jump hosts


def test_each_host_on_a_long_way_can_be_trusted_in_turn(enrolment: Enrolment, ssh_server: SshServer) -> None:
    with SshServer(enrolment.tmp / "outer") as outer:
        hosts = {"middle": ssh_server, "outer": outer}
        enrolment.configure(
            "  ProxyJump middle\n"
            + "".join(
                f"Host {name}\n  HostName {LOOPBACK}\n  Port {jump.port}\n  User {jump.user}\n"
                f"  IdentityFile {jump.identity}\n{'  ProxyJump outer' if name == 'middle' else ''}\n"
                for name, jump in hosts.items()
            )
        )
        enrolment.known_hosts.parent.mkdir()
        enrolment.known_hosts.touch()
        for name in ("outer", "middle", "build-01"):
            server = hosts.get(name, enrolment.server)
            assert f"holystone trust {name}" in str(way_to(enrolment)[-1].remedy)
            argv = ["ssh-keygen", "-lf", str(server.tmp / "host_key.pub")]
            shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[1]
            enrolment.trust("--fingerprint", shown, host=name)
        assert enrolment.worker_accepts()
        assert "no-such" in enrolment.trust("--fingerprint", shown, host="no-such", status=2)


def behind_jump(enrolment: Enrolment, jump: SshServer) -> None:
    enrolment.configure(
        f"  ProxyJump jump-01\nHost jump-01\n  HostName {LOOPBACK}\n  Port {jump.port}\n"
        f"  User {jump.user}\n  IdentityFile {jump.identity}\n"
    )


def test_behind_a_jump_host_the_jump_host_comes_first(enrolment: Enrolment, ssh_server: SshServer) -> None:
    behind_jump(enrolment, ssh_server)
    enrolment.known_hosts.parent.mkdir()
    enrolment.known_hosts.touch()
    told = enrolment.trust("--fingerprint", enrolment.fingerprint, status=1)
    assert told.startswith("jump-01: the host key is not in known_hosts")
    jump_key = ["ssh-keygen", "-lf", str(ssh_server.tmp / "host_key.pub")]
    fingerprint = subprocess.run(jump_key, capture_output=True, text=True, check=True).stdout.split()[1]
    enrolment.trust("--fingerprint", fingerprint, host="jump-01")
    enrolment.trust("--fingerprint", enrolment.fingerprint)
    assert enrolment.worker_accepts()
    assert enrolment.ssh_accepts()


def test_a_key_behind_a_jump_host_is_fetched_by_no_other_way(enrolment: Enrolment) -> None:
    with SshServer(enrolment.tmp / "jump") as jump:
        with (jump.tmp / "sshd_config").open("a") as config:
            config.write("AllowTcpForwarding no\n")
        jump.stop()
        jump.start()
        behind_jump(enrolment, jump)
        enrolment.known_hosts.parent.mkdir()
        enrolment.known_hosts.write_text(jump.known_hosts.read_text())
        told = enrolment.trust("--fingerprint", enrolment.fingerprint, status=1)
    assert told.startswith("build-01: ")
    assert enrolment.known_hosts.read_text() == jump.known_hosts.read_text()


# On a terminal


@contextmanager
def on_terminal(enrolment: Enrolment) -> Iterator[Terminal]:
    terminal = Terminal(enrolment)
    try:
        yield terminal
    finally:
        terminal.end()


class Terminal:
    """`holystone trust build-01` on a terminal of its own."""

    def __init__(self, enrolment: Enrolment) -> None:
        self._ours, theirs = pty.openpty()
        home = enrolment.tmp / "terminal"
        home.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tasks.cli", "trust", "build-01"],
            env=clean_environment(home, {**enrolment.env, "PYTHONPATH": str(CHECKOUT)}),
            cwd=home,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.seen = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._ours, 4096):
                self.seen += data.decode(errors="replace").replace("\r\n", "\n")
        except OSError:  # the other end is closed
            pass

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.seen, 90, f"{text!r}", detail=lambda: self.seen)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C while it reads: between the question and that, the read would not be interrupted."""
        wait_until(lambda: is_asleep(self._process.pid), 60, "it to read", detail=lambda: self.seen)
        self._process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        status = self._process.wait(60)
        self._reader.join(60)
        return status

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(5)
        os.close(self._ours)


def test_on_a_terminal_yes_in_full_adds_the_key_that_was_shown(enrolment: Enrolment) -> None:
    with on_terminal(enrolment) as terminal:
        terminal.wait_for("> ")
        assert f"ED25519 {enrolment.fingerprint}" in terminal.seen
        assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in terminal.seen
        assert not enrolment.known_hosts.exists()
        terminal.type("yes\n")
        assert terminal.wait() == 0
    assert enrolment.known_hosts.read_text() == enrolment.line
    assert enrolment.worker_accepts()


@pytest.mark.parametrize("answer", ["y\n", "\n", "no\n", "YES\n", "\x04"])
def test_any_other_answer_adds_nothing(enrolment: Enrolment, answer: str) -> None:
    with on_terminal(enrolment) as terminal:
        terminal.wait_for("> ")
        terminal.type(answer)
        assert terminal.wait() != 0
        assert "Traceback" not in terminal.seen
        assert answer == "\x04" or "that was not yes: nothing was added" in terminal.seen
    assert not enrolment.known_hosts.exists()


def test_ctrl_c_at_the_question_is_quiet(enrolment: Enrolment) -> None:
    with on_terminal(enrolment) as terminal:
        terminal.wait_for("> ")
        terminal.interrupt()
        assert terminal.wait() == 130
        assert terminal.seen.partition("> ")[2].strip() == ""
    assert not enrolment.known_hosts.exists()


def test_ctrl_c_while_it_waits_for_the_host_is_quiet(enrolment: Enrolment) -> None:
    with SilentServer() as silent:
        enrolment.configure(hosts=silent.url, ssh_connect_timeout_s=300)
        argv = ("trust", silent.name, "--fingerprint", "SHA256:" + "a" * 43)
        with Holystone(enrolment.env, *argv, tmp=enrolment.tmp) as process:
            wait_until(lambda: silent.accepted, 90, "a connection", detail=process.log)
            process.signal(signal.SIGINT)
            assert process.wait(60) == 130
    assert (process.output() + process.log()).strip() == ""


# The key itself


def test_a_known_type_is_asked_for_before_the_usual_one(enrolment: Enrolment) -> None:
    """As OpenSSH does: else a host known by its RSA key would seem to have changed."""
    server = enrolment.server
    key = server.tmp / "rsa_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-C", "", "-f", str(key)], check=True)
    with (server.tmp / "sshd_config").open("a") as config:
        config.write(f"HostKey {key}\n")
    server.stop()
    server.start()
    settings = Settings(
        ssh_config=enrolment.ssh_config,
        ssh_known_hosts=enrolment.known_hosts,
        ssh_connect_timeout_s=LONG_S,
    )
    assert asyncio.run(fetch_host_key(parse_host("ssh://build-01"), settings)).kind == "ed25519"
    enrolment.known_hosts.parent.mkdir()
    enrolment.known_hosts.write_text(f"[{LOOPBACK}]:{server.port} {public_key(key)}\n")
    found = asyncio.run(fetch_host_key(parse_host("ssh://build-01"), settings))
    assert (found.kind, found.status.name) == ("rsa", "KNOWN")
