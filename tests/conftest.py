"""Fixtures and rules for every test: see tests/support for the services themselves."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_socket

from tests.support.parallel import arrange
from tests.support.redis_server import RedisServer
from tests.support.requirements import require_redis, require_sshd
from tests.support.sshd import SshServer

_TESTS = Path(__file__).parent
_KINDS = {
    "unit": "no network, no services",
    "integration": "a real Redis, a real ssh server",
    "end_to_end": "real Docker engines; needs root",
}


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As in a shell's background; what tests start would inherit it, and ignore their Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for kind, meaning in _KINDS.items():
        config.addinivalue_line("markers", f"{kind}: {meaning} (set by the folder)")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _TESTS in item.path.parents:
            kind = item.path.relative_to(_TESTS).parts[0]
            if kind in _KINDS:
                item.add_marker(kind)
    if "PYTEST_XDIST_WORKER" in os.environ:
        arrange(items)


def _is_personal(name: str) -> bool:
    return name.startswith(("HOLYSTONE_", "DOCKER_")) or name == "SSH_AUTH_SOCK"


@pytest.fixture(scope="session")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, _home: Path) -> None:
    """Neither the developer's settings nor their ~/.ssh reach a test, or what it starts."""
    for name in filter(_is_personal, list(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(_home))


@pytest.fixture(autouse=True)
def _no_network_in_unit_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.node.get_closest_marker("unit") is None:
        yield
        return
    # asyncio's event loop needs a pair of unix sockets.
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of this test's own, to stop, kill and wipe."""
    require_redis()
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture(scope="session")
def session_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for all tests; who uses it leaves it running, and minds only their own keys."""
    require_redis()
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """One sshd for all tests; who breaks it makes their own: `with SshServer(tmp_path) as server`."""
    require_sshd()
    with SshServer(tmp_path_factory.mktemp("sshd")) as server:
        yield server
