"""The main job on three real engines: worker, ssh, `docker builder prune`, report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.end_to_end.test_hosts_are_real import ENGINES
from tests.support.build_cache import cache_bytes, cache_records, wait_until_unused_for
from tests.support.docker_host import DockerHost
from tests.support.processes import is_running
from tests.support.served_host import ServedHost, build_image, clear, furnish, inventory, remove_image
from tests.support.soft_limit import strike
from tests.support.waiting import wait_until
from worker.errors import CommandFailed, CommandTimedOut, UnsupportedEngine

TIMEOUT_S = 120  # the default
ROUNDING = 0.001  # sizes are printed with four digits
BUILDERS = {"bookworm": "classic", "trixie": "buildx 0.13.1", "forky": "buildx 0.29.1"}


@pytest.fixture(scope="module")
def served(docker_host: DockerHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    with ServedHost(docker_host, tmp_path_factory.mktemp(docker_host.suite)) as served:
        yield served


@pytest.fixture
def host(served: ServedHost) -> Iterator[DockerHost]:
    """The served host, its build cache empty."""
    served.host.docker("builder", "prune", "--force", "--all")
    yield served.host
    assert served.worker.running()


def records_of(host: DockerHost) -> dict[str, Any]:
    return {record["ID"]: record for record in cache_records(host)}


def bytes_on_disk(host: DockerHost) -> int:
    # It fails, with a total all the same, where something goes while it looks.
    return int(host.run("sh", "-c", "du -sk /var/lib/docker || :").split()[0]) * 1024


def test_a_prune_removes_what_the_engine_had_and_reports_it(served: ServedHost, host: DockerHost) -> None:
    host.fill_cache(megabytes=24)
    wait_until_unused_for(host, 1)
    size, count, on_disk = cache_bytes(host), len(cache_records(host)), bytes_on_disk(host)
    earlier = int(served.remembered().get("total_reclaimed_bytes", 0))

    report = served.run(until="1s")

    assert cache_records(host) == []
    assert report["reclaimed_bytes"] == pytest.approx(size, rel=ROUNDING)
    assert size > 24_000_000
    assert report["reclaimed"].endswith("MB")
    assert (report["caches_deleted"], report["complete"]) == (count, True)
    assert report["passes"] >= 2
    assert (report["host"], report["outcome"], report["reason"]) == ("engine", "done", None)
    assert (report["until"], report["all"], report["dry_run"]) == ("1s", False, False)
    wait_until(lambda: on_disk - bytes_on_disk(host) > 0.95 * size, 30, "the disk to have it back")
    disk = report["disk"]
    assert disk["path"] == "/var/lib/docker"
    assert disk["freed_bytes"] == disk["free_after_bytes"] - disk["free_before_bytes"]
    blocks = host.run("stat", "--file-system", "--format=%b %S", "/var/lib/docker").split()
    assert disk["size_bytes"] == int(blocks[0]) * int(blocks[1])
    memory = served.remembered()
    assert int(memory["total_reclaimed_bytes"]) == earlier + report["reclaimed_bytes"]
    assert int(memory["last_reclaimed_bytes"]) == report["reclaimed_bytes"]


def test_the_report_names_the_engine_and_its_builder(served: ServedHost, host: DockerHost) -> None:
    engine = served.run()["engine"]
    assert engine["id"] == host.docker("info", "--format", "{{.ID}}").strip()
    assert engine["server"].startswith(ENGINES[host.suite])
    assert engine["client"] == engine["server"]
    assert engine["builder"] == BUILDERS[host.suite]


@pytest.mark.parametrize("all", [False, True])
def test_a_dry_run_removes_nothing_and_says_what_a_prune_then_removes(
    served: ServedHost, host: DockerHost, all: bool
) -> None:
    build_image(host)  # its records are shared with the image
    try:
        host.fill_cache(megabytes=6)
        wait_until_unused_for(host, 1)
        records, before = records_of(host), served.remembered()

        dry = served.run(until="1s", all=all, dry_run=True)

        assert records_of(host) == records
        assert served.remembered() == before
        assert (dry["outcome"], dry["reclaimed_bytes"], dry["passes"]) == ("done", None, 0)
        real = served.run(until="1s", all=all)
        left = cache_records(host)
        assert dry["records"] == len(records) - len(left) == real["caches_deleted"]
        assert dry["would_reclaim_bytes"] == pytest.approx(real["reclaimed_bytes"], rel=ROUNDING)
        assert dry["would_reclaim_bytes"] > 6_000_000
        assert dry["oldest_use"] <= dry["newest_use"] <= real["started_at"]
    finally:
        remove_image(host)


def test_cache_that_was_used_within_the_age_stays(served: ServedHost, host: DockerHost) -> None:
    host.fill_cache(megabytes=1)
    records = records_of(host)
    report = served.run(until="24h")
    assert (report["outcome"], report["reclaimed"], report["reclaimed_bytes"]) == ("done", "0B", 0)
    assert (report["passes"], report["caches_deleted"], report["complete"]) == (1, 0, True)
    assert served.run(until="24h", dry_run=True)["would_reclaim_bytes"] == 0
    assert records_of(host) == records


def test_images_containers_volumes_and_networks_stay_as_they_are(
    served: ServedHost, host: DockerHost
) -> None:
    furnish(host)
    try:
        host.fill_cache(megabytes=1)
        wait_until_unused_for(host, 1)
        before, log = inventory(host), len(host.engine_log())
        assert len(before["containers"]) == 3

        assert served.run(until="1s", all=True)["reclaimed_bytes"] > 1_000_000

        assert inventory(host) == before
        asked = served.changes_asked_for(host.engine_log()[log:])
        allowed = "/build/prune" if host.suite == "bookworm" else "/grpc"
        assert {path.split("?")[0] for path in asked} == {allowed}
        if host.suite == "bookworm":
            assert all("all=1" in path and "until" in path and "1s" in path for path in asked)
    finally:
        clear(host)


def test_users_of_the_docker_group_prune_as_well(served: ServedHost, host: DockerHost) -> None:
    host.fill_cache(megabytes=1)
    wait_until_unused_for(host, 1)
    assert served.run("by-ci", until="1s")["reclaimed_bytes"] > 1_000_000
    assert served.run("by-jenkins", until="1s")["reclaimed_bytes"] == 0


HELD = "sh /usr/local/bin/docker builder prune"
_WAITS_FOR_GO = """
case "$1 $2" in "builder prune") while [ ! -e /run/go ]; do sleep 0.05; done ;; esac
"""


def test_a_prune_at_the_soft_limit_is_not_killed(served: ServedHost, host: DockerHost) -> None:
    host.fill_cache(megabytes=1)
    wait_until_unused_for(host, 1)
    before = len(cache_records(host))
    with host.docker_is(_WAITS_FOR_GO):
        # Not root: what root runs, sshd would not kill if it were told to.
        sent = served.send("by-ci", until="1s")
        waiting, *_ = wait_until(lambda: host.pids(HELD), 60, "the prune", detail=served.worker.log)
        strike(served.client, sent)
        with pytest.raises(CommandTimedOut) as failure:
            sent.get(60, served.worker.log)
        assert failure.value.args == ("by-ci", TIMEOUT_S, 0, None, True)
        assert is_running(waiting)
        (host.root / "run/go").touch()
        # By its pid: a process that becomes another program shows no command line for a moment.
        wait_until(lambda: not is_running(waiting), 60, "the prune to end by itself")
        (host.root / "run/go").unlink()
    left = len(cache_records(host))
    # buildx tells of each record as it goes, and ends there when nobody listens any more.
    assert left == 0 if host.suite == "bookworm" else left < before


# Other builders

_NOTES_CALLS = 'echo "$*" >>/run/calls'
_CREATE = (
    "docker buildx create --name other --driver docker-container"  # it is never booted: that needs an image
)
_OTHER_BUILDER = {
    "variable": [_CREATE],
    "alias": [_CREATE, "docker buildx install", "docker buildx use other"],
    "context": [
        _CREATE,
        "docker context create other --docker host=unix:///var/run/docker.sock",
        "docker context use other",
    ],
}
_AND_BACK = """
docker context use default
docker context rm other
docker buildx use default
docker buildx uninstall
docker buildx rm other
rm -f /run/calls
"""


@contextmanager
def noting_calls(host: DockerHost, way: str) -> Iterator[None]:
    """root's `docker builder` is another builder, in one of the ways there are, and its calls are noted."""
    bashrc = host.root / "root/.bashrc"
    text = bashrc.read_text()
    for command in _OTHER_BUILDER[way] if host.suite != "bookworm" else []:
        host.run(*command.split())
    if way == "variable":
        bashrc.write_text(f"export BUILDX_BUILDER=other\n{text}")
    try:
        with host.docker_is(_NOTES_CALLS):
            yield
    finally:
        bashrc.write_text(text)
        host.run("sh", "-c", f"exec 2>/dev/null; {_AND_BACK}")


