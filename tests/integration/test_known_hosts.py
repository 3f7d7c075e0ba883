"""known_hosts files: what they say of a key, and adding one (asyncssh asks the resolver even for numbers)."""

from __future__ import annotations

import fcntl
import stat
import threading
from pathlib import Path

import asyncssh
import pytest

from tests.support.waiting import wait_until
from worker.hosts import parse_host
from worker.known_hosts import (
    Standing,
    add_line,
    file_to_add_to,
    files_to_read,
    keys_known_as,
    make_line,
    name_of,
    read_files,
    standing,
)
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
        ("ssh://build-01", "Host build-01\n  HostName 10.0.0.5\n  Port 2222\n", "[10.0.0.5]:2222"),
        ("ssh://build-01:2222", "Host *\n  HostKeyAlias Fleet\n", "fleet"),
    ],
)
def test_name_of_is_what_openssh_writes(url: str, config: str, name: str, tmp_path: Path) -> None:
    assert name_for(url, config, tmp_path) == name


def known(*lines: str) -> asyncssh.SSHKnownHosts:
    return asyncssh.SSHKnownHosts("".join(lines))


def test_standing_tells_new_known_other_and_revoked_apart() -> None:
    line = make_line("build-01", KEY)
    assert standing(known(), "build-01", KEY) is Standing.NEW
    assert standing(known(line), "build-01", KEY) is Standing.KNOWN
    assert standing(known(line), "build-01", OTHER) is Standing.OTHER_KNOWN
    assert standing(known(line), "build-01", RSA) is Standing.OTHER_KNOWN
    assert standing(known(line, make_line("@revoked *", KEY)), "build-01", KEY) is Standing.REVOKED
    assert standing(known(make_line("@revoked *", OTHER)), "build-01", KEY) is Standing.NEW
    assert standing(known(make_line("@cert-authority *", OTHER)), "build-01", KEY) is Standing.NEW


def test_standing_keeps_hosts_and_ports_apart() -> None:
    hosts = known(make_line("build-01", KEY), make_line("[build-02]:2222", KEY))
    assert standing(hosts, "[build-01]:2222", OTHER) is Standing.NEW
    assert standing(hosts, "build-02", OTHER) is Standing.NEW
    assert standing(hosts, "build-011", OTHER) is Standing.NEW


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
        wait_until(lambda: _is_waited_for(waiting), 10, "add_line to wait", detail=path.read_text)
        file.write("theirs, not at its end")
    thread.join()
    assert path.read_text() == "old\ntheirs, not at its end\nnew\n"


def _is_waited_for(inode: str) -> bool:
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


@pytest.mark.parametrize("path", ["/dev/null", "/dev/full", "/proc"])
def test_add_line_to_what_is_no_file_is_an_error(path: str) -> None:
    with pytest.raises(OSError):
        add_line(Path(path), "new\n")


def test_file_to_add_to_is_the_first_that_the_worker_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    own = Settings(ssh_known_hosts=Path("~/own"))
    assert file_to_add_to(["/etc/other"], own) == tmp_path / "own"
    assert file_to_add_to(None, Settings()) == tmp_path / ".ssh/known_hosts"
    assert file_to_add_to(["~/first", "~/second"], Settings()) == tmp_path / "first"
    assert file_to_add_to([], Settings()) is None


@pytest.mark.parametrize("config", ["", "UserKnownHostsFile ~/first ~/second\n"])
def test_what_is_added_is_read_from_then_on(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ssh_config").write_text(config)
    settings = Settings(ssh_config=tmp_path / "ssh_config")
    options = find_route(parse_host("ssh://build-01"), settings, client_keys=None).options
    file = file_to_add_to(options.config.get("UserKnownHostsFile"), settings)
    assert file is not None
    add_line(file, make_line("build-01", KEY))
    assert keys_known_as(read_files(files_to_read(options.known_hosts, settings)), "build-01") == [KEY]
