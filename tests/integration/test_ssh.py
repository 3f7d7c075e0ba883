"""The way to a host: keys, host keys and OpenSSH's own files, against a real sshd."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.network import BannerThenSilent, Blackhole, ClosesAtOnce, SilentServer
from tests.support.ports import free_port
from tests.support.processes import Process, clean_environment
from tests.support.proxy import HoldingProxy
from tests.support.ssh_client import run_on, ssh_settings
from tests.support.ssh_keys import make_key, public_key
from tests.support.sshd import SshServer
from tests.support.stand_in_docker import WAIT_FOR_GO, StandInDocker
from tests.support.waiting import wait_until
from worker.errors import AuthenticationFailed, HolystoneError, HostKeyRejected, HostUnreachable
from worker.host_key import fetch_host_key
from worker.hosts import parse_host
from worker.look import disk, look
from worker.shell import connect
from worker.ssh import open_connection


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test's own, without keys or known hosts."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def not_logged_in(ssh_server: SshServer) -> Iterator[None]:
    """The test's end shows that the host saw neither a key nor a command."""
    ssh_server.wait_quiet()  # a session may write its log after its client has left
    before = len(ssh_server.log())
    yield
    ssh_server.wait_quiet()
    log = ssh_server.log()[before:]
    assert "publickey" not in log
    assert "Starting session" not in log


def test_a_key_that_the_host_does_not_know_is_refused(ssh_server: SshServer, tmp_path: Path) -> None:
    settings = ssh_settings(ssh_server, tmp_path, ssh_identity=ssh_server.wrong_identity)
    with pytest.raises(AuthenticationFailed, match="add its public key to authorized_keys") as failure:
        run_on(ssh_server.url, settings, "true")
    assert str(failure.value).startswith(f"{ssh_server.name}: ")


@pytest.mark.usefixtures("not_logged_in")
def test_an_unknown_host_key_is_rejected_before_anything_is_sent(
    ssh_server: SshServer, tmp_path: Path
) -> None:
    settings = ssh_settings(ssh_server, tmp_path, ssh_known_hosts=ssh_server.unknown_hosts)
    with pytest.raises(HostKeyRejected, match="is not in known_hosts; add it after checking"):
        run_on(ssh_server.url, settings, "true")


