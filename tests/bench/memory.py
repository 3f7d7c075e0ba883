"""(c) Memory of a 16-slot worker, beat and Flower together, after every slot has pruned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import Row
from tests.bench.fleet import Fleet
from tests.bench.sender import open_sender
from tests.support.celery_processes import Beat, CeleryProcess, Flower, Worker
from tests.support.ports import free_port
from tests.support.processes import descendants
from tests.support.redis_server import RedisServer
from tests.support.requirements import require_redis, require_sshd
from tests.support.sshd import SshServer
from tests.support.waiting import wait_until

TITLE = "c  PSS of worker (16 slots), beat and Flower"
GOAL_MB = 250.0
SLOTS = 16
ROUNDS = 3


def measure(tmp: Path) -> Iterator[Row]:
    require_redis()
    require_sshd()
    with SshServer(tmp / "sshd", curve25519=True) as server, RedisServer(tmp / "redis") as redis:
        fleet = Fleet(server, SLOTS)
        env = fleet.environment(redis.url)
        with (
            Worker(env, f"--concurrency={SLOTS}", tmp=tmp) as worker,
            Flower(env, free_port(), tmp=tmp) as flower,
        ):
            worker.wait_ready()
            flower.wait_ready()
            # Beat's first messages are the first round.
            with Beat(env, tmp=tmp) as beat, open_sender(redis.url) as sender:
                beat.wait_ready()
                client = redis.client()
                finished = "holystone:prune_build_cache:finished:*"
                wait_until(lambda: len(client.keys(finished)) >= SLOTS, 60, "beat's runs", detail=worker.log)
                fleet.expect(SLOTS)
                for _ in range(ROUNDS - 1):
                    sender.prune(fleet.names)  # a second each, so all slots at once
                    fleet.expect(SLOTS)
                parts = [pss_mb(process) for process in (worker, beat, flower)]
    total = sum(parts)
    shown = f"{total:.0f} MB ({' + '.join(f'{part:.0f}' for part in parts)})"
    yield Row(TITLE, shown, value=total, goal=GOAL_MB, unit="MB")


def pss_mb(process: CeleryProcess) -> float:
    """Its memory and its children's, shared pages counted in parts; MB of 10^6 bytes."""
    pids = [process.pid, *descendants(process.pid)]
    return sum(_pss_kib(pid) for pid in pids) * 1024 / 1e6


def _pss_kib(pid: int) -> int:
    found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0
