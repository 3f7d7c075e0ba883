"""The whole way: beat -> worker -> ssh -> a real engine -> Redis -> Flower, and a browser that looks."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.build_cache import cache_records, wait_until_unused_for
from tests.support.celery_processes import Beat, Flower
from tests.support.docker_host import DockerHost
from tests.support.ports import free_port
from tests.support.requirements import require_chromium
from tests.support.served_host import ServedHost
from tests.support.waiting import wait_until
from worker.errors import HostKeyRejected

INTERVAL_S = 3
RUNS = 4


@pytest.fixture
def served(trixie_host: DockerHost, tmp_path: Path) -> Iterator[ServedHost]:
    """Its only name is its address, as in HOLYSTONE_HOSTS; `localhost` is it too, but with an unknown key."""
    settings = {
        "hosts": f"{trixie_host.url} ssh://root@localhost:{trixie_host.port}",
        "prune_interval_s": INTERVAL_S,
        "prune_until": "1s",
    }
    # One run after another: one that takes longer than the interval has the next wait, not be skipped.
    with ServedHost(trixie_host, tmp_path, concurrency=1, **settings) as served:
        yield served


@pytest.fixture
def flower(served: ServedHost, tmp_path: Path) -> Iterator[Flower]:
    """It hears the worker already: it shows only what it heard itself."""
    with Flower(served.env, free_port(), tmp=tmp_path) as flower:
        flower.wait_ready()
        flower.wait_for_worker()
        yield flower


def results(served: ServedHost) -> dict[str, dict[str, Any]]:
    """What Redis holds of finished tasks, by task id."""
    client = served.redis.client()
    keys = list(client.scan_iter("celery-task-meta-*"))
    metas = [json.loads(text) for text in client.mget(keys) if text] if keys else []
    return {meta["task_id"]: meta for meta in metas if meta["status"] in ("SUCCESS", "FAILURE")}


def page(url: str, tmp: Path) -> str:
    """What a browser makes of `url`, its scripts run."""
    profile = tmp / "chromium"
    argv = [require_chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    argv += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    argv += ["--disable-sync", f"--user-data-dir={profile}", "--virtual-time-budget=5000", "--dump-dom", url]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def page_when(text: str, flower: Flower, task_id: str, tmp: Path) -> str:
    """The task's page, once Flower has heard of the task's end."""
    seen: list[str] = []

    def shows() -> bool:
        seen[:] = [page(f"{flower.url}/task/{task_id}", tmp)]
        return text in seen[0]

    wait_until(shows, 60, f"{text!r} on the task's page", detail=lambda: "".join(seen))
    return seen[0]


def test_beat_prunes_a_host_again_and_again_and_flower_shows_it(
    served: ServedHost, flower: Flower, tmp_path: Path
) -> None:
    name = served.host.name
    served.host.fill_cache(megabytes=6)
    wait_until_unused_for(served.host, 1)
    with Beat(served.env, tmp=tmp_path) as beat:
        beat.wait_ready()

        def runs() -> list[dict[str, Any]]:
            done = [meta for meta in results(served).values() if meta["kwargs"]["host"] == name]
            return sorted(done, key=lambda meta: str(meta["date_done"]))

        wait_until(lambda: len(runs()) >= RUNS, 150, f"{RUNS} runs", detail=served.worker.log)
        beat.terminate()
    reports = [meta["result"] for meta in runs()]
    assert {(each["outcome"], each["reason"], each["trigger"]) for each in reports} == {
        ("done", None, "schedule")
    }
    assert reports[0]["reclaimed_bytes"] > 6_000_000
    assert cache_records(served.host) == []

    shown = page_when("SUCCESS", flower, runs()[0]["task_id"], tmp_path)
    assert "tasks.prune_build_cache" in shown
    assert name in shown
    assert str(reports[0]["reclaimed_bytes"]) in shown


def test_flower_shows_a_failed_run_s_error_and_traceback(
    served: ServedHost, flower: Flower, tmp_path: Path
) -> None:
    name = f"localhost:{served.host.port}"
    sent = served.send(name)
    with pytest.raises(HostKeyRejected, match="not in known_hosts"):
        sent.get(60, served.worker.log)
    shown = page_when("FAILURE", flower, sent.id, tmp_path)
    assert name in shown
    # In a cell of its own, not only as the traceback's last line.
    assert re.search(rf">\s*HostKeyRejected: {re.escape(name)}: the host key is not in known_hosts", shown)
    assert "Traceback (most recent call last)" in shown
