"""A real Flower's /metrics: every host's numbers, from a real Redis, when asked for and in time."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from tests.support.celery_processes import Flower
from tests.support.paths import CHECKOUT
from tests.support.ports import LOOPBACK, free_port
from tests.support.processes import Process, clean_environment, send_signal
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.requirements import require_prometheus, require_promtool
from tests.support.waiting import wait_until
from worker.collector import PATIENCE_S, read_known
from worker.disk_memory import Disks
from worker.docker import FileSystem
from worker.fleet import HostSettings
from worker.hosts import parse_host
from worker.memory import Memory
from worker.metrics import METRICS
from worker.pause import Pause, Pauses
from worker.policies import PrunePolicy
from worker.settings import Settings

SECRET = "hunter2"
HOSTS = ("one", "two:2222", "[::1]:22022")
TASK, WATCH = "tasks.prune_build_cache", "tasks.watch_disk"
NOW = 1_780_000_000
UP = "\nholystone_redis_up 1"

Page = dict[str, dict[frozenset[tuple[str, str]], float]]  # values by metric and labels


@pytest.fixture
def memory(redis: RedisServer) -> Any:
    """A client that was there before the password."""
    client = redis.client()
    client.config_set("requirepass", SECRET)
    return client


@pytest.fixture
def flower(redis: RedisServer, memory: Any, tmp_path: Path) -> Iterator[Flower]:
    env = {
        "HOLYSTONE_REDIS_URL": redis.url.replace("//", f"//:{SECRET}@"),
        "HOLYSTONE_HOSTS": " ".join(f"ssh://ci@{host}" for host in HOSTS),
        "HOLYSTONE_NOTIFY_URLS": f"tgram://{SECRET}/chat",
        "FLOWER_BASIC_AUTH": f"me:{SECRET}",
    }
    with Flower(env, free_port(), tmp=tmp_path) as flower:
        flower.wait_ready(90)
        yield flower


def fetch(flower: Flower) -> str:
    """The page as anybody gets it: without a password."""
    with urllib.request.urlopen(f"{flower.url}/metrics", timeout=60) as answer:
        return str(answer.read().decode())


def fetch_numbers(flower: Flower) -> str:
    """The page, once it could read Redis: a busy machine's may not answer in time."""

    def numbers() -> str:
        page = fetch(flower)
        return page if UP in page else ""

    return wait_until(numbers, 60, "Redis to be read", detail=flower.log)


def parse(text: str) -> Page:
    page: Page = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = frozenset(sample.labels.items())
            assert labels not in page.get(sample.name, {}), f"{sample.name} {labels} is there twice"
            page.setdefault(sample.name, {})[labels] = sample.value
    return page


def remember_everything(client: Any) -> None:
    """What the jobs write: all of it for the first host, nothing for the others."""
    memory, disks = Memory(client, "prune_build_cache"), Disks(client)
    memory.record_success("one", 49_210_000, 1.5)
    memory.add_reclaimed("one", 10**15 + 1)
    memory.record_start("one", "id", NOW - 60.5)
    memory.record_engine("one", "engine-id")
    for _ in range(3):
        memory.record_failure("one", "HostUnreachable", f"HostUnreachable: {SECRET} on stderr")
    for _ in range(4):
        memory.count_skip("one", "ran recently")
    for _ in range(5):
        memory.count_expired("one")
    Memory(client, "watch_disk").record_success("one", None, 0.5)
    disks.record("one", FileSystem("/var/lib/docker", size_bytes=100, free_bytes=40), NOW)
    disks.record_build_cache("one", 7, NOW)
    Pauses(client).set(["one"], Pause("somebody", time.time() + 3600))
    Pauses(client).set(["two:2222"], Pause("somebody", time.time() - 1))  # has ended


