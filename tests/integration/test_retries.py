"""Retries of a scheduled run: it keeps its expiry, its limits and its due time, and is not "ran recently".

Meanwhile `holystone hosts` says so, though a run sent by hand succeeded since it was due.
"""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

from tests.support.celery_processes import Worker
from tests.support.client import Client, environment
from tests.support.holystone_command import holystone
from tests.support.redis_server import RedisServer
from tests.support.sshd import SshServer
from tests.support.stand_in_docker import StandInDocker
from tests.support.waiting import wait_until
from worker.memory import Memory
from worker.policies import PRUNE_JOB
from worker.schedule import DUE_HEADER


def test_a_scheduled_run_is_retried_until_its_host_is_back(
    redis: RedisServer, own_ssh_server: SshServer, tmp_path: Path
) -> None:
    own_ssh_server.stand_in("docker", StandInDocker(tmp_path / "docker").script)
    own_ssh_server.stop()
    settings = {"ssh_identity": own_ssh_server.identity, "ssh_known_hosts": own_ssh_server.known_hosts}
    env = environment(redis.url, own_ssh_server.url, prune_interval_s=600, **settings)
    due = time.time() - 5
    Memory(redis.client(), PRUNE_JOB).record_success(own_ssh_server.name, 1, 1.0)
    options = {"expires": 599, "soft_time_limit": 150, "time_limit": 180, "headers": {DUE_HEADER: due}}
    with Worker(env, "--concurrency=1", tmp=tmp_path) as worker:
        worker.wait_ready(90)
        client = Client(redis.url)
        sent = client.send(own_ssh_server.name, trigger="schedule", options=options)
        wait_until(lambda: sent.state == "RETRY", 60, "the first attempt to fail", detail=worker.log)
        worker.signal(signal.SIGSTOP)  # else its other attempts could be over before we looked
        (shown,) = json.loads(holystone(env, "hosts", "--json", tmp=tmp_path).output())["hosts"]
        assert (shown["last_run_state"], shown["running"]) == ("retrying", None)
        assert shown["last_success_ts"] > shown["last_run_ts"] == due
        own_ssh_server.start()
        worker.signal(signal.SIGCONT)
        report = sent.get(120, worker.log)
        assert report["outcome"] == "done"
        assert report["attempt"] > 1
        memory = redis.client().hgetall(f"holystone:prune_build_cache:host:{own_ssh_server.name}")
        assert float(memory["last_run_ts"]) == due
        assert (memory["last_error"], memory["consecutive_failures"]) == ("", "0")
        assert memory["last_run_state"] == ""
        # The next one, due too soon, is skipped for the time that this one was due.
        soon = client.send(
            own_ssh_server.name, trigger="schedule", options=options | {"headers": {DUE_HEADER: due + 599}}
        )
        assert soon.get()["reason"] == "ran recently"
        later = client.send(
            own_ssh_server.name, trigger="schedule", options=options | {"headers": {DUE_HEADER: due + 600}}
        )
        assert later.get()["outcome"] == "done"
