"""Docker hosts for the end-to-end tests. Each is started when first asked for, and stays for the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.chroots import SUITES
from tests.support.docker_host import DockerHost
from tests.support.requirements import require_docker_host

GetHost = Callable[[str], DockerHost]


@pytest.fixture(scope="session")
def _docker_hosts() -> Iterator[GetHost]:
    hosts: dict[str, DockerHost] = {}
    with ExitStack() as stack:

        def get(suite: str) -> DockerHost:
            require_docker_host()
            if suite not in hosts:
                hosts[suite] = stack.enter_context(DockerHost(suite))
            return hosts[suite]

        yield get


@pytest.fixture(scope="session", params=SUITES)
def docker_host(request: pytest.FixtureRequest, _docker_hosts: GetHost) -> DockerHost:
    """Each of the three hosts in turn."""
    return _docker_hosts(request.param)


@pytest.fixture(scope="session")
def bookworm_host(_docker_hosts: GetHost) -> DockerHost:
    """Engine 20.10, whose CLI has no buildx."""
    return _docker_hosts("bookworm")


@pytest.fixture(scope="session")
def trixie_host(_docker_hosts: GetHost) -> DockerHost:
    """Engine 26.1 with buildx 0.13."""
    return _docker_hosts("trixie")


@pytest.fixture(scope="session")
def forky_host(_docker_hosts: GetHost) -> DockerHost:
    """Engine 28.5 with buildx 0.29."""
    return _docker_hosts("forky")
