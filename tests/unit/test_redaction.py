"""A private key that was put where its file should be named is neither used, shown nor logged."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import asyncssh
import pytest

from worker.redaction import find_secrets, make_redactor
from worker.secret_files import holds_key
from worker.settings import Settings, load_settings

OPENSSH = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
PKCS8 = asyncssh.generate_private_key("ssh-ed25519").export_private_key("pkcs8-pem").decode()
KEYS = {
    "as its file has it": OPENSSH,
    "another format": PKCS8,
    "in one line": OPENSSH.replace("\n", " "),
    "with escaped ends of lines": OPENSSH.replace("\n", "\\n"),
    "of a file of Windows": OPENSSH.replace("\n", "\r\n"),
    "in base64": base64.b64encode(OPENSSH.encode()).decode(),
    "without its first and last line": "".join(OPENSSH.splitlines()[1:-1]),
    "its first line only": "-----BEGIN OPENSSH PRIVATE KEY-----",
}
USED_INSTEAD = (
    "HOLYSTONE_SSH_IDENTITY holds (not shown: it may be the key itself), but takes the path of a file "
    "with the key; used instead: OpenSSH's own keys"
)


@pytest.mark.parametrize("form", KEYS)
@pytest.mark.parametrize("source", ["environment", "dotenv", "toml"])
def test_a_key_in_its_file_s_place_is_set_aside_with_a_line_that_does_not_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, source: str
) -> None:
    if source == "environment":
        monkeypatch.setenv("HOLYSTONE_SSH_IDENTITY", KEYS[form])
    elif source == "dotenv":
        (tmp_path / ".env").write_text(f"HOLYSTONE_SSH_IDENTITY='{KEYS[form]}'\n", newline="")
    else:
        (tmp_path / "holystone.toml").write_text(f"[ssh]\nidentity = {json.dumps(KEYS[form])}\n")
    settings = load_settings(tmp_path)
    assert settings.warnings == (USED_INSTEAD,)
    assert settings.ssh_identity is None
    assert settings.prune_enabled
    assert "-----" not in repr(settings)


@pytest.mark.parametrize("around", ["", " ", "'", '"'])
def test_a_key_is_one_in_quotes_too(around: str) -> None:
    assert holds_key(f"{around}{KEYS['in base64']}{around}")


@pytest.mark.parametrize(
    "path",
    [
        "id_ed25519",
        "~/.ssh/id_ed25519",
        "/run/secrets/ssh key",
        "keys/" + "a" * 60 + ".pem",
        "/" + "a/" * 99,
        "ssh/fleets/production/europe/frankfurt/datacenter1/worker/identity",
    ],
)
def test_a_path_is_no_key(path: str) -> None:
    assert not holds_key(path)
    assert find_secrets(Settings(), {"HOLYSTONE_SSH_IDENTITY": path}) == set()


@pytest.mark.parametrize("form", [form for form in KEYS if "only" not in form])
@pytest.mark.parametrize("name", ["HOLYSTONE_SSH_IDENTITY", "holystone_ssh_identity"])
def test_a_key_in_its_file_s_place_is_hidden_whole_and_in_parts(form: str, name: str) -> None:
    key = KEYS[form]
    cut = make_redactor(find_secrets(Settings(), {name: key}))
    lines = [line for line in key.replace("\\n", "\n").split() if len(line) > 20]
    for text in (key, repr(key), json.dumps({"key": key}), *lines):
        cleaned = cut(f"No such file: {text}")
        assert "No such file: " in cleaned
        assert not any(line in cleaned for line in lines)
    assert cut("PRIVATE KEY OPENSSH") == "PRIVATE KEY OPENSSH"
