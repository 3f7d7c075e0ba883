"""The jobs through holystone-gate: a worker, its Redis, and a host whose key is confined."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.celery_processes import Worker
from tests.support.client import Client, environment
from tests.support.gate import MIN_AGE_S, GatedServer
from tests.support.processes import is_running
from tests.support.redis_server import RedisServer
from tests.support.requirements import require_redis
from tests.support.soft_limit import strike
from tests.support.stand_in_docker import StandInDocker
from tests.support.waiting import wait_until
from tests.unit.captured import CLASSIC, DATA
from worker.errors import CommandTimedOut, GateDenied
from worker.gate import COMMAND_SET_VERSION
from worker.schedule import DUE_HEADER

INTERVAL_S = 600
# Without buildx, whose prunes tell no event. The event is there when it is asked for again; meanwhile old
# records are left, and no prune runs.
_CLASSIC = """#!/bin/sh
folder={folder}
case "$1 $2" in
"events --since") if [ -e "$folder/asked" ]; then cat "$folder/event"; fi; touch "$folder/asked" ;;
"system df") cat {data}/system_df.json ;;
*) exec "$folder/docker" "$@" ;;
esac
echo "$*" >>"$folder/calls"
"""
_EVENT = '{"Type":"builder","Action":"prune","Actor":{"Attributes":{"reclaimed":"7000000"}},"timeNano":%d}\n'


@pytest.fixture
def docker(gated: GatedServer, tmp_path: Path) -> StandInDocker:
    """The host's docker; `df` and `timeout` are the system's, and no prune is seen to run."""
    docker = StandInDocker(tmp_path / "docker")
    gated.gate.stand_in("docker", docker.script)
    for name in ("df", "timeout"):
        (gated.gate.commands / name).unlink()
    gated.gate.stand_in("pgrep", f'#!/bin/sh\necho "pgrep $*" >>{docker.folder}/calls\nexit 1\n')
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
    env = environment(_redis.url, server.url, prune_interval_s=INTERVAL_S, disk_enabled=True, **ssh)
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


def run_by_schedule(gated: GatedServer, client: Client) -> dict[str, Any]:
    """The report of the next run, as beat sends it an interval later."""
    options = {"headers": {DUE_HEADER: time.time() + INTERVAL_S}}
    return client.send(gated.server.name, trigger="schedule", options=options).get()


@pytest.mark.parametrize("every", [False, True], ids=["plain", "all"])
def test_a_prune_through_the_gate_ends_with_a_report(
    gated: GatedServer, docker: StandInDocker, client: Client, every: bool
) -> None:
    gated.gate.install(gated.gate.render(allow_all=every))
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
    assert run_by_schedule(gated, client)["outcome"] == "done"


def test_a_prune_with_all_fails_with_the_remedy_where_the_gate_was_made_without_it(
    gated: GatedServer, docker: StandInDocker, client: Client
) -> None:
    with pytest.raises(GateDenied, match=r"HOLYSTONE_PRUNE_ALL.*`holystone gate --allow-all`"):
        client.send(gated.server.name, all=True).get()
    command = "docker builder prune --force --filter until=24h --all"
    assert docker.prunes_started == 0
    assert gated.logged() == [f"-t holystone-gate -p auth.warning denied: {command}"]


def test_a_look_at_the_disk_through_the_gate_reads_it_and_the_cache(
    gated: GatedServer, docker: StandInDocker, client: Client
) -> None:
    docker.answers("du", "Total:\t5MB\n")
    report = client.send(gated.server.name, task="tasks.watch_disk").get()
    assert (report["outcome"], report["disk"]["path"], report["build_cache_bytes"]) == (
        "done",
        "/",
        5_000_000,
    )
    assert docker.calls("builder") == ["builder inspect", "builder du"]
    assert gated.logged() == []


def test_a_prune_that_was_left_is_followed_through_the_gate(
    gated: GatedServer, docker: StandInDocker, client: Client
) -> None:
    gated.gate.stand_in("docker", _CLASSIC.format(folder=docker.folder, data=DATA / CLASSIC))
    docker.answers("builder", "Usage:  docker builder COMMAND\n")
    docker.answers("event", _EVENT % (4_000_000_000 * 10**9))
    docker.engine(SystemTime="2096-10-02T07:00:00Z")  # six minutes before the event
    docker.prunes_on_go()
    left = client.send(gated.server.name)
    pids = docker.folder / "prune-pids"
    wait_until(lambda: pids.exists() and pids.read_text().endswith("\n"), 60, "the prune")
    strike(client, left)
    with pytest.raises(CommandTimedOut):
        left.get()
    docker.go()
    (pid,) = map(int, pids.read_text().split())
    wait_until(lambda: not is_running(pid), 60, "the prune to end by itself")

    docker.engine(SystemTime="2096-10-02T08:00:00Z")
    report = run_by_schedule(gated, client)

    assert report["outcome"] == "done"
    followed = report["followed"]
    assert (followed["known_by"], followed["reclaimed_bytes"]) == ("event", 7_000_000)
    asked = [call for call in docker.calls() if call.startswith(("events", "system df", "pgrep"))]
    assert [call.split()[0] for call in asked] == ["events", "system", "pgrep", "events"]
    assert gated.logged() == []


def test_a_df_that_is_denied_is_no_unknown_disk(
    gated: GatedServer, docker: StandInDocker, client: Client
) -> None:
    docker.engine(DockerRootDir="/mnt/big disk/docker")
    with pytest.raises(GateDenied, match=r"not a path that it takes.* none with blanks"):
        client.send(gated.server.name).get()
    assert docker.prunes_started == 0