@pytest.mark.usefixtures("not_logged_in")
def test_a_changed_host_key_is_rejected_and_said_to_be_changed(ssh_server: SshServer, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{ssh_server.port} {public_key(other)}\n")
    with pytest.raises(HostKeyRejected, match="differs from the one in known_hosts"):
        run_on(ssh_server.url, ssh_settings(ssh_server, tmp_path, ssh_known_hosts=known_hosts), "true")


@pytest.mark.usefixtures("not_logged_in")
def test_a_key_known_for_the_address_is_not_thereby_known_for_a_name(
    ssh_server: SshServer, tmp_path: Path
) -> None:
    with pytest.raises(HostKeyRejected, match="not in known_hosts"):
        run_on(f"ssh://localhost:{ssh_server.port}", ssh_settings(ssh_server, tmp_path), "true")


def test_a_host_that_comes_back_with_another_key_is_rejected(
    own_ssh_server: SshServer, tmp_path: Path
) -> None:
    settings = ssh_settings(own_ssh_server, tmp_path)
    assert run_on(own_ssh_server.url, settings, "true").exit_status == 0
    own_ssh_server.change_host_key()
    with pytest.raises(HostKeyRejected, match="differs"):
        run_on(own_ssh_server.url, settings, "true")


@pytest.mark.usefixtures("not_logged_in")
@pytest.mark.parametrize(
    "config",
    [
        "StrictHostKeyChecking no\n",
        "UserKnownHostsFile none\n",
        "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n",
        "Host *\n  StrictHostKeyChecking accept-new\n  UserKnownHostsFile none\n  CheckHostIP no\n",
    ],
)
def test_ssh_config_can_not_switch_the_host_key_check_off(
    ssh_server: SshServer, tmp_path: Path, config: str
) -> None:
    with pytest.raises(HostKeyRejected, match="not in known_hosts"):
        run_on(ssh_server.url, ssh_settings(ssh_server, tmp_path, config, ssh_known_hosts=None), "true")


def test_without_settings_openssh_s_own_files_in_the_home_folder_are_used(
    ssh_server: SshServer, home: Path, tmp_path: Path
) -> None:
    shutil.copy(ssh_server.identity, home / ".ssh/id_ed25519")
    shutil.copy(ssh_server.known_hosts, home / ".ssh/known_hosts")
    (home / ".ssh/config").write_text(f"Host by-name\n  HostName 127.0.0.1\n  Port {ssh_server.port}\n")
    settings = ssh_settings(ssh_server, tmp_path, ssh_config=None, ssh_known_hosts=None, ssh_identity=None)
    assert run_on("ssh://by-name", settings, "echo", "here").stdout == "here\n"


def test_an_alias_of_ssh_config_brings_address_port_user_and_key(
    ssh_server: SshServer, tmp_path: Path
) -> None:
    config = (
        f"Host build-01\n  HostName 127.0.0.1\n  Port {ssh_server.port}\n  User {ssh_server.user}\n"
        f"  IdentityFile {ssh_server.identity}\n  UserKnownHostsFile {ssh_server.known_hosts}\n"
    )
    settings = ssh_settings(ssh_server, tmp_path, config, ssh_known_hosts=None, ssh_identity=None)
    assert run_on("ssh://build-01", settings, "id", "-un").stdout == f"{ssh_server.user}\n"


def test_ssh_config_can_not_put_a_command_on_a_terminal(ssh_server: SshServer, tmp_path: Path) -> None:
    """There a prune would be killed when the worker leaves."""
    settings = ssh_settings(ssh_server, tmp_path, "Host *\n  RequestTTY force\n")
    assert run_on(ssh_server.url, settings, "tty").stdout == "not a tty\n"


def test_a_known_hosts_line_that_is_not_understood_costs_no_host(
    ssh_server: SshServer, tmp_path: Path
) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text("garbage\n" + ssh_server.known_hosts.read_text())
    settings = ssh_settings(ssh_server, tmp_path, ssh_known_hosts=known_hosts)
    assert run_on(ssh_server.url, settings, "true").exit_status == 0
    known_hosts.write_text("@revoked garbage\n" + ssh_server.known_hosts.read_text())
    with pytest.raises(HostKeyRejected, match="revoked key that can't be read"):
        run_on(ssh_server.url, settings, "true")


def test_no_common_algorithm_is_not_taken_for_a_changed_key_or_a_lost_connection(
    ssh_server: SshServer, tmp_path: Path
) -> None:
    settings = ssh_settings(ssh_server, tmp_path, "Host *\n  KexAlgorithms diffie-hellman-group1-sha1\n")
    with HoldingProxy(ssh_server.port) as at_once:  # sshd hangs up right after it says what it takes
        known = ssh_server.known_hosts.read_text().replace(f":{ssh_server.port}", f":{at_once.port}")
        (tmp_path / "known_hosts").write_text(known)
        for url, known_hosts in (
            (ssh_server.url, ssh_server.known_hosts),
            (at_once.url, tmp_path / "known_hosts"),
        ):
            settings = settings.model_copy(update={"ssh_known_hosts": known_hosts})
            with pytest.raises(HostKeyRejected, match="no common ssh algorithm"):
                run_on(url, settings, "true")
            with pytest.raises(HostKeyRejected, match="no common ssh algorithm"):
                asyncio.run(fetch_host_key(parse_host(url), settings))


@pytest.mark.parametrize(
    ("config", "cipher"),
    [
        ("", "aes128-gcm@openssh.com"),
        ("Ciphers aes256-ctr\n", "aes256-ctr"),
        ("Ciphers ^chacha20-poly1305@openssh.com\n", "chacha20-poly1305@openssh.com"),
    ],
)
def test_the_fastest_cipher_is_used_unless_ssh_config_names_one(
    ssh_server: SshServer, tmp_path: Path, config: str, cipher: str
) -> None:
    async def agreed() -> object:
        connection = await open_connection(parse_host(ssh_server.url), settings)
        async with connection:
            cipher_in_use: object = connection.get_extra_info("send_cipher")
        return cipher_in_use

    settings = ssh_settings(ssh_server, tmp_path, config)
    assert asyncio.run(agreed()) == cipher


def test_a_host_without_the_fastest_ciphers_is_reached(own_ssh_server: SshServer, tmp_path: Path) -> None:
    own_ssh_server.stop()
    with (own_ssh_server.tmp / "sshd_config").open("a") as config:
        config.write("Ciphers aes128-ctr\n")
    own_ssh_server.start()
    settings = ssh_settings(own_ssh_server, tmp_path)
    assert run_on(own_ssh_server.url, settings, "echo", "here").stdout == "here\n"


def test_keys_of_the_agent_are_used(
    ssh_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = tmp_path / "agent"
    settings = ssh_settings(ssh_server, tmp_path, ssh_identity=None)
    with pytest.raises(AuthenticationFailed):
        run_on(ssh_server.url, settings, "true")
    argv = ["ssh-agent", "-D", "-a", str(address)]
    with Process(argv, env=clean_environment(tmp_path), log=tmp_path / "agent.log") as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(address))
        ask = ["ssh-add", "-l"]
        no_keys_yet = 1  # 2 where it does not listen
        wait_until(
            lambda: subprocess.run(ask, capture_output=True, check=False).returncode == no_keys_yet,
            60,
            "ssh-agent to listen",
            detail=agent.log,
        )
        subprocess.run(["ssh-add", "-q", str(ssh_server.identity)], check=True, stdin=subprocess.DEVNULL)
        assert run_on(ssh_server.url, settings, "true").exit_status == 0


def test_a_certificate_beside_the_key_is_used(own_ssh_server: SshServer, tmp_path: Path) -> None:
    authority, identity = make_key(tmp_path / "authority"), make_key(tmp_path / "certified")
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "holystone", "-n", own_ssh_server.user]
    subprocess.run([*sign, f"{identity}.pub"], check=True, stdin=subprocess.DEVNULL)
    with (own_ssh_server.tmp / "sshd_config").open("a") as config:
        config.write(f"TrustedUserCAKeys {authority}.pub\n")
    own_ssh_server.stop()
    own_ssh_server.start()
    settings = ssh_settings(own_ssh_server, tmp_path, ssh_identity=identity)
    assert run_on(own_ssh_server.url, settings, "true").exit_status == 0


