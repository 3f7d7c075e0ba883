"""known_hosts files: what they say of a key, and adding one (asyncssh asks the resolver even for numbers)."""

from __future__ import annotations

import fcntl
import re
import stat
import threading
from pathlib import Path

import asyncssh
import pytest

from tests.support.waiting import wait_until
from worker import known_hosts_files
from worker.hosts import Host, parse_host
from worker.known_hosts import (
    KeyStatus,
    key_status,
    keys_known_as,
    make_line,
    match,
    name_of,
    read_files,
)
from worker.known_hosts_files import add_line, file_to_add_to, files_to_read
from worker.settings import Settings
from worker.ssh import find_route

KEY, OTHER = (asyncssh.generate_private_key("ssh-ed25519").convert_to_public() for _ in range(2))
RSA = asyncssh.generate_private_key("ssh-rsa", key_size=2048).convert_to_public()


def name_for(url: str, config: str, tmp: Path) -> str:
    file = tmp / "ssh_config"
    file.write_text(config)
    return name_of(find_route(parse_host(url), Settings(ssh_config=file), client_keys=None).options)


@pytest.mark.parametrize(
    ("url", "config", "name"),
    [
        ("ssh://build-01", "", "build-01"),
        ("ssh://Build-01:22", "", "build-01"),
        ("ssh://build-01:2222", "", "[build-01]:2222"),
        ("ssh://[fd00::1]", "", "fd00::1"),
        ("ssh://[fd00::1]:2222", "", "[fd00::1]:2222"),
        ("ssh://[0:0:0:0:0:0:0:1]:2222", "", "[::1]:2222"),
        ("ssh://[FE80:0::1%Eth0]", "", "fe80::1%eth0"),
        ("ssh://build-01", "Host build-01\n  HostName 10.0.0.5\n  Port 2222\n", "[10.0.0.5]:2222"),
        ("ssh://build-01:2222", "Host *\n  HostKeyAlias Fleet\n", "fleet"),
    ],
)
def test_name_of_is_what_openssh_writes(url: str, config: str, name: str, tmp_path: Path) -> None:
    assert name_for(url, config, tmp_path) == name


def marked(start: str, key: asyncssh.SSHKey) -> str:
    return f"{start} {make_line('x', key).partition(' ')[2]}"


def known(*lines: str) -> asyncssh.SSHKnownHosts:
    return asyncssh.SSHKnownHosts("".join(lines))


def test_key_status_tells_new_known_other_and_revoked_apart() -> None:
    line = make_line("build-01", KEY)
    assert key_status(known(), "build-01", KEY) is KeyStatus.NEW
    assert key_status(known(line), "build-01", KEY) is KeyStatus.KNOWN
    assert key_status(known(line), "build-01", OTHER) is KeyStatus.CHANGED
    assert key_status(known(line), "build-01", RSA) is KeyStatus.CHANGED
    assert key_status(known(line, marked("@revoked *", KEY)), "build-01", KEY) is KeyStatus.REVOKED
    assert key_status(known(marked("@revoked *", OTHER)), "build-01", KEY) is KeyStatus.NEW
    assert key_status(known(marked("@cert-authority *", OTHER)), "build-01", KEY) is KeyStatus.NEW


def test_key_status_keeps_hosts_and_ports_apart() -> None:
    hosts = known(make_line("build-01", KEY), make_line("[build-02]:2222", KEY))
    assert key_status(hosts, "[build-01]:2222", OTHER) is KeyStatus.NEW
    assert key_status(hosts, "build-02", OTHER) is KeyStatus.NEW
    assert key_status(hosts, "build-011", OTHER) is KeyStatus.NEW


def test_make_line_is_read_back_as_the_same_key_without_its_comment() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519", comment="root@build-01").convert_to_public()
    line = make_line("[build-01]:2222", key)
    assert line.split()[:2] == ["[build-01]:2222", "ssh-ed25519"]
    assert len(line.split()) == 3
    assert keys_known_as(known(line), "[build-01]:2222") == [key]


