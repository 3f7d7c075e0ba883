"""Whose turn it is: one run per engine, not too often, only hosts that are configured; and who is told."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.support.celery_processes import Worker
from tests.support.client import Client, environment
from tests.support.fleet import INTERVAL_S, Fleet
from tests.support.redis_server import RedisServer
from tests.support.stand_in_docker import StandInDocker
from worker.errors import CommandFailed, InvalidArgument, UnknownHost
from worker.schedule import DUE_HEADER

ENOUGH = r"""
if [ -e "$folder/pruned" ]; then printf 'Total:\t0B\n'; exit; fi
touch "$folder/pruned"
printf 'Total:\t60MB\n'
"""  # more than the 0.05 GB of the fleet's threshold


def test_two_names_of_one_engine_do_not_prune_it_at_once(fleet: Fleet) -> None:
    fleet.docker.prunes_on_go()
    first = fleet.client.send("one")
    fleet.wait_for_prune()
    for other in ("two", "local"):
        second = fleet.run(other)
        assert (second["outcome"], second["reason"]) == ("skipped", "already running")
    assert fleet.docker.prunes_started == 1
    fleet.docker.go()
    assert first.get()["outcome"] == "done"
    assert fleet.run("two")["outcome"] == "done"


def test_a_hanging_prune_does_not_delay_another_engine(fleet: Fleet) -> None:
    fleet.docker.prunes_on_go()
    hanging = fleet.client.send("one")
    fleet.wait_for_prune()
    other = StandInDocker(fleet.tmp / "other", engine_id="another-engine")
    fleet.command("docker", other.script)
    assert fleet.run("local")["engine"]["id"] == "another-engine"
    assert not hanging.ready()
    fleet.docker.go()
    assert hanging.get()["outcome"] == "done"


def test_a_scheduled_run_counts_from_when_the_last_one_was_due(fleet: Fleet) -> None:
    due = time.time()

    def scheduled_run(due_ts: float) -> tuple[str, str | None]:
        options = {"headers": {DUE_HEADER: due_ts}}
        report = fleet.client.send("one", options=options, trigger="schedule").get()
        return report["outcome"], report["reason"]

    assert scheduled_run(due) == ("done", None)
    assert scheduled_run(due + INTERVAL_S - 1) == ("skipped", "ran recently")
    assert scheduled_run(due + INTERVAL_S) == ("done", None)


def test_a_run_by_hand_is_never_skipped_for_time(fleet: Fleet) -> None:
    assert fleet.run("one", trigger="schedule")["outcome"] == "done"
    assert fleet.run("one")["outcome"] == "done"
    pruned = fleet.docker.prunes_started
    assert fleet.run("one", trigger="schedule")["reason"] == "ran recently"
    assert fleet.docker.prunes_started == pruned


def test_a_run_that_failed_does_not_run_at_once_again_and_a_success_clears_it(fleet: Fleet) -> None:
    fleet.docker.prunes("exit 3")
    for failures in (1, 2):
        with pytest.raises(CommandFailed):
            fleet.run("one")
        assert fleet.remembered("one")["consecutive_failures"] == str(failures)
    assert fleet.run("one", trigger="schedule")["reason"] == "ran recently"
    fleet.docker.prunes(ENOUGH)
    assert fleet.run("one")["outcome"] == "done"
    memory = fleet.remembered("one")
    assert (memory["last_error"], memory["consecutive_failures"]) == ("", "0")
    assert memory["last_reclaimed_bytes"] == memory["total_reclaimed_bytes"] == "60000000"


def test_a_dry_run_is_never_skipped_for_time_and_leaves_no_trace(fleet: Fleet) -> None:
    assert fleet.run("one")["outcome"] == "done"
    before = fleet.remembered("one")
    record = {"ID": "a", "CacheType": "regular", "Size": "7MB", "InUse": "false", "Shared": "false"}
    used = {"CreatedAt": "2020-01-01 00:00:00 +0000 UTC", "LastUsedAt": "2020-01-02 00:00:00 +0000 UTC"}
    (fleet.docker.folder / "df").write_text(json.dumps({"BuildCache": [record | used]}))
    listing = fleet.docker.script.replace("*) echo", '"system df") cat "$folder/df" ;;\n*) echo')
    fleet.command("docker", listing)
    pruned = fleet.docker.prunes_started
    for trigger in ("manual", "schedule"):
        report = fleet.run("one", dry_run=True, trigger=trigger)
        assert (report["outcome"], report["would_reclaim_bytes"]) == ("done", 7_000_000)
        assert report["reclaimed_bytes"] is None
    assert fleet.docker.prunes_started == pruned
    assert fleet.remembered("one") == before


def test_an_unknown_host_is_an_error_that_lists_the_known(fleet: Fleet) -> None:
    with pytest.raises(UnknownHost, match=r"'127\.0\.0\.1' is not a configured host; known: local, one, two"):
        fleet.run("127.0.0.1")
    assert fleet.docker.calls() == []


@pytest.mark.parametrize(
    "nonsense", [{"until": "0"}, {"until": "7 potatoes"}, {"all": "yes"}, {"dry_run": 1}, {"trigger": "x"}]
)
def test_arguments_that_make_no_sense_are_errors_and_nothing_is_sent(
    fleet: Fleet, nonsense: dict[str, object]
) -> None:
    with pytest.raises(InvalidArgument, match=f"^{next(iter(nonsense))}: "):
        fleet.run("one", **nonsense)
    assert fleet.docker.calls() == []


def test_several_hosts_and_no_name_is_an_error(fleet: Fleet) -> None:
    with pytest.raises(InvalidArgument, match="several are configured"):
        fleet.client.run(None)


# Who is told


def test_reaching_the_threshold_sends_one_message(fleet: Fleet) -> None:
    fleet.docker.prunes(ENOUGH)
    assert fleet.run("one")["reclaimed"] == "60MB"
    assert len(fleet.inbox.posts) == 1
    message = json.loads(fleet.inbox.posts[0])
    assert message["title"] == "Holystone: one"
    assert "60MB" in message["message"]


def test_below_the_threshold_nobody_is_told(fleet: Fleet) -> None:
    assert fleet.run("one")["reclaimed"] == "49.21MB"  # 0.0458 of 1024^3
    assert fleet.inbox.posts == []


def test_a_message_that_is_not_delivered_fails_no_run(fleet: Fleet) -> None:
    fleet.inbox.status = 500
    fleet.docker.prunes(ENOUGH)
    assert fleet.run("one")["outcome"] == "done"
    assert fleet.inbox.posts
    assert "notification not delivered" in fleet.worker.log()
    assert fleet.remembered("one")["last_error"] == ""


# What is configured


@pytest.fixture
def docker(tmp_path: Path) -> StandInDocker:
    return StandInDocker(tmp_path / "docker")


def one_run(
    redis: RedisServer, docker: StandInDocker, tmp: Path, host: str | None, **env: str
) -> dict[str, object]:
    variables = environment(redis.url, commands=docker.folder)
    with Worker(variables | env, "--concurrency=1", tmp=tmp) as worker:
        worker.wait_ready(90)
        return Client(redis.url).run(host)


def test_without_a_host_a_run_is_skipped(redis: RedisServer, docker: StandInDocker, tmp_path: Path) -> None:
    report = one_run(redis, docker, tmp_path, None, HOLYSTONE_HOSTS="")
    assert (report["outcome"], report["host"]) == ("skipped", None)
    assert report["reason"] == "no host configured: set HOLYSTONE_HOSTS"
    assert docker.calls() == []


def test_the_kill_switch_skips_runs_by_hand_too(
    redis: RedisServer, docker: StandInDocker, tmp_path: Path
) -> None:
    report = one_run(redis, docker, tmp_path, "local", HOLYSTONE_PRUNE_ENABLED="off")
    assert (report["outcome"], report["reason"]) == ("skipped", "pruning is off (HOLYSTONE_PRUNE_ENABLED)")
    assert docker.calls() == []


def test_a_bare_call_serves_the_one_host(redis: RedisServer, docker: StandInDocker, tmp_path: Path) -> None:
    report = one_run(redis, docker, tmp_path, None)
    assert (report["host"], report["outcome"]) == ("local", "done")
