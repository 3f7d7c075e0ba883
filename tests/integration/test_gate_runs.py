"""The main job through holystone-gate: a worker, its Redis, and a host whose key is confined."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.celery_processes import Worker
from tests.support.client import Client, environment
from tests.support.gate import MIN_AGE_S, GatedServer
from tests.support.redis_server import RedisServer
from tests.support.requirements import require_redis
from tests.support.stand_in_docker import StandInDocker
from worker.errors import GateDenied
from worker.gate import COMMAND_SET_VERSION
from worker.schedule import DUE_HEADER

INTERVAL_S = 600


@pytest.fixture
def docker(gated: GatedServer, tmp_path: Path) -> StandInDocker:
    """The host's docker; `df` and `timeout` are the system's."""
    docker = StandInDocker(tmp_path / "docker")
    gated.gate.stand_in("docker", docker.script)
    for name in ("df", "timeout"):
        (gated.gate.commands / name).unlink()
    return docker


@pytest.fixture(scope="module")
def _redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    require_redis()
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def _worker(
    _gated: GatedServer, _redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    server = _gated.server
    ssh = {"ssh_identity": server.identity, "ssh_known_hosts": server.known_hosts}
    env = environment(_redis.url, server.url, prune_interval_s=INTERVAL_S, **ssh)
    with Worker(env, "--concurrency=1", tmp=tmp_path_factory.mktemp("worker")) as worker:
        worker.wait_ready()
        yield worker


@pytest.fixture
def client(_redis: RedisServer, _worker: Worker) -> Client:
    """For a worker that remembers nothing."""
    memory = _redis.client()
    for key in memory.scan_iter("holystone:*"):
        memory.delete(key)
    return Client(_redis.url)


@pytest.mark.parametrize("every", [False, True], ids=["plain", "all"])
def test_a_prune_through_the_gate_ends_with_a_report(
    gated: GatedServer, docker: StandInDocker, client: Client, every: bool
) -> None:
    report = client.send(gated.server.name, all=every).get()
    assert (report["outcome"], report["reclaimed_bytes"], report["complete"]) == ("done", 49_210_000, True)
    assert report["disk"]["path"] == "/"
    assert docker.calls("builder prune") == 2 * [
        "builder prune --force --filter until=24h" + (" --all" if every else "")
    ]
    assert gated.logged() == []


def test_an_age_below_the_gate_s_minimum_fails_with_the_remedy_and_is_not_tried_again(
    gated: GatedServer, docker: StandInDocker, client: Client
) -> None:
    sent = client.send(gated.server.name, until="30m")
    with pytest.raises(GateDenied, match=r"its minimum is 3600 s: raise until") as failure:
        sent.get()
    command = "docker builder prune --force --filter until=30m"
    versions = (COMMAND_SET_VERSION, COMMAND_SET_VERSION)
    assert failure.value.args == (
        gated.server.name, command, "age below the minimum", MIN_AGE_S, *versions
    )  # fmt: skip
    assert docker.prunes_started == 0
    assert gated.logged() == [f"-t holystone-gate -p auth.warning denied: {command}"]
    # A prune that never began holds no later one back.
    options = {"headers": {DUE_HEADER: time.time() + INTERVAL_S}}
    assert client.send(gated.server.name, trigger="schedule", options=options).get()["outcome"] == "done"


def test_a_df_that_is_denied_is_no_unknown_disk(
    gated: GatedServer, docker: StandInDocker, client: Client
) -> None:
    docker.engine(DockerRootDir="/mnt/big disk/docker")
    with pytest.raises(GateDenied, match=r"not a path that it takes.* change the value"):
        client.send(gated.server.name).get()
    assert docker.prunes_started == 0
