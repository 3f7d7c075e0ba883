"""Messages that matter, counted where they arrive: a real worker, a real HTTP receiver."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis as redis_py

from tasks.send_alerts import send_alerts
from tests.support.inbox import Inbox
from tests.support.local_host import LocalHost
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from worker.alerts import BACK, DISK_FULL, DISK_OK, FAILING, KEY, Alert, Alerts
from worker.errors import CommandFailed, HostUnreachable
from worker.settings import Settings

DEAD = 8
JOIN_S = 20  # in an outage, the next host may be late on a busy machine


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LocalHost]:
    with LocalHost(tmp_path) as host:
        yield host


def messages(host: LocalHost) -> list[dict[str, str]]:
    return [json.loads(post) for post in host.inbox.posts]


def wait_until_all_is_sent(host: LocalHost) -> None:
    client = host.redis.client()  # one for all polls: it keeps a connection
    waiting = ("holystone:alerts", "celery", "unacked")
    wait_until(lambda: not client.exists(*waiting), 60, "all to be sent", detail=host.worker.log)


def fail(host: LocalHost) -> None:
    with pytest.raises(CommandFailed):
        host.client.run("local")


def test_the_third_failure_in_a_row_is_told_of_and_the_host_s_return(host: LocalHost) -> None:
    host.docker.prunes("echo out of order >&2; exit 1\n")
    for _ in range(2):
        fail(host)
    assert not host.redis.client().exists("holystone:alerts")
    for _ in range(3):
        fail(host)
    wait_until(lambda: messages(host), 60, "a message", detail=host.worker.log)
    (message,) = messages(host)
    assert message["title"] == "Holystone: local failing"
    assert message["message"].startswith(
        "local: prune_build_cache failed 3 times in a row. CommandFailed: `docker builder prune"
    )

    host.docker.prunes("printf 'Total:\\t0B\\n'\n")
    for _ in range(2):
        assert host.client.run("local")["outcome"] == "done"
    wait_until(lambda: len(messages(host)) > 1, 60, "the other message", detail=host.worker.log)
    wait_until_all_is_sent(host)
    assert [message["title"] for message in messages(host)[1:]] == ["Holystone: local back"]


def test_an_outage_of_the_fleet_is_one_message(tmp_path: Path) -> None:
    with LocalHost(tmp_path, dead=DEAD, notify_join_s=JOIN_S) as host:
        for _ in range(4):
            sent = [host.client.send(name, options={"retries": 3}) for name in host.dead]
            for run in sent:
                with pytest.raises(HostUnreachable):
                    run.get()
        wait_until(lambda: messages(host), 90, "a message", detail=host.worker.log)
        wait_until_all_is_sent(host)
        (message,) = messages(host)
    assert message["title"] == f"Holystone: {DEAD} hosts failing"
    assert len(message["message"].splitlines()) == DEAD


def test_a_message_that_is_not_taken_fails_nothing(host: LocalHost) -> None:
    host.inbox.status = 500
    host.docker.prunes("exit 1\n")
    for _ in range(3):
        fail(host)
    wait_until(lambda: messages(host), 60, "a message", detail=host.worker.log)
    wait_until(lambda: "notification not delivered" in host.worker.log(), 60, "the log to say so")
    assert host.worker.running()


@pytest.fixture
def inboxes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Inbox, Inbox]]:
    monkeypatch.setattr("worker.notify.TIMEOUT_S", 60)  # a message is late on a busy machine
    with Inbox() as good, Inbox() as bad:
        bad.status = 500
        yield good, bad


def send(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, *urls: str, kinds: tuple[str, ...] = (FAILING,)
) -> object:
    """What the task returns in the end; in this process, where it is tried again at once."""
    settings = Settings(redis_url=redis.url, notify_urls=list(urls))
    monkeypatch.setattr("tasks.send_alerts.get_settings", lambda: settings)
    for kind in kinds:
        redis.client().rpush(KEY, json.dumps(asdict(Alert(kind, "a", "out of order", 0))))
    return send_alerts.apply().get()


@pytest.mark.parametrize("first", ["good", "bad"])
def test_only_a_service_that_refused_gets_the_message_again(
    redis: RedisServer, inboxes: tuple[Inbox, Inbox], monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    good, bad = inboxes
    urls = [good.url, bad.url] if first == "good" else [bad.url, good.url]
    assert send(redis, monkeypatch, *urls) == {"alerts": 1, "delivered": False}
    assert (len(good.posts), len(bad.posts)) == (1, 6)
    assert not redis.client().keys(f"{KEY}*")


def test_a_worker_without_a_url_leaves_alerts_to_one_that_has_some(
    redis: RedisServer, inboxes: tuple[Inbox, Inbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, _ = inboxes
    assert send(redis, monkeypatch) == {"alerts": 0, "delivered": False}
    assert send(redis, monkeypatch, good.url, kinds=()) == {"alerts": 1, "delivered": True}
    assert len(good.posts) == 1


def test_a_message_that_was_taken_is_not_sent_again_though_redis_went_away(
    redis: RedisServer, inboxes: tuple[Inbox, Inbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(self: Alerts, task_id: str) -> None:
        raise redis_py.ConnectionError("lost")

    good, _ = inboxes
    monkeypatch.setattr(Alerts, "done", lost)
    assert send(redis, monkeypatch, good.url) == {"alerts": 1, "delivered": True}
    assert len(good.posts) == 1


def test_what_was_taken_waits_for_a_worker_that_has_urls(
    redis: RedisServer, inboxes: tuple[Inbox, Inbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, _ = inboxes
    alert = json.dumps(asdict(Alert(FAILING, "a", "out of order", 0)))
    redis.client().rpush(f"{KEY}:retried", alert)
    settings = [Settings(redis_url=redis.url), Settings(redis_url=redis.url, notify_urls=[good.url])]
    monkeypatch.setattr("tasks.send_alerts.get_settings", lambda: settings.pop(0))
    assert send_alerts.apply(task_id="retried").get() == {"alerts": 1, "delivered": True}
    assert len(good.posts) == 1


def test_what_was_taken_is_queued_again_where_no_worker_with_urls_came(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis.client().rpush(f"{KEY}:retried", json.dumps(asdict(Alert(FAILING, "a", "out of order", 0))))
    monkeypatch.setattr("tasks.send_alerts.get_settings", lambda: Settings(redis_url=redis.url))
    assert send_alerts.apply(task_id="retried").get() == {"alerts": 0, "delivered": False}
    assert [alert.host for alert in Alerts(redis.client()).waiting()] == ["a"]
    assert not redis.client().exists(f"{KEY}:retried")


def test_a_message_that_expires_takes_no_alert_but_has_another_sent(
    redis: RedisServer, inboxes: tuple[Inbox, Inbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, _ = inboxes
    sent: list[dict[str, object]] = []
    monkeypatch.setattr(send_alerts, "apply_async", lambda **options: sent.append(options))
    redis.client().rpush(KEY, json.dumps(asdict(Alert(FAILING, "a", "out of order", 0))))
    settings = Settings(redis_url=redis.url, notify_urls=[good.url])
    monkeypatch.setattr("tasks.send_alerts.get_settings", lambda: settings)
    expires = datetime.now(UTC) + timedelta(minutes=5)
    send_alerts.push_request(id="beat", expires=expires.isoformat(), retries=0)
    try:
        assert send_alerts.run() == {"alerts": 0, "delivered": False, "waits_s": 0}
    finally:
        send_alerts.pop_request()
    assert (sent, good.posts) == ([{"countdown": 0}], [])
    assert [alert.host for alert in Alerts(redis.client()).waiting()] == ["a"]


def test_what_a_killed_worker_had_taken_is_sent_though_others_wait(
    redis: RedisServer, inboxes: tuple[Inbox, Inbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, _ = inboxes
    client = redis.client()
    client.rpush(f"{KEY}:killed", json.dumps(asdict(Alert(FAILING, "a", "out of order", 0))))
    client.rpush(KEY, json.dumps(asdict(Alert(FAILING, "b", "out of order", time.time()))))
    settings = Settings(redis_url=redis.url, notify_urls=[good.url])
    monkeypatch.setattr("tasks.send_alerts.get_settings", lambda: settings)
    assert send_alerts.apply(task_id="killed").get() == {"alerts": 1, "delivered": True}
    assert ["a failing" in post for post in good.posts] == [True]
    assert [alert.host for alert in Alerts(client).waiting()] == ["b"]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((BACK, FAILING, DISK_FULL), "failure"),
        ((DISK_OK, DISK_FULL, BACK), "warning"),
        ((BACK,), "success"),
        ((DISK_OK,), "success"),
    ],
)
def test_a_message_is_of_the_kind_of_its_worst_alert(
    redis: RedisServer,
    inboxes: tuple[Inbox, Inbox],
    monkeypatch: pytest.MonkeyPatch,
    kinds: tuple[str, ...],
    expected: str,
) -> None:
    good, _ = inboxes
    assert send(redis, monkeypatch, good.url, kinds=kinds) == {"alerts": len(kinds), "delivered": True}
    assert [json.loads(post)["type"] for post in good.posts] == [expected]
