"""What `holystone check` says to do about an error."""

from __future__ import annotations

import ast

import pytest

from tasks.check_remedies import REMEDIES, remedy_of
from tasks.check_way import BEGINNINGS
from tests.support.paths import CHECKOUT
from worker.errors import (
    AuthenticationFailed,
    HolystoneError,
    HostKeyRejected,
    HostUnreachable,
    UnsupportedEngine,
)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (AuthenticationFailed("build-01: an ssh key or setting can't be used: no"), "on this machine"),
        (AuthenticationFailed("jump-01:22: an ssh setting can't be used: no"), "on this machine"),
        (AuthenticationFailed("build-01: more keys were offered than it accepts; x"), "IdentitiesOnly"),
        (AuthenticationFailed("build-01: none of the worker's keys was accepted"), "authorized_keys"),
        (HostKeyRejected("build-01: known_hosts can't be read, so no key is trusted: no"), "on this machine"),
        (HostKeyRejected("build-01: no common ssh algorithm (kex)"), "sshd_config"),
        (HostUnreachable("build-01: an ssh key or setting can't be used"), "sshd's log there"),
        (UnsupportedEngine("docker's endpoint is 'tcp://x'"), "DOCKER_HOST"),
    ],
)
def test_each_kind_of_error_has_a_remedy_of_its_own(error: HolystoneError, remedy: str) -> None:
    assert remedy in remedy_of(error)


def _texts() -> list[str]:
    """The texts that errors are raised with, as far as they stand in the code; a host's name stands first."""
    texts = []
    for module in ("ssh", "host_key", "host_key_check", "engine"):
        tree = ast.parse((CHECKOUT / f"worker/{module}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value.removeprefix(": "))
    return texts


@pytest.mark.parametrize("start", [*(start for _, start, _ in REMEDIES if start), *BEGINNINGS])
def test_each_remedy_is_for_a_text_that_is_still_said(start: str) -> None:
    assert any(text.startswith(start) for text in _texts())