@pytest.mark.usefixtures("not_logged_in")
@pytest.mark.parametrize("kind", [("ecdsa", "521"), ("rsa", "2048")])
def test_a_host_that_has_no_key_of_the_known_type_any_more_has_changed(
    ssh_server: SshServer, tmp_path: Path, kind: tuple[str, str]
) -> None:
    argv = ["ssh-keygen", "-q", "-t", kind[0], "-b", kind[1], "-N", "", "-f", str(tmp_path / "old")]
    subprocess.run(argv, check=True)
    known_hosts = a_file(tmp_path, f"[127.0.0.1]:{ssh_server.port} {public_key(tmp_path / 'old')}\n")
    with pytest.raises(HostKeyRejected, match="differs from the one in known_hosts"):
        run_on(ssh_server.url, ssh_settings(ssh_server, tmp_path, ssh_known_hosts=known_hosts), "true")


@pytest.mark.usefixtures("not_logged_in")
@pytest.mark.parametrize("lines", ["", "{name} {key}\n", "127.0.0.1 {key}\n"])
def test_a_key_revoked_for_the_host_is_revoked_at_its_port(
    ssh_server: SshServer, tmp_path: Path, lines: str
) -> None:
    key = public_key(ssh_server.tmp / "host_key")
    text = lines.format(name=f"[127.0.0.1]:{ssh_server.port}", key=key) + f"@revoked 127.0.0.1 {key}\n"
    settings = ssh_settings(ssh_server, tmp_path, ssh_known_hosts=a_file(tmp_path, text))
    with pytest.raises(HostKeyRejected, match="is revoked in known_hosts"):
        run_on(ssh_server.url, settings, "true")


