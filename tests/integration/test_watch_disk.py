"""Disk pressure, against a real worker and Redis: told of once, pruned early, not too often."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_host import SIZE, LocalHost
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from worker.disk_memory import Disks

# Frees as a real one would: what was not used for 24h is nothing, for 6h enough.
_PRUNES_AT_6H = """
case "$*" in
*until=6h*)
    if [ -e "$folder/pruned" ]; then printf 'Total:\\t0B\\n'; exit; fi
    touch "$folder/pruned"
    cp "$folder/df-after" "$folder/df-output"
    printf 'Total:\\t5MB\\n' ;;
*) printf 'Total:\\t0B\\n' ;;
esac
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LocalHost]:
    with LocalHost(tmp_path, disk_prune_percent=90) as host:
        yield host


def watch(host: LocalHost) -> dict[str, Any]:
    return host.client.run("local", task="tasks.watch_disk")


def test_a_look_asks_df_alone_once_docker_s_root_is_known(host: LocalHost) -> None:
    host.docker.answers("du", "ID RECLAIMABLE SIZE\nabc true 5MB\nTotal:\t5MB\n")
    first, second = watch(host), watch(host)
    assert (first["outcome"], first["used_percent"], first["build_cache_bytes"]) == ("done", 50.0, 5_000_000)
    assert first["disk"] == {"path": "/", "size_bytes": SIZE, "free_bytes": SIZE // 2}
    assert second["disk"] == first["disk"]
    assert second["build_cache_bytes"] == 5_000_000  # an hour old at most
    assert len(host.docker.calls("info")) == len(host.docker.calls("builder du")) == 1
    assert len((host.docker.folder / "df-calls").read_text().splitlines()) == 2
    fields = host.redis.client().hgetall("holystone:disk:local")
    assert (fields["path"], fields["size_bytes"], fields["free_bytes"]) == ("/", str(SIZE), str(SIZE // 2))
    assert fields["build_cache_bytes"] == "5000000"


def test_the_size_of_the_build_cache_is_asked_for_again_once_it_was_pruned(host: LocalHost) -> None:
    host.docker.answers("du", "Total:\t50MB\n")
    assert watch(host)["build_cache_bytes"] == 50_000_000
    assert host.client.run("local")["reclaimed_bytes"] == 49_210_000
    host.docker.answers("du", "Total:\t790kB\n")
    assert watch(host)["build_cache_bytes"] == 790_000
    assert host.client.run("local")["reclaimed_bytes"] == 0
    watch(host)
    assert len(host.docker.calls("builder du")) == 2


def test_a_disk_that_fills_and_has_room_again_is_told_of_once_each(host: LocalHost) -> None:
    wobbling = ((84, None, 0), (86, True, 1), (88, None, 1), (84, None, 1), (85, None, 1), (82, False, 2))
    for percent, alert, messages_by_now in wobbling:
        host.disk(used_percent=percent)
        assert watch(host)["alert"] is alert
        wait_until(lambda: len(host.inbox.posts) == messages_by_now, 90, "the message")  # noqa: B023
    assert watch(host)["alert"] is None
    messages = [json.loads(post) for post in host.inbox.posts]
    assert [message["title"] for message in messages] == [
        "Holystone: local disk full",
        "Holystone: local disk has room",
    ]
    assert messages[0]["message"] == "local: 86.0 % in use; its alert threshold is 85 %."


def test_a_full_disk_is_pruned_by_shorter_ages_until_there_is_room_once_an_hour(host: LocalHost) -> None:
    (host.docker.folder / "df-after").write_text(host.df_output(80))
    host.docker.prunes(_PRUNES_AT_6H)
    host.disk(used_percent=95)
    sent = watch(host)["early_prune"]
    report = host.client.result(sent)
    assert (report["outcome"], report["trigger"], report["until"]) == ("done", "disk", "6h")
    assert [(step["until"], step["used_percent"]) for step in report["steps"]] == [
        ("24h", 95.0),
        ("6h", 80.0),
    ]
    assert host.docker.calls("builder prune") == [
        "builder prune --force --filter until=24h",
        "builder prune --force --filter until=6h",
        "builder prune --force --filter until=6h",
    ]
    host.disk(used_percent=99)
    assert watch(host)["early_prune"] is None
    assert (
        host.redis.client().hget("holystone:prune_build_cache:host:local", "total_reclaimed_bytes")
        == "5000000"
    )


def test_the_hour_of_a_host_is_one_early_prune_s(redis: RedisServer) -> None:
    disks = Disks(redis.client())
    assert disks.claim_early_prune("a", "first", 60)
    assert not disks.claim_early_prune("a", "second", 60)
    assert not disks.begin_early_prune("a", "second", 60)
    disks.give_back_early_prune("a", "second")
    assert disks.begin_early_prune("a", "first", 3600)
    assert disks.begin_early_prune("a", "first", 3600)  # delivered again
    disks.give_back_early_prune("a", "first")  # so what it began counts
    assert not disks.begin_early_prune("a", "second", 60)
    assert not disks.claim_early_prune("a", "second", 60)
    assert 3000 < redis.client().ttl("holystone:early_prune:a") <= 3600
    assert disks.claim_early_prune("b", "third", 60)


def test_an_early_prune_that_never_began_leaves_the_hour_to_another(redis: RedisServer) -> None:
    disks = Disks(redis.client())
    assert disks.claim_early_prune("a", "first", 60)
    disks.give_back_early_prune("a", "first")
    assert disks.claim_early_prune("a", "second", 60)
    assert disks.begin_early_prune("a", "second", 60)


def test_an_early_prune_that_was_skipped_leaves_the_host_s_hour_to_the_next(host: LocalHost) -> None:
    memory = host.redis.client()
    assert host.client.run("local")["outcome"] == "done"
    engine = memory.hget("holystone:prune_build_cache:host:local", "engine_id")
    lock = f"holystone:prune_build_cache:lock:{engine}"
    memory.set(lock, "another run/its delivery")
    host.disk(used_percent=95)
    for _ in range(2):
        report = host.client.result(watch(host)["early_prune"])
        assert (report["outcome"], report["reason"]) == ("skipped", "already running")
    memory.delete(lock)
    assert host.client.result(watch(host)["early_prune"])["outcome"] == "done"
    assert watch(host)["early_prune"] is None


def test_the_hour_counts_from_the_beginning_of_an_early_prune_whoever_sent_it(host: LocalHost) -> None:
    memory, key = host.redis.client(), "holystone:early_prune:local"
    host.disk(used_percent=95)
    first = host.client.run("local", trigger="disk")
    assert first["outcome"] == "done"
    assert 3000 < memory.ttl(key) <= 3600
    second = host.client.run("local", trigger="disk")
    assert (second["outcome"], second["steps"]) == ("skipped", [])
    assert second["reason"] == "another early prune is due, or began less than an hour ago"
    assert watch(host)["early_prune"] is None


def test_what_can_not_be_read_is_a_failure_and_prunes_nothing(host: LocalHost) -> None:
    (host.docker.folder / "df-output").write_text("garbage\n")
    with pytest.raises(Exception, match="does not say how full that file system is"):
        watch(host)
    assert host.docker.prunes_started == 0
    memory, failures = host.redis.client(), "consecutive_failures"
    wait_until(
        lambda: memory.hget("holystone:watch_disk:host:local", failures) == "1", 60, "it to be counted"
    )