def test_the_page_has_every_number_of_every_host(flower: Flower, memory: Any) -> None:
    remember_everything(memory)
    page = parse(fetch_numbers(flower))
    assert page["holystone_redis_up"] == {frozenset(): 1}
    values = {
        name: {tuple(dict(key)[label] for label in labels): value for key, value in page[name].items()}
        for name, (labels, _) in METRICS.items()
    }
    now = pytest.approx(time.time(), abs=120)
    zeros = {(task, host): 0 for task in (TASK, WATCH) for host in HOSTS}
    assert values == {
        "holystone_enabled": {(task, host): 1 for task in (TASK, WATCH) for host in HOSTS},
        "holystone_interval_seconds": {
            (task, host): interval_s for task, interval_s in ((TASK, 21_600), (WATCH, 300)) for host in HOSTS
        },
        "holystone_last_run_timestamp_seconds": {(TASK, "one"): NOW - 60.5},
        "holystone_last_success_timestamp_seconds": {(TASK, "one"): now, (WATCH, "one"): now},
        "holystone_last_duration_seconds": {(TASK, "one"): 1.5, (WATCH, "one"): 0.5},
        "holystone_last_reclaimed_bytes": {(TASK, "one"): 49_210_000},
        "holystone_reclaimed_bytes_total": {
            (TASK, host): 10**15 + 1 if host == "one" else 0 for host in HOSTS
        },
        "holystone_consecutive_failures": zeros | {(TASK, "one"): 3},
        "holystone_failures_total": {(TASK, "one", "HostUnreachable"): 3},
        "holystone_skips_total": {(TASK, "one", "ran recently"): 4},
        "holystone_expired_messages_total": zeros | {(TASK, "one"): 5},
        "holystone_paused": {(host,): host == "one" for host in HOSTS},
        "holystone_disk_size_bytes": {("one",): 100},
        "holystone_disk_free_bytes": {("one",): 40},
        "holystone_disk_reading_timestamp_seconds": {("one",): NOW},
        "holystone_disk_alert_ratio": {(host,): 0.85 for host in HOSTS},
        "holystone_build_cache_bytes": {("one",): 7},
    }


def test_the_page_has_all_that_alerts_and_dashboard_name(flower: Flower, memory: Any) -> None:
    remember_everything(memory)
    rules = yaml.safe_load((CHECKOUT / "docs/alerts.yml").read_text())["groups"][0]["rules"]
    panels = json.loads((CHECKOUT / "docs/grafana-dashboard.json").read_text())["panels"]
    asked = [rule["expr"] for rule in rules]
    asked += [target["expr"] for panel in panels for target in panel["targets"]]
    named = set(re.findall(r"\b(?:holystone|flower)_\w+", " ".join(asked)))
    assert len(named) > 10
    assert named <= set(parse(fetch_numbers(flower)))


def test_the_page_holds_no_secret_and_no_error_s_text(flower: Flower, memory: Any) -> None:
    remember_everything(memory)
    text = fetch_numbers(flower)
    for hidden in (SECRET, "://", "stderr", "somebody", "engine-id"):
        assert hidden not in text
    assert SECRET not in flower.log()


def test_names_and_units_are_prometheus_own(flower: Flower, memory: Any) -> None:
    require_promtool()
    remember_everything(memory)
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=fetch_numbers(flower),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr  # 3: it found what to say, of Flower's own metrics
    assert "holystone" not in done.stdout + done.stderr


PROMETHEUS = """
global: {{scrape_interval: 5s, scrape_timeout: 5s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs: [{{job_name: holystone, static_configs: [{{targets: ["{target}"]}}]}}]
"""