@pytest.mark.usefixtures("not_logged_in")
@pytest.mark.parametrize("line", ["@revoked * ssh-ed25519 AAAAbroken", "@Revoked * {key}"])
def test_a_revoked_line_that_is_not_understood_stops_all_and_says_where(
    ssh_server: SshServer, tmp_path: Path, line: str
) -> None:
    key = public_key(ssh_server.tmp / "host_key")
    text = ssh_server.known_hosts.read_text() + line.format(key=key) + "\n"
    settings = ssh_settings(ssh_server, tmp_path, ssh_known_hosts=a_file(tmp_path, text))
    with pytest.raises(HostKeyRejected, match=r"/nonsense:2: a revoked key"):
        run_on(ssh_server.url, settings, "true")


CERTIFICATES = {
    "good": ["-n", "127.0.0.1"],
    "expired": ["-n", "127.0.0.1", "-V", "20200101:20200102"],
    "another's": ["-n", "build-77"],
}


def certify(server: SshServer, tmp: Path, kind: str) -> str:
    """Give the host a certificate; the line that trusts its authority."""
    authority = make_key(tmp / "authority")
    argv = ["ssh-keygen", "-q", "-s", str(authority), "-I", "host", "-h", *CERTIFICATES[kind]]
    subprocess.run([*argv, str(server.tmp / "host_key.pub")], check=True)
    with (server.tmp / "sshd_config").open("a") as config:
        config.write(f"HostCertificate {server.tmp / 'host_key-cert.pub'}\n")
    server.stop()
    server.start()
    return f"@cert-authority * {public_key(authority)}\n"


def test_a_host_is_known_by_its_authority(own_ssh_server: SshServer, tmp_path: Path) -> None:
    known_hosts = a_file(tmp_path, certify(own_ssh_server, tmp_path, "good"))
    settings = ssh_settings(own_ssh_server, tmp_path, ssh_known_hosts=known_hosts)
    assert run_on(own_ssh_server.url, settings, "true").exit_status == 0


@pytest.mark.parametrize("kind", ["expired", "another's"])
def test_a_bad_certificate_is_refused_unless_the_key_itself_is_known(
    own_ssh_server: SshServer, tmp_path: Path, kind: str
) -> None:
    authority = certify(own_ssh_server, tmp_path, kind)
    known, key = own_ssh_server.known_hosts.read_text(), public_key(own_ssh_server.tmp / "host_key")
    other = f"[127.0.0.1]:{own_ssh_server.port} {public_key(make_key(tmp_path / 'other'))}\n"
    for lines, why in (
        ("", "certificate is not accepted; .*Certificate "),
        (other, "differs from the one in known_hosts"),
        (f"{known}@revoked * {key}\n", "is revoked"),
    ):
        known_hosts = a_file(tmp_path, authority + lines)
        with pytest.raises(HostKeyRejected, match=why):
            run_on(
                own_ssh_server.url,
                ssh_settings(own_ssh_server, tmp_path, ssh_known_hosts=known_hosts),
                "true",
            )
    settings = ssh_settings(own_ssh_server, tmp_path, ssh_known_hosts=a_file(tmp_path, authority + known))
    assert run_on(own_ssh_server.url, settings, "true").exit_status == 0


