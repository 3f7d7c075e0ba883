"""Disk pressure on real engines: what a look reads there, and an early prune that really frees."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.build_cache import cache_bytes, cache_records, wait_until_unused_for
from tests.support.docker_host import DockerHost
from tests.support.served_host import ServedHost

ROUNDING = 0.001


def test_a_filling_disk_is_read_and_pruned_by_shorter_ages(
    docker_host: DockerHost, tmp_path_factory: pytest.TempPathFactory
) -> None:
    docker_host.docker("builder", "prune", "--force", "--all")
    docker_host.fill_cache(megabytes=24)
    wait_until_unused_for(docker_host, 1)
    size = cache_bytes(docker_host)
    # Any disk is fuller than that, so every age of the ladder is tried.
    settings: dict[str, Any] = {"disk_enabled": True, "disk_prune_percent": 1, "disk_ladder": "1s,240h"}
    with ServedHost(docker_host, tmp_path_factory.mktemp("watched"), **settings) as served:
        look = served.run(task="tasks.watch_disk")
        blocks, block_size = docker_host.run(
            "stat", "--file-system", "--format=%b %S", "/var/lib/docker"
        ).split()
        assert look["disk"]["path"] == "/var/lib/docker"
        assert look["disk"]["size_bytes"] == int(blocks) * int(block_size)
        assert 1 < look["used_percent"] < 100
        if docker_host.suite == "bookworm":  # its CLI has no `builder du`
            assert look["build_cache_bytes"] is None
        else:
            assert look["build_cache_bytes"] == pytest.approx(size, rel=ROUNDING)

        report = served.client.result(look["early_prune"])
        assert [step["until"] for step in report["steps"]] == ["240h", "1s"]
        assert [step["reclaimed_bytes"] for step in report["steps"]] == [0, pytest.approx(size, rel=ROUNDING)]
        assert (report["trigger"], report["until"], report["complete"]) == ("disk", "1s", True)
        assert cache_records(docker_host) == []
        assert served.run(task="tasks.watch_disk")["early_prune"] is None
