"""Fixtures of the integration tests: a real ssh server and networks that misbehave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import Fleet
from tests.support.gate import GatedServer
from tests.support.network import BannerThenSilent, Blackhole, SilentServer
from tests.support.requirements import require_redis, require_sshd
from tests.support.sshd import SshServer


@pytest.fixture
def own_ssh_server(tmp_path: Path) -> Iterator[SshServer]:
    """An sshd of this test's own, to stop and to change the key of."""
    require_sshd()
    with SshServer(tmp_path / "sshd") as server:
        yield server


@pytest.fixture(scope="session")
def _gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatedServer]:
    require_sshd()
    with GatedServer(tmp_path_factory.mktemp("gated")) as gated:
        yield gated


@pytest.fixture
def gated(_gated: GatedServer) -> GatedServer:
    """An sshd with holystone-gate, where nothing was run yet."""
    _gated.begin()
    return _gated


@pytest.fixture(scope="module")
def _fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    require_redis()
    require_sshd()
    with Fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest.fixture
def fleet(_fleet: Fleet) -> Iterator[Fleet]:
    """Hosts behind a worker, as each test begins: nothing was pruned, nothing is remembered."""
    _fleet.begin()
    yield _fleet
    _fleet.end()


@pytest.fixture
def silent_server() -> Iterator[SilentServer]:
    with SilentServer() as server:
        yield server


@pytest.fixture
def banner_then_silent() -> Iterator[BannerThenSilent]:
    with BannerThenSilent() as server:
        yield server


@pytest.fixture
def blackhole() -> Iterator[Blackhole]:
    with Blackhole() as address:
        yield address