def test_a_real_prometheus_reads_the_page_and_alerts(flower: Flower, memory: Any, tmp_path: Path) -> None:
    require_prometheus()
    remember_everything(memory)
    Pauses(memory).clear()
    port, config = free_port(), tmp_path / "prometheus.yml"
    config.write_text(
        PROMETHEUS.format(rules=CHECKOUT / "docs/alerts.yml", target=flower.url.removeprefix("http://"))
    )
    argv = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'prometheus'}"]
    argv += [f"--web.listen-address={LOOPBACK}:{port}"]

    def firing() -> list[dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/api/v1/alerts", timeout=5) as answer:
                alerts = json.load(answer)["data"]["alerts"]
        except (OSError, http.client.HTTPException):
            return []  # it starts
        return [alert for alert in alerts if alert["state"] == "firing"]

    log = tmp_path / "prometheus.log"
    with Process(argv, env=clean_environment(tmp_path), log=log) as prometheus:
        (alert,) = wait_until(firing, 120, "an alert", detail=prometheus.log)
    assert alert["labels"]["alertname"] == "HolystoneHostFailing"
    assert alert["annotations"]["summary"] == f"{TASK} failed 3 times in a row on one"


def test_no_garbage_in_redis_breaks_the_page(flower: Flower, memory: Any) -> None:
    remember_everything(memory)
    garbage = {
        "last_success_ts": b"\xff\xfe",
        "failures:\n# HELP": "1",
        b"failures:\xff": "2",
        'skips:"} 1\nholystone_redis_up 0': "3",
        "skips:one": "1e308",
        "skips:1": "1e308",
        "skips:2": "1e308",
        "expired": "many",
    }
    memory.hset("holystone:prune_build_cache:host:one", mapping=garbage)
    memory.hset("holystone:paused", "one", "{")
    memory.set("holystone:disk:two:2222", "no hash")
    page = parse(fetch_numbers(flower))
    task = frozenset({("task", TASK), ("host", "one")})
    assert task not in page["holystone_last_success_timestamp_seconds"]
    failures = {dict(labels)["error"]: value for labels, value in page["holystone_failures_total"].items()}
    assert failures == {"HostUnreachable": 3, "other": 3}
    skips = {dict(labels)["reason"]: value for labels, value in page["holystone_skips_total"].items()}
    assert skips == {"ran recently": 4, "other": 3}
    assert task not in page["holystone_expired_messages_total"]
    assert page["holystone_disk_free_bytes"] == {frozenset({("host", "one")}): 40}


def test_pauses_that_can_t_be_read_cost_no_other_number(flower: Flower, memory: Any) -> None:
    remember_everything(memory)
    memory.delete("holystone:paused")
    memory.set("holystone:paused", "no hash")
    page = parse(fetch_numbers(flower))
    assert set(METRICS) <= set(page)
    assert set(page["holystone_paused"].values()) == {0}


def test_without_redis_the_page_still_answers_and_comes_back_with_it(
    flower: Flower, redis: RedisServer
) -> None:
    def names() -> set[str]:
        return {name for name in parse(fetch(flower)) if name.startswith("holystone_")}

    fetch_numbers(flower)
    assert len(names()) > 1
    redis.stop()
    page = parse(fetch(flower))
    assert page["holystone_redis_up"] == {frozenset(): 0}
    assert names() == {"holystone_redis_up"}
    assert "python_info" in page  # and the rest of the page with it
    redis.start()  # without the password: Flower's AUTH is refused, and Redis can't be read
    assert names() == {"holystone_redis_up"}
    redis.client().config_set("requirepass", SECRET)
    wait_until(lambda: len(names()) > 1, 60, "Redis to be read", detail=flower.log)
    assert SECRET not in flower.log()


def test_a_redis_that_hangs_costs_the_page_a_few_seconds(flower: Flower, redis: RedisServer) -> None:
    send_signal(redis.pid, signal.SIGSTOP)

    def seconds() -> float:
        begun = time.monotonic()
        assert parse(fetch(flower))["holystone_redis_up"] == {frozenset(): 0}
        return time.monotonic() - begun

    try:
        # The best of some: what a busy machine adds is not the page's.
        wait_until(lambda: seconds() < 2 * PATIENCE_S + 2, 60, "the page in time")
    finally:
        send_signal(redis.pid, signal.SIGCONT)
    fetch_numbers(flower)


class CountingProxy(Proxy):
    """Counts how often something came from upstream: at least once per round trip."""

    answers = 0

    def _allowed(self, link: Any, data: bytes) -> bytes:
        self.answers += 1
        return super()._allowed(link, data)


def test_all_hosts_are_read_in_a_few_round_trips(session_redis: RedisServer) -> None:
    policy = PrunePolicy(True, 3600, "24h", False, 120, 0)
    fleet = {f"h{number}": HostSettings(parse_host(f"ssh://h{number}"), policy) for number in range(500)}
    with CountingProxy(session_redis.port) as proxy:
        url = SecretStr(f"redis://{LOOPBACK}:{proxy.port}/0")
        known = read_known(Settings(redis_url=url).model_copy(update={"fleet": fleet}))
        assert len(known.disks) == 500
        assert 0 < proxy.answers < 50
