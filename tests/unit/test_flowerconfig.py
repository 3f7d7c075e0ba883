"""Flower's configuration file, read as Flower reads it: without users it must not start, open to all."""

from __future__ import annotations

from pathlib import Path

import pytest
from tornado.options import OptionParser

from tests.support.paths import CHECKOUT

VARIABLE = "FLOWER_BASIC_AUTH_FILE"


def users() -> list[str] | None:
    options = OptionParser()
    options.define("basic_auth", type=str, default=None, multiple=True)
    options.parse_config_file(str(CHECKOUT / "worker/flowerconfig.py"))
    found: list[str] | None = options.basic_auth
    return found


def test_users_are_read_from_the_secret_s_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users").write_text("admin:hunter 2:,\nother:x\n")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "users"))
    assert users() == ["admin:hunter 2:,", "other:x"]


def test_without_the_variable_nothing_is_set() -> None:
    assert users() == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "can't be read (FileNotFoundError)"),
        (b"\xff", "can't be read (UnicodeDecodeError)"),
        (b"", "must hold user:password"),
        (b"\n", "must hold user:password"),
        (b"hunter2\n", "must hold user:password"),
        (b"admin:\n", "must hold user:password"),
        (b":hunter2\n", "must hold user:password"),
        (b"admin:hunter2\nx\n", "must hold user:password"),
    ],
)
def test_flower_does_not_start_without_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / "users").write_bytes(content)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "users"))
    with pytest.raises(SystemExit, match=VARIABLE) as refused:
        users()
    assert says in str(refused.value)
    assert "hunter2" not in str(refused.value)