def test_a_certificate_in_known_hosts_says_nothing_unless_it_is_revoked(
    own_ssh_server: SshServer, tmp_path: Path
) -> None:
    certify(own_ssh_server, tmp_path, "good")
    certificate = (own_ssh_server.tmp / "host_key-cert.pub").read_text()
    name, known = f"[127.0.0.1]:{own_ssh_server.port}", own_ssh_server.known_hosts.read_text()
    for lines, why in (
        (f"{name} {certificate}", "is not in known_hosts"),
        (f"@cert-authority {name} {certificate}", "is not in known_hosts"),
        (f"{known}@revoked * {certificate}", "nonsense:2: a revoked key that can't be read"),
    ):
        settings = ssh_settings(own_ssh_server, tmp_path, ssh_known_hosts=a_file(tmp_path, lines))
        with pytest.raises(HostKeyRejected, match=why):
            run_on(own_ssh_server.url, settings, "true")
    known_hosts = a_file(tmp_path, f"{known}{name} {certificate}")
    settings = ssh_settings(own_ssh_server, tmp_path, ssh_known_hosts=known_hosts)
    assert run_on(own_ssh_server.url, settings, "true").exit_status == 0


def test_a_revoked_authority_is_no_way_around(own_ssh_server: SshServer, tmp_path: Path) -> None:
    authority = certify(own_ssh_server, tmp_path, "good")
    revoked = authority.replace("@cert-authority", "@revoked")
    text = authority + revoked + own_ssh_server.known_hosts.read_text()
    settings = ssh_settings(own_ssh_server, tmp_path, ssh_known_hosts=a_file(tmp_path, text))
    with pytest.raises(HostKeyRejected, match="is revoked"):
        run_on(own_ssh_server.url, settings, "true")


@pytest.mark.usefixtures("not_logged_in")
def test_a_host_of_an_authority_that_shows_no_certificate_is_unknown(
    ssh_server: SshServer, tmp_path: Path
) -> None:
    text = f"@cert-authority * {public_key(make_key(tmp_path / 'authority'))}\n"
    settings = ssh_settings(ssh_server, tmp_path, ssh_known_hosts=a_file(tmp_path, text))
    with pytest.raises(HostKeyRejected, match="is not in known_hosts"):
        run_on(ssh_server.url, settings, "true")


@pytest.mark.usefixtures("not_logged_in")
def test_an_alias_has_no_port_as_in_openssh(ssh_server: SshServer, tmp_path: Path) -> None:
    key = public_key(ssh_server.tmp / "host_key")
    known_hosts = a_file(tmp_path, f"[fleet]:{ssh_server.port} {key}\n")
    config = "HostKeyAlias fleet\n"
    settings = ssh_settings(ssh_server, tmp_path, config, ssh_known_hosts=known_hosts)
    with pytest.raises(HostKeyRejected, match="not in known_hosts"):
        run_on(ssh_server.url, settings, "true")


