"""The stack of docker-compose.yml on a ComposeHost: its Flower, its Redis, its health, its processes."""

from __future__ import annotations

import base64
import http.client
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.compose_host import ComposeHost
from tests.support.processes import descendants, send_signal
from tests.support.waiting import wait_until

FLOWER = 5555
# What the README says of a service that hangs.
UNHEALTHY_WITHIN_S = {"redis": 60, "beat": 60, "worker": 90, "flower": 60}
PASSWORD = "admin:long-and-secret"
REDIS_PASSWORD = "p@ss/w:rd %\"x\\y' é#"


def flower(host: ComposeHost, path: str, user: str | None = PASSWORD) -> tuple[int, str]:
    token = base64.b64encode((user or "").encode()).decode()
    return host.get(FLOWER, path, {"Authorization": f"Basic {token}"} if user else {})


def flower_answers(host: ComposeHost) -> bool:
    try:
        return flower(host, "/healthcheck")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def flower_hears(host: ComposeHost) -> bool:
    """Whether Flower, which shows only what it heard itself, hears the worker already."""
    try:
        status, text = flower(host, "/workers?json=1")
    except (OSError, http.client.HTTPException):
        return False
    return status == 200 and bool(json.loads(text)["data"])


def redis_cli(host: ComposeHost, *argv: str) -> str:
    return host.exec("redis", "redis-cli", *argv, env={"REDISCLI_AUTH": REDIS_PASSWORD})


def wait_for_redis(host: ComposeHost) -> None:
    """Wait until Redis answers, whose container was just started."""

    def answers() -> bool:
        try:
            return redis_cli(host, "ping") == "PONG"
        except RuntimeError:
            return False

    wait_until(answers, 60, "Redis to answer", detail=lambda: host.compose("logs", "redis"))


def prune_by_hand(host: ComposeHost, until: str = "24h") -> str:
    """The id of a run that the worker is sent."""
    kwargs = json.dumps({"host": host.address, "until": until})
    return host.exec(
        "worker", "celery", "-A", "worker", "call", "tasks.prune_build_cache", "--kwargs", kwargs
    )


def stored_results(host: ComposeHost) -> dict[str, str]:
    """What Redis holds of finished runs, by key."""
    keys = redis_cli(host, "--raw", "keys", "celery-task-meta-*").split()
    texts = redis_cli(host, "--raw", "mget", *keys).splitlines() if keys else []
    return {
        key: text
        for key, text in zip(keys, texts, strict=True)
        if text and json.loads(text)["status"] in ("SUCCESS", "FAILURE")
    }


def wait_for_report(host: ComposeHost, task: str, timeout_s: float) -> dict[str, Any]:
    """The report of a run, from Redis."""
    text = wait_until(
        lambda: stored_results(host).get(f"celery-task-meta-{task}"),
        timeout_s,
        "the report",
        poll_s=1,
        detail=lambda: host.compose("logs", "--tail", "100"),
    )
    meta = json.loads(text or "")
    assert meta["status"] == "SUCCESS", meta
    report: dict[str, Any] = meta["result"]
    return report


def wait_for_health(host: ComposeHost, service: str, expected: str, timeout_s: float = 180) -> None:
    wait_until(
        lambda: host.inspect(service, "{{.State.Health.Status}}") == expected,
        timeout_s,
        f"{service} to be {expected}",
        poll_s=0.5,
        detail=lambda: host.inspect(service, "{{json .State}}"),
    )


def processes_of(host: ComposeHost, service: str) -> list[int]:
    """The pids, as seen from here, of a container: what its init started first."""
    command = "sh -euc" if service == "redis" else f"celery -A worker {service}"

    def found() -> list[int]:
        # Parents first: a child that was just forked has its parent's command line.
        inits = host.pids(f"docker-init -- {command}")
        return descendants(inits[0]) if inits else []

    return wait_until(found, 60, f"the processes of {service}")


@contextmanager
def hanging(host: ComposeHost, *services: str) -> Iterator[float]:
    """The main processes of `services` are stopped; gives when that was, by time.monotonic."""
    pids = [processes_of(host, service)[0] for service in services]
    try:
        for pid in pids:
            send_signal(pid, signal.SIGSTOP)
        yield time.monotonic()
    finally:
        for pid in pids:
            send_signal(pid, signal.SIGCONT)


def result_of(host: ComposeHost, task: str) -> dict[str, Any] | None:
    """The report of a finished task, None while it runs."""
    answer = json.loads(flower(host, f"/api/task/result/{task}")[1])
    assert answer["state"] != "FAILURE", answer
    return answer["result"] if answer["state"] == "SUCCESS" else None