def test_add_line_makes_file_and_folder_for_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "home/.ssh/known_hosts"
    add_line(file, "one\n")
    assert file.read_text() == "one\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "new\n"),
        ("old\n", "old\nnew\n"),
        ("old", "old\nnew\n"),
        ("# über\r\n", "# über\r\nnew\n"),
        ("new\nold\n", "new\nold\n"),
        ("anew\n", "anew\nnew\n"),
    ],
)
def test_add_line_keeps_what_is_there(before: str, after: str, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_bytes(before.encode())
    file.chmod(0o640)
    add_line(file, "new\n")
    assert file.read_bytes() == after.encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_add_line_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    add_line(tmp_path / "link", "new\n")
    assert (tmp_path / "real").read_text() == "new\n"
    assert (tmp_path / "link").is_symlink()


def test_add_line_waits_for_another_and_sees_what_that_wrote(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text("old\n")
    waiting = f":{path.stat().st_ino} "
    thread = threading.Thread(target=add_line, args=(path, "new\n"))
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        thread.start()
        wait_until(lambda: _is_waited_for(waiting), 60, "add_line to wait", detail=path.read_text)
        file.write("theirs, not at its end")
    thread.join()
    assert path.read_text() == "old\ntheirs, not at its end\nnew\n"


def _is_waited_for(inode: str) -> bool:
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


@pytest.mark.parametrize("path", ["/dev/null", "/dev/full", "/proc"])
def test_add_line_to_what_is_no_file_is_an_error(path: str) -> None:
    with pytest.raises(OSError):
        add_line(Path(path), "new\n")


@pytest.mark.parametrize(
    ("config", "added_to", "read"),
    [
        ("", "{home}/.ssh/known_hosts", []),
        ("UserKnownHostsFile ~/first ~/second", "{home}/first", ["first", "second"]),
        ("UserKnownHostsFile none", None, []),
        ("GlobalKnownHostsFile {home}/shared", "{home}/.ssh/known_hosts", ["shared"]),
        ("UserKnownHostsFile none\nGlobalKnownHostsFile {home}/shared", None, ["shared"]),
        ("UserKnownHostsFile ~/first\nGlobalKnownHostsFile none", "{home}/first", ["first"]),
        ("UserKnownHostsFile %d/first", "{home}/first", ["first"]),
        ("UserKnownHostsFile ${HOME}/%%", "{home}/%", []),
        ("UserKnownHostsFile ~/%h.%n.%k.%p", "{home}/10.0.0.5.build-01.build-01.2222", []),
        ("UserKnownHostsFile ~/%k\nHostKeyAlias the-builder", "{home}/the-builder", []),
    ],
)
def test_user_and_global_files_are_those_of_openssh(
    config: str, added_to: str | None, read: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(known_hosts_files, "_GLOBAL_FILES", [])  # this machine's own
    for name in ("first", "second", "shared"):
        (tmp_path / name).touch()
    host, options, settings = route(f"{config}\nHostName 10.0.0.5\nPort 2222\n", tmp_path)
    wanted = added_to and Path(added_to.format(home=tmp_path))
    assert file_to_add_to(host, options, settings) == wanted
    assert files_to_read(host, options, settings) == [tmp_path / name for name in read]
    if wanted:
        add_line(wanted, make_line("build-01", KEY))
        found = read_files(files_to_read(host, options, settings))
        assert keys_known_as(found, "build-01") == [KEY]


def route(config: str, tmp: Path) -> tuple[Host, asyncssh.SSHClientConnectionOptions, Settings]:
    host, settings = parse_host("ssh://build-01"), Settings(ssh_config=tmp / "ssh_config")
    (tmp / "ssh_config").write_text(config.replace("{home}", str(tmp)))
    return host, find_route(host, settings, client_keys=None).options, settings


def test_the_setting_stands_for_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    host, options, _ = route("UserKnownHostsFile /etc/other\nGlobalKnownHostsFile /etc/hosts\n", tmp_path)
    own = Settings(ssh_known_hosts=Path("~/own"))
    assert file_to_add_to(host, options, own) == tmp_path / "own"
    assert files_to_read(host, options, own) == [tmp_path / "own"]


@pytest.mark.parametrize("path", ["~/%C", "~/%", "${NO_SUCH_VARIABLE}/x", "~no-such-user/x"])
def test_a_path_that_can_not_be_replaced_is_refused_by_name(path: str, tmp_path: Path) -> None:
    host, options, settings = route(f"UserKnownHostsFile {path}\n", tmp_path)
    for function in (file_to_add_to, files_to_read):
        with pytest.raises(ValueError, match=re.escape(path)):
            function(host, options, settings)


# Names, and lines that mean more than they seem


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "#x",
        "!x",
        "@revoked",
        "*",
        "a?",
        "a,b",
        "|1|a|b",
        "b\xe4u",
        "-x",
        "",
        "a\nb",
        "[a b]:22",
        "[a]:b",
    ],
)
def test_make_line_refuses_a_name_that_would_mean_something_else(name: str) -> None:
    with pytest.raises(ValueError, match="HostKeyAlias"):
        make_line(name, KEY)


@pytest.mark.parametrize("name", ["build-01", "_x.y", "::1", "[fe80::1%eth0]:2222", "fe80::1%eth0"])
def test_make_line_takes_what_a_host_can_be_called(name: str) -> None:
    assert key_status(known(make_line(name, KEY)), name, KEY) is KeyStatus.KNOWN


def test_what_is_revoked_for_the_host_is_revoked_at_each_of_its_ports() -> None:
    hosts = known(make_line("[build-01]:2222", KEY), "@revoked " + make_line("build-01", KEY))
    assert key_status(hosts, "[build-01]:2222", KEY) is KeyStatus.REVOKED
    assert key_status(hosts, "[build-02]:2222", KEY) is KeyStatus.NEW
    assert list(match(hosts, "[build-01]:2222")[2]) == [KEY]


def test_what_is_known_of_the_host_is_known_at_a_port_of_which_nothing_is() -> None:
    hosts = known(make_line("build-01", KEY))
    assert key_status(hosts, "[build-01]:2222", KEY) is KeyStatus.KNOWN
    hosts = known(make_line("build-01", KEY), make_line("[build-01]:2222", OTHER))
    assert key_status(hosts, "[build-01]:2222", KEY) is KeyStatus.CHANGED


@pytest.mark.parametrize(
    "line",
    [
        "@revoked * ssh-ed25519 AAAAbroken",
        "@Revoked x {key}",
        "@revoked",
        "@revoked *",
        "\t@revoked garbage",
        "@revoked * no-such-type AAAA",
    ],
)
def test_a_revoked_line_that_is_not_understood_is_an_error_with_its_place(line: str, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    key = make_line("x", KEY).partition(" ")[2]
    file.write_text("# one\n" + line.replace("{key}", key))
    with pytest.raises(ValueError, match=f"{file}:2: a revoked key"):
        read_files([file])


def test_a_comment_may_hold_any_byte(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_bytes(b"# Z\xfcrich\n" + make_line("build-01", KEY).encode())
    assert keys_known_as(read_files([file]), "build-01") == [KEY]


@pytest.mark.parametrize(
    "line",
    [
        "Build-01 {key}",
        "other,BUILD-*1 {key}",
        "\t[Build-01]:2222 {key}",
        "@revoked Build-01 {key}",
        "@revoked  [BUILD-*1]:2222,x {key}",
    ],
)
def test_case_tells_no_names_in_a_file_apart(line: str, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(line.replace("{key}", marked("", KEY).strip()) + "\n")
    known_hosts, name = read_files([file]), "[build-01]:2222" if "2222" in line else "build-01"
    assert key_status(known_hosts, "build-02", KEY) is KeyStatus.NEW
    if "@revoked" in line:
        assert key_status(known_hosts, name, KEY) is KeyStatus.REVOKED
    else:
        assert key_status(known_hosts, name, KEY) is KeyStatus.KNOWN
        assert key_status(known_hosts, name, OTHER) is KeyStatus.CHANGED


def test_only_letters_of_ascii_have_a_case_there(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(marked("\N{KELVIN SIGN}*", KEY))
    assert key_status(read_files([file]), "k01", KEY) is KeyStatus.NEW