@pytest.mark.parametrize("form", ["::1", "0:0:0:0:0:0:0:1"])
def test_a_bracketed_ipv6_address_is_reached(own_ssh_server: SshServer, tmp_path: Path, form: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with (own_ssh_server.tmp / "sshd_config").open("a") as config:
        config.write(f"ListenAddress [::1]:{own_ssh_server.port}\n")
    own_ssh_server.stop()
    own_ssh_server.start()
    key = public_key(own_ssh_server.tmp / "host_key")
    own_ssh_server.known_hosts.write_text(f"[::1]:{own_ssh_server.port} {key}\n")
    url = f"ssh://{own_ssh_server.user}@[{form}]:{own_ssh_server.port}"
    peer = run_on(url, ssh_settings(own_ssh_server, tmp_path), "sh", "-c", "echo $SSH_CONNECTION")
    assert peer.stdout.startswith("::1 ")


def jump_config(jump: SshServer, inner: SshServer, more: str = "") -> str:
    return (
        f"Host jump\n  HostName 127.0.0.1\n  Port {jump.port}\n  IdentityFile {jump.identity}\n{more}"
        f"Host inner\n  HostName 127.0.0.1\n  Port {inner.port}\n  ProxyJump jump\n"
        f"  IdentityFile {inner.identity}\n"
    )


@pytest.mark.parametrize("more", ["", "Host *\n  ProxyJump jump\n"])
def test_a_host_behind_a_jump_host_is_reached(
    ssh_server: SshServer, own_ssh_server: SshServer, tmp_path: Path, more: str
) -> None:
    known_hosts = tmp_path / "both"
    known_hosts.write_text(ssh_server.known_hosts.read_text() + own_ssh_server.known_hosts.read_text())
    config = jump_config(ssh_server, own_ssh_server) + more
    settings = ssh_settings(own_ssh_server, tmp_path, config, ssh_known_hosts=known_hosts, ssh_identity=None)
    before = ssh_server.log().count("Accepted publickey")
    assert run_on("ssh://inner", settings, "true").exit_status == 0
    assert ssh_server.log().count("Accepted publickey") == before + 1


@pytest.mark.usefixtures("not_logged_in")
@pytest.mark.parametrize("more", ["", "  UserKnownHostsFile none\n"])
def test_the_key_of_a_jump_host_is_checked_too(
    ssh_server: SshServer, own_ssh_server: SshServer, tmp_path: Path, more: str
) -> None:
    config = jump_config(ssh_server, own_ssh_server, more)
    settings = ssh_settings(own_ssh_server, tmp_path, config, ssh_identity=None)
    with pytest.raises(HostKeyRejected, match="jump"):
        run_on("ssh://inner", settings, "true")


_PRUNE = ("docker", "builder", "prune", "--force", "--filter", "until=24h")
# The exact strings, as an allow-list on a host would hold them.
_FORCED = """#!/bin/sh
set -efu
case "$SSH_ORIGINAL_COMMAND" in
"timeout -s KILL 60 docker --version" | \\
"timeout -s KILL 60 docker info --format '{{json .}}'" | \\
"timeout -s KILL 60 docker context inspect --format '{{json .Endpoints.docker.Host}}'" | \\
"timeout -s KILL 60 docker builder inspect" | \\
"timeout -s KILL 60 df -Pk -- /" | \\
"docker builder prune --force --filter until=24h") eval "exec $SSH_ORIGINAL_COMMAND" ;;
*) echo denied >&2; exit 77 ;;
esac
"""


def test_a_forced_command_that_allows_only_this_job_lets_all_of_it_through(
    own_ssh_server: SshServer, tmp_path: Path
) -> None:
    wrapper = own_ssh_server.stand_in("allow-list", _FORCED)
    keys = own_ssh_server.tmp / "authorized_keys"
    keys.write_text(f'restrict,command="{wrapper}" {keys.read_text()}')
    own_ssh_server.stand_in("docker", StandInDocker(tmp_path / "docker").script)
    settings = ssh_settings(own_ssh_server, tmp_path)

    async def visit() -> tuple[str, int | None, str]:
        async with connect(parse_host(own_ssh_server.url), settings) as shell:
            engine = await look(shell)
            assert await disk(shell, engine.root)
            other = await shell.run(("docker", "system", "prune"))
            pruned = await shell.run(_PRUNE, let_finish=True)
            return engine.id, other.exit_status, pruned.check().stdout

    engine_id, denied, output = asyncio.run(visit())
    assert engine_id == "stand-in-engine"
    assert denied == 77
    assert "49.21MB" in output


def test_what_a_prune_printed_until_its_link_was_cut_is_known(
    own_ssh_server: SshServer, tmp_path: Path
) -> None:
    docker = StandInDocker(tmp_path / "docker")
    docker.prunes("echo a row\n" + WAIT_FOR_GO)
    own_ssh_server.stand_in("docker", docker.script)
    settings, printed = ssh_settings(own_ssh_server, tmp_path), bytearray()

    async def visit() -> None:
        async with connect(parse_host(own_ssh_server.url), settings) as shell:
            running = asyncio.create_task(shell.run(_PRUNE, let_finish=True, printed=printed))
            while not printed:
                await asyncio.sleep(0.01)
            assert own_ssh_server.cut_sessions() > 0
            await running

    with pytest.raises(HostUnreachable, match="connection lost"):
        asyncio.run(asyncio.wait_for(visit(), 120))
    docker.go()
    assert printed == b"a row\n"


# Settings that can't be used


def encrypted_key(tmp: Path) -> Path:
    path = tmp / "encrypted"
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "a secret", "-f", str(path)]
    subprocess.run(make, check=True, stdin=subprocess.DEVNULL)
    return path


