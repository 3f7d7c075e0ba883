from __future__ import annotations

from pathlib import Path

import pytest

from tasks.cli.local_redis import (
    Address,
    config,
    find_server,
    own_address,
    state_folder,
)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://127.0.0.1:6379/0", Address("127.0.0.1", 6379)),
        ("redis://localhost", Address("127.0.0.1", 6379)),
        ("redis://:a%20b@127.0.0.1:7000/1", Address("127.0.0.1", 7000, "a b")),
        ("redis://[::1]:7000", Address("::1", 7000)),
    ],
)
def test_a_plain_loopback_url_is_an_address_of_our_own(url: str, address: Address) -> None:
    assert own_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "redis://10.0.0.1:6379/0",
        "redis://0.0.0.0:6379/0",
        "redis://someone:secret@127.0.0.1:6379/0",
        "rediss://127.0.0.1:6379/0",
    ],
)
def test_no_redis_is_started_for_any_other_url(url: str) -> None:
    assert own_address(url) is None


def test_config_keeps_every_write_and_listens_on_that_address_only() -> None:
    lines = config(Address("127.0.0.1", 7000)).splitlines()
    assert {"bind 127.0.0.1", "port 7000", "appendonly yes", "daemonize no"} <= set(lines)
    assert not any(line.startswith("requirepass") for line in lines)


def test_config_takes_any_password() -> None:
    assert r'requirepass "a \"b\\ c"' in config(Address("127.0.0.1", 7000, 'a "b\\ c')).splitlines()


def test_state_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "holystone"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "")
    assert state_folder() == tmp_path / ".local/state/holystone"


def test_redis_server_on_path_comes_first_then_valkey(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server().name == "valkey-server"
    installed = tmp_path / "redis-server"
    installed.touch(mode=0o755)
    assert find_server() == installed
