"""What holds runs back, with a real worker: `holystone pause`, and messages that come too late."""

from __future__ import annotations

import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.celery_processes import Flower
from tests.support.holystone_command import holystone
from tests.support.local_host import LocalHost
from tests.support.ports import free_port
from tests.support.waiting import wait_until

MEMORY = "holystone:prune_build_cache:host:local"
USER = "ops:of-flower"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LocalHost]:
    with LocalHost(tmp_path, dead=1) as host:
        yield host


@pytest.fixture
def flower(host: LocalHost, tmp_path: Path) -> Iterator[Flower]:
    """It hears the worker already."""
    with Flower(host.env | {"FLOWER_BASIC_AUTH": USER}, free_port(), tmp=tmp_path) as flower:
        flower.wait_ready(90)
        flower.wait_for_worker(USER)
        yield flower


def fetch(flower: Flower, path: str) -> str:
    word = base64.b64encode(USER.encode()).decode()
    request = urllib.request.Request(flower.url + path, headers={"Authorization": f"Basic {word}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as refused:  # a run of which it has not heard yet
        return str(refused.read().decode())


def row(host: LocalHost, tmp: Path, name: str = "local") -> dict[str, Any]:
    known = json.loads(holystone(host.env, "hosts", "--json", tmp=tmp).output())
    found: dict[str, Any] = next(row for row in known["hosts"] if row["host"] == name)
    return found


def test_a_paused_host_is_skipped_until_it_is_resumed(host: LocalHost, tmp_path: Path) -> None:
    said = holystone(host.env, "pause", "local", "--for", "2h", "--by", "ops", tmp=tmp_path).output()
    assert re.fullmatch(r"local: paused by ops until 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ\n", said)
    for trigger in ("manual", "schedule"):
        report = host.client.run("local", trigger=trigger)
        assert (report["outcome"], f"local: {report['reason']}\n") == ("skipped", said)
    assert host.client.run("local", task="tasks.watch_disk")["outcome"] == "skipped"
    assert host.docker.calls() == []
    assert host.redis.client().hget(MEMORY, "skips:paused") == "2"
    assert row(host, tmp_path)["paused"] == said.removeprefix("local: ").strip()
    assert row(host, tmp_path, host.dead[0])["paused"] is None
    table = holystone(host.env, "hosts", tmp=tmp_path).output()
    assert re.search(r"^local +paused", table, re.MULTILINE)
    assert said in table

    assert holystone(host.env, "resume", "local", tmp=tmp_path).output() == "local: resumed\n"
    assert holystone(host.env, "resume", "local", tmp=tmp_path).output() == "local: was not paused\n"
    assert host.client.run("local")["outcome"] == "done"


def test_flower_shows_who_paused_a_skipped_run_and_until_when(
    host: LocalHost, flower: Flower, tmp_path: Path
) -> None:
    said = holystone(host.env, "pause", "local", "--for", "2h", "--by", "ops", tmp=tmp_path).output()
    reason = said.removeprefix("local: ").strip()
    assert re.fullmatch(r"paused by ops until 20\S+Z", reason)
    for task in ("tasks.prune_build_cache", "tasks.watch_disk"):
        sent = host.client.send("local", task=task)
        sent.get()
        answer = json.loads(fetch(flower, f"/api/task/result/{sent.id}"))
        assert (answer["state"], answer["result"]["outcome"]) == ("SUCCESS", "skipped")
        assert answer["result"]["reason"] == reason

        def page(task_id: str = sent.id) -> str:
            return fetch(flower, f"/task/{task_id}")

        wait_until(lambda: "SUCCESS" in page(), 60, "Flower to hear the run's end", detail=page)
        assert reason in page()
        assert task in page()


def test_the_fleet_s_pause_outlasts_a_host_s_resume(host: LocalHost, tmp_path: Path) -> None:
    said = holystone(host.env, "pause", "--by", "ops", tmp=tmp_path).output()
    assert said == "all hosts: paused by ops until resumed\n"
    said = holystone(host.env, "resume", "local", tmp=tmp_path).output()
    assert said.startswith("local: still paused by ops until resumed; `holystone resume` without HOST")
    assert host.client.run("local")["reason"] == "paused by ops until resumed"
    assert holystone(host.env, "resume", tmp=tmp_path).output() == "all hosts: resumed\n"
    assert host.client.run("local")["outcome"] == "done"


def test_a_host_s_pause_outlasts_the_fleet_s_resume_which_says_so(host: LocalHost, tmp_path: Path) -> None:
    holystone(host.env, "pause", "local", "--by", "ops", tmp=tmp_path)
    holystone(host.env, "pause", "--for", "2h", "--by", "someone else", tmp=tmp_path)
    said = holystone(host.env, "resume", tmp=tmp_path).output()
    assert said.splitlines() == [
        "local: still paused by ops until resumed; `holystone resume local` ends that",
        "all other hosts: resumed",
    ]
    assert host.client.run("local")["reason"] == "paused by ops until resumed"
    assert row(host, tmp_path, host.dead[0])["paused"] is None
    assert holystone(host.env, "resume", "--all", tmp=tmp_path).output() == "all hosts: resumed\n"
    assert host.client.run("local")["outcome"] == "done"


def test_the_last_pause_of_a_host_wins_and_names_the_one_that_it_replaces(
    host: LocalHost, tmp_path: Path
) -> None:
    holystone(host.env, "pause", "local", "--by", "ops", tmp=tmp_path)
    said = holystone(host.env, "pause", "local", "--for", "2h", "--by", "me", tmp=tmp_path).output()
    assert re.fullmatch(r"local: paused by me until 20\S+Z\nlocal: was paused by ops until resumed\n", said)
    assert f"local: {host.client.run('local')['reason']}" == said.splitlines()[0]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["pause", "elsewhere"], "'elsewhere' is not a configured host; known: local"),
        (["resume", "*"], "'*' is not a configured host; known: local"),
        (["resume", "local", "--all"], "--all resumes every host: leave out HOST"),
        (["pause", "--for", "soon"], "--for: 'soon' is not a time such as 30m, 2h, 1d"),
    ],
)
def test_what_makes_no_sense_pauses_nothing(
    host: LocalHost, tmp_path: Path, args: list[str], told: str
) -> None:
    ended = holystone(host.env, *args, tmp=tmp_path, status=2)
    assert ended.log().startswith(told)
    assert len(ended.log().splitlines()) == 1
    assert not host.redis.client().exists("holystone:paused")


def test_a_message_that_no_worker_took_up_in_time_is_counted(host: LocalHost) -> None:
    sent = host.client.send("local", options={"expires": "2026-01-01T00:00:00+00:00"})
    wait_until(lambda: sent.state == "REVOKED", 60, "the message to expire", detail=host.worker.log)
    counted = host.redis.client()
    wait_until(lambda: counted.hget(MEMORY, "expired") == "1", 60, "it to be counted")
    assert host.docker.calls() == []