def a_file(tmp: Path, text: str) -> Path:
    path = tmp / "nonsense"
    path.write_text(text)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return path


@pytest.mark.usefixtures("not_logged_in")
@pytest.mark.parametrize(
    ("setting", "make", "error"),
    [
        ("ssh_identity", lambda tmp: tmp / "missing", AuthenticationFailed),
        ("ssh_identity", lambda tmp: tmp, AuthenticationFailed),
        ("ssh_identity", lambda tmp: a_file(tmp, "not a key\n"), AuthenticationFailed),
        ("ssh_identity", encrypted_key, AuthenticationFailed),
        ("ssh_config", lambda tmp: tmp / "missing", AuthenticationFailed),
        ("ssh_config", lambda tmp: a_file(tmp, "Port many\n"), AuthenticationFailed),
        ("ssh_config", lambda tmp: a_file(tmp, 'Host "unbalanced\n'), AuthenticationFailed),
        ("ssh_config", lambda tmp: tmp, AuthenticationFailed),
        ("ssh_known_hosts", lambda tmp: tmp / "missing", HostKeyRejected),
        ("ssh_known_hosts", lambda tmp: a_file(tmp, "127.0.0.1 ssh-ed25519\n"), HostKeyRejected),
        ("ssh_known_hosts", lambda tmp: a_file(tmp, "\0\x7f\n"), HostKeyRejected),
        ("ssh_known_hosts", lambda tmp: tmp, HostKeyRejected),
    ],
)
def test_a_file_that_can_not_be_used_is_a_typed_error_of_one_line(
    ssh_server: SshServer,
    tmp_path: Path,
    setting: str,
    make: Callable[[Path], Path],
    error: type[HolystoneError],
) -> None:
    settings = ssh_settings(ssh_server, tmp_path, "", **{setting: make(tmp_path)})
    with pytest.raises(error) as failure:
        run_on(ssh_server.url, settings, "true")
    text = str(failure.value)
    assert text.startswith(f"{ssh_server.name}: ")
    assert re.search("can't be (used|read)|not in known_hosts", text)
    assert "\n" not in text
    assert "a secret" not in text


# Dead hosts


def test_a_refused_connection_is_unreachable(ssh_server: SshServer, tmp_path: Path) -> None:
    with pytest.raises(HostUnreachable, match="Connect call failed"):
        run_on(f"ssh://127.0.0.1:{free_port()}", ssh_settings(ssh_server, tmp_path), "true")


def test_a_host_that_closes_at_once_is_unreachable(ssh_server: SshServer, tmp_path: Path) -> None:
    with ClosesAtOnce() as host, pytest.raises(HostUnreachable):
        run_on(host.url, ssh_settings(ssh_server, tmp_path), "true")


@pytest.mark.parametrize("kind", [Blackhole, SilentServer, BannerThenSilent])
def test_a_host_that_does_not_answer_is_unreachable_when_the_connect_timeout_ends(
    ssh_server: SshServer, tmp_path: Path, kind: type[Blackhole | SilentServer | BannerThenSilent]
) -> None:
    settings = ssh_settings(ssh_server, tmp_path, ssh_connect_timeout_s=0.5)
    with kind() as host:
        begun = time.monotonic()
        with pytest.raises(HostUnreachable, match=r"within 0\.5 s \(HOLYSTONE_SSH_CONNECT_TIMEOUT_S\)"):
            run_on(host.url, settings, "true")
    assert 0.4 < time.monotonic() - begun < 60  # asyncssh's own limit is two minutes
