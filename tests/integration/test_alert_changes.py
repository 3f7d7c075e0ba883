"""What is claimed or told once, whoever asks and however often: early prunes and alerts, in a real Redis."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis as redis_py

from tests.support.redis_server import RedisServer
from worker.alerts import KEY, Alert, Alerts, note_disk, note_failure, note_working
from worker.disk_memory import Disks
from worker.policies import PRUNE_JOB, WATCH_JOB
from worker.settings import Settings, load_settings


@pytest.fixture
def client(redis: RedisServer) -> redis_py.Redis:
    return redis.client()  # type: ignore[no-any-return]


def ttl(client: redis_py.Redis, key: str) -> int:
    return cast(int, client.ttl(key))


def test_an_early_prune_is_claimed_by_one_task_however_often_it_asks(client: redis_py.Redis) -> None:
    disks = Disks(client)
    assert [disks.claim_early_prune("h", task, 60) for task in ("a", "a", "b")] == [True, True, False]
    assert [disks.begin_early_prune("h", task, 60) for task in ("b", "a", "a")] == [False, True, True]
    assert not disks.claim_early_prune("h", "a", 60)


ANY_ALERT = json.dumps(asdict(Alert("back", "other", "text", 1.0)))
ALERT = Alert("disk full", "h", "86 % in use", 1_750_000_000.0)


def test_a_change_is_told_once_and_by_one(client: redis_py.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    app = SimpleNamespace(send_task=lambda task, **_: sent.append(task))
    monkeypatch.setattr("worker.alerts.current_app", app)
    settings = Settings(notify_urls=("json://127.0.0.1:9/x",))
    with ThreadPoolExecutor(8) as pool:
        told = [pool.submit(note_disk, client, settings, True, ALERT) for _ in range(8)]
    assert sum(done.result() for done in told) == 1
    assert Alerts(client).waiting() == [ALERT]
    assert sent == ["tasks.send_alerts"]
    assert [note_disk(client, settings, False, ALERT) for _ in range(2)] == [True, False]
    assert len(Alerts(client).waiting()) == 2


def test_an_alert_is_queued_though_the_answer_was_lost(
    client: redis_py.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, do = Settings(notify_urls=("json://127.0.0.1:9/x",)), client.eval

    def do_and_fail(*values: Any) -> None:
        do(*values)
        raise redis_py.ConnectionError("lost")

    monkeypatch.setattr(client, "eval", do_and_fail)
    with pytest.raises(redis_py.ConnectionError):
        note_disk(client, settings, True, ALERT)
    assert Alerts(client).waiting() == [ALERT]


def test_without_a_service_a_change_is_known_and_nothing_is_queued(client: redis_py.Redis) -> None:
    assert [note_disk(client, Settings(), True, ALERT) for _ in range(2)] == [True, False]
    assert Alerts(client).waiting() == []


def test_a_job_that_is_switched_off_while_it_fails_does_not_mute_its_host(
    client: redis_py.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def texts() -> list[str]:
        return [alert.text for alert in Alerts(client).waiting()][1:]

    client.rpush(KEY, ANY_ALERT)  # so that no task is sent
    monkeypatch.setenv("HOLYSTONE_HOSTS", "local")
    monkeypatch.setenv("HOLYSTONE_NOTIFY_URLS", "json://127.0.0.1:9/x")
    for job in (PRUNE_JOB, WATCH_JOB):
        note_failure(client, load_settings(tmp_path), "local", job, 3, "text", 1.0)
    monkeypatch.setenv("HOLYSTONE_PRUNE_ENABLED", "false")
    settings = load_settings(tmp_path)
    for _ in range(2):
        note_working(client, settings, "local", WATCH_JOB, 2.0)
    expected = [f"{PRUNE_JOB} failed 3 times in a row. text", f"{WATCH_JOB} works again."]
    assert texts() == expected
    for failures in (3, 4):
        note_failure(client, settings, "local", WATCH_JOB, failures, "text", 3.0)
    assert texts() == [*expected, f"{WATCH_JOB} failed 3 times in a row. text"]


def test_what_is_known_of_a_failing_host_outlasts_the_longest_interval(client: redis_py.Redis) -> None:
    note_failure(client, Settings(), "h", PRUNE_JOB, 3, "text", 1.0)
    assert 366 * 86_400 < ttl(client, "holystone:failing:h") < 3 * 366 * 86_400


def test_alerts_that_no_worker_sends_are_not_kept_for_ever(client: redis_py.Redis) -> None:
    client.rpush(KEY, "{}")  # so that no task is sent
    note_disk(client, Settings(notify_urls=("json://127.0.0.1:9/x",)), True, ALERT)
    assert 0 < ttl(client, KEY) <= 7 * 86_400


def test_of_two_jobs_that_fail_on_a_host_the_first_and_the_last_are_told_of(client: redis_py.Redis) -> None:
    settings = Settings(notify_urls=("json://127.0.0.1:9/x",))
    client.rpush("holystone:alerts", "{}")  # so that no task is sent
    for job in (PRUNE_JOB, WATCH_JOB):
        note_failure(client, settings, "h", job, 3, "text", 1.0)
    for job in (PRUNE_JOB, WATCH_JOB):
        note_working(client, settings, "h", job, 2.0)
    assert [alert.text for alert in Alerts(client).waiting()] == [
        f"{PRUNE_JOB} failed 3 times in a row. text",
        f"{WATCH_JOB} works again.",
    ]