def calls(host: DockerHost) -> list[str]:
    return (host.root / "run/calls").read_text().splitlines()


@pytest.mark.parametrize("docker_host", ["trixie", "forky"], indirect=True)
@pytest.mark.parametrize("way", _OTHER_BUILDER)
def test_a_builder_that_is_not_the_engines_own_is_refused(
    served: ServedHost, host: DockerHost, way: str
) -> None:
    host.fill_cache(megabytes=1)
    wait_until_unused_for(host, 1)
    records = records_of(host)
    with noting_calls(host, way):
        for dry_run in (False, True):
            with pytest.raises(UnsupportedEngine, match=r"builder 'other' \(driver docker-container\)"):
                served.run(until="1s", dry_run=dry_run)
        assert sorted(calls(host)) == sorted(
            2
            * [
                "builder inspect",
                "context inspect --format {{json .Endpoints.docker.Host}}",
                "info --format {{json .}}",
            ]
        )
        # It is what a prune would have reached.
        variable = ["env", "BUILDX_BUILDER=other"] if way == "variable" else []
        with pytest.raises(RuntimeError, match="buildx_buildkit_other0"):
            host.run(*variable, "docker", "builder", "prune", "--force", "--filter", "until=1s")
    assert records_of(host) == records
    assert served.run(until="1s")["caches_deleted"] == len(records)


