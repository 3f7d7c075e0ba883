"""(b) 200 hosts, 64 at a time: sent to the last result, beside pssh and Ansible running the prune command."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.figures import Row, Timing, compared, interleaved, timed
from tests.bench.fleet import Fleet
from tests.bench.one_prune import COMMAND
from tests.bench.sender import open_sender
from tests.support.celery_processes import Worker
from tests.support.processes import clean_environment
from tests.support.redis_server import RedisServer
from tests.support.requirements import require_redis, require_sshd
from tests.support.sshd import SshServer

TITLE = "b  200 hosts, 64 at a time"
HOSTS, AT_A_TIME = 200, 64
GOALS = {"pssh": 1.1, "Ansible raw": 0.6}
ROUNDS = 3


def measure(tmp: Path) -> Iterator[Row]:
    require_redis()
    require_sshd()
    with SshServer(tmp / "sshd", curve25519=True) as server, RedisServer(tmp / "redis") as redis:
        fleet = Fleet(server, HOSTS)
        with (
            Worker(fleet.environment(redis.url), f"--concurrency={AT_A_TIME}", tmp=tmp) as worker,
            open_sender(redis.url) as sender,
        ):
            worker.wait_ready()
            sender.prune(fleet.names[:AT_A_TIME])
            fleet.expect(AT_A_TIME)
            others = {name: argv for name, argv in commands(fleet, tmp).items() if argv}

            def ours() -> float:
                seconds = timed(lambda: sender.prune(fleet.names))
                fleet.expect(HOSTS)
                return seconds

            def other(argv: Sequence[str]) -> float:
                seconds = timed(lambda: run(argv, fleet, tmp))
                fleet.expect(HOSTS)
                return seconds

            acts = [ours, *(lambda argv=argv: other(argv) for argv in others.values())]
            taken = dict(zip(["", *others], interleaved(acts, ROUNDS), strict=True))
    yield from rows(taken)


def rows(taken: dict[str, Timing]) -> Iterator[Row]:
    for name, goal in GOALS.items():
        yield compared(TITLE, taken[""], name, taken.get(name), goal)


def commands(fleet: Fleet, tmp: Path) -> dict[str, list[str]]:
    """The others' command lines; empty for what is not installed."""
    names = tmp / "hosts"
    names.write_text("".join(f"{name}\n" for name in fleet.names))
    command, at_a_time = " ".join(COMMAND), str(AT_A_TIME)
    pssh, ansible = shutil.which("parallel-ssh") or shutil.which("pssh"), shutil.which("ansible")
    return {
        "pssh": [pssh, "-p", at_a_time, "-t", "120", "-h", str(names), "-x", f"-F {fleet.config}", command]
        if pssh
        else [],
        "Ansible raw": [ansible, "all", "-i", str(names), "-f", at_a_time, "-m", "raw", "-a", command]
        if ansible
        else [],
    }


def run(argv: Sequence[str], fleet: Fleet, tmp: Path) -> None:
    home = tmp / "home"
    home.mkdir(exist_ok=True)
    # In place of Ansible's own -o ControlPersist=60s: it would leave 200 processes, and gains nothing here.
    env = clean_environment(home, {"ANSIBLE_SSH_ARGS": f"-F {fleet.config}", "LC_ALL": "C.UTF-8"})
    env["PATH"] = os.environ["PATH"]
    done = subprocess.run(
        argv, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False
    )
    assert done.returncode == 0, (
        f"{argv[0]} failed ({done.returncode}): {(done.stdout + done.stderr)[-2000:]}"
    )
