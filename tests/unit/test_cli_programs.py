from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.cli import programs
from tasks.cli.programs import CannotStart, beside, find_programs


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine whose engine is in usr/sbin and usr/bin, with another docker first on PATH. We are root."""
    for name in (
        "local/docker",
        "usr/sbin/dockerd",
        "usr/sbin/sshd",
        "usr/bin/docker",
        "usr/bin/containerd",
        "usr/bin/unshare",
        "usr/bin/mount",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "local"))
    monkeypatch.setattr(programs, "BINARIES", f"{tmp_path}/usr/sbin:{tmp_path}/usr/bin")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def test_the_cli_that_belongs_to_the_engine_is_taken(installed: Path) -> None:
    found = find_programs()
    assert found.dockerd == f"{installed}/usr/sbin/dockerd"
    assert found.docker == f"{installed}/usr/bin/docker"
    assert found.containerd == f"{installed}/usr/bin/containerd"


def test_what_is_missing_is_named_with_its_package(installed: Path) -> None:
    for name in ("dockerd", "sshd"):
        (installed / "usr/sbin" / name).unlink()
    with pytest.raises(CannotStart) as raised:
        find_programs()
    assert str(raised.value) == (
        "the demo needs dockerd, sshd; on Debian: apt-get install docker.io openssh-server"
    )


def test_another_user_than_root_is_told_so(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CannotStart, match="needs root"):
        find_programs()


def test_beside_names_each_folder_once() -> None:
    assert beside("/usr/sbin/dockerd") == "/usr/sbin:/usr/bin"
    assert beside("/usr/local/bin/dockerd") == "/usr/local/bin"