@pytest.mark.parametrize("docker_host", ["bookworm"], indirect=True)
def test_the_classic_builder_minds_no_builder_of_buildx(served: ServedHost, host: DockerHost) -> None:
    host.fill_cache(megabytes=1)
    wait_until_unused_for(host, 1)
    with noting_calls(host, "variable"):
        assert served.run(until="1s")["reclaimed_bytes"] > 1_000_000
        assert "--version" in calls(host)  # its `docker info` does not name the CLI


def test_a_stopped_engine_is_a_failed_command_and_the_next_run_serves_it(
    served: ServedHost, host: DockerHost
) -> None:
    host.stop_engine()
    try:
        with pytest.raises(CommandFailed, match=r"Cannot connect to the Docker daemon|failed to connect"):
            served.run()
    finally:
        host.start_engine()
    assert served.remembered()["consecutive_failures"] == "1"
    assert served.run()["outcome"] == "done"
    assert served.remembered()["consecutive_failures"] == "0"


def test_a_paused_engine_is_timed_out_and_what_asked_it_is_gone(served: ServedHost, host: DockerHost) -> None:
    # The classic builder asks no engine before it says that it knows no `inspect`.
    waiting = ["docker info"] if host.suite == "bookworm" else ["docker info", "docker-buildx buildx inspect"]
    host.pause_engine()
    try:
        sent = served.send("by-ci")
        wait_until(lambda: all(map(host.processes, waiting)), 50, "docker to be waiting")
        strike(served.client, sent)
        with pytest.raises(CommandTimedOut) as failure:
            sent.get(30, served.worker.log)
        assert failure.value.args == ("by-ci", TIMEOUT_S, 0, None, False)
        # `docker info` would end by itself a minute after it began.
        wait_until(lambda: not any(map(host.processes, waiting)), 30, "docker to be gone")
    finally:
        host.resume_engine()
    assert served.run("by-ci")["outcome"] == "done"
