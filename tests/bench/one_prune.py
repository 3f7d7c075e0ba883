"""(a) One prune from apply_async to its result, beside ssh running the one prune command."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.bench.figures import Row, compared, interleaved, timed
from tests.bench.sender import Sender, open_sender
from tests.support.celery_processes import Worker
from tests.support.chroots import SUITES
from tests.support.client import environment
from tests.support.docker_host import DockerHost
from tests.support.ports import LOOPBACK
from tests.support.redis_server import RedisServer
from tests.support.requirements import require_docker_host, require_redis

TITLE = "a  one prune"
GOAL = 1.0
ROUNDS = 15
COMMAND = ("docker", "builder", "prune", "-f", "--filter", "until=24h")
# As ssh_config names them; both ways lead to one host. Without the second, each client has its own choice.
DEFAULT, CURVE25519 = "default", "curve25519"


def measure(tmp: Path) -> Iterator[Row]:
    require_redis()
    require_docker_host()
    for suite in SUITES:
        with DockerHost(suite) as host, RedisServer(tmp / f"redis-{suite}") as redis:
            config = tmp / f"ssh_config-{suite}"
            config.write_text(ssh_config(host))
            hosts = f"ssh://{DEFAULT} ssh://{CURVE25519}"
            env = environment(redis.url, hosts, ssh_config=config)
            engine = host.docker("version", "--format", "{{.Server.Version}}").strip()
            with Worker(env, "--concurrency=1", tmp=tmp) as worker, open_sender(redis.url) as sender:
                worker.wait_ready()
                yield from rows(f"{TITLE}, {suite} (engine {engine})", sender, config)


def rows(title: str, sender: Sender, config: Path) -> Iterator[Row]:
    ways = (DEFAULT, CURVE25519)
    acts = [
        partial(timed, partial(act, way))
        for way in ways
        for act in (lambda way: sender.prune([way]), partial(prune_by_ssh, config))
    ]
    interleaved(acts, 2)  # the worker is up and warm; no connection is left
    taken = interleaved(acts, ROUNDS)
    for way, ours, ssh in zip(ways, taken[::2], taken[1::2], strict=True):
        key_exchange = "default key exchange" if way == DEFAULT else way
        yield compared(f"{title}, {key_exchange}", ours, "ssh", ssh, GOAL)


def prune_by_ssh(config: Path, way: str) -> None:
    subprocess.run(
        ["ssh", "-F", str(config), way, *COMMAND],
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def ssh_config(host: DockerHost) -> str:
    """For asyncssh and OpenSSH alike."""
    return f"""\
Host {CURVE25519}
  KexAlgorithms curve25519-sha256
Host *
  HostName {LOOPBACK}
  Port {host.port}
  User {host.user}
  IdentityFile {host.identity}
  IdentitiesOnly yes
  UserKnownHostsFile {host.known_hosts}
  BatchMode yes
"""
