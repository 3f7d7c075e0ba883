"""(d) Beat with 10,000 hosts that are due: its start to the last message in the queue, and the growth."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import Row
from tests.support.celery_processes import Beat
from tests.support.client import environment
from tests.support.redis_server import RedisServer
from tests.support.requirements import require_redis
from tests.support.waiting import wait_until

TITLE = "d  beat enqueues"
FEW, MANY = 1_000, 10_000
LIMIT_S = 600


def measure(tmp: Path) -> Iterator[Row]:
    require_redis()
    first_few, few = enqueue(tmp / "few", FEW)
    first_many, many = enqueue(tmp / "many", MANY)
    yield Row(f"{TITLE} {FEW:,} due hosts", f"{few:.1f} s, the first after {first_few:.1f} s")
    yield Row(f"{TITLE} {MANY:,} due hosts", f"{many:.1f} s, the first after {first_many:.1f} s")
    growth = f"{many / few:.1f} x for {MANY / FEW:.0f} x the hosts"
    yield Row(f"{TITLE}: growth", growth, value=many / few)


def enqueue(tmp: Path, hosts: int) -> tuple[float, float]:
    """Seconds from beat's start to the first and the last message, with no worker to take them."""
    tmp.mkdir()
    with RedisServer(tmp / "redis") as redis:
        urls = " ".join(f"ssh://h{number}" for number in range(hosts))
        client = redis.client()
        start = time.perf_counter()
        with Beat(environment(redis.url, urls, prune_interval_s=86_400), tmp=tmp) as beat:
            wait_until(lambda: client.llen("celery"), LIMIT_S, "the first message", detail=beat.log)
            first = time.perf_counter() - start
            wait_until(lambda: client.llen("celery") >= hosts, LIMIT_S, "the last message", detail=beat.log)
            return first, time.perf_counter() - start
