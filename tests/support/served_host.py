"""A Docker host with a worker that serves it, over ssh, under three names: one for each of its users."""

from __future__ import annotations

import os
import re
import signal
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import docker_api
from tests.support.celery_processes import Worker
from tests.support.client import Client, Sent, environment
from tests.support.docker_host import DockerHost
from tests.support.ports import LOOPBACK
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

USERS = {"engine": "root", "by-ci": "ci.bot", "by-jenkins": "Jenkins"}
# 20.10 and 26.1, then 28.5.
_REQUEST = re.compile(r'"Calling ([A-Z]+) ([^ "]+)|"handling ([A-Z]+) request".* request-url="?([^ "]+)')


class ServedHost:
    """`host` with Redis and a worker that knows it by the names in USERS, unless `settings` has others."""

    def __init__(self, host: DockerHost, tmp: Path, *, concurrency: int = 2, **settings: Any) -> None:
        self.host, self._concurrency = host, concurrency
        self._changes = settings
        self.tmp = tmp
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.redis = stack.enter_context(RedisServer(self.tmp / "redis"))
            self.env = environment(self.redis.url, **(self._settings() | self._changes))
            slots = f"--concurrency={self._concurrency}"
            self.worker = stack.enter_context(Worker(self.env, slots, tmp=self.tmp))
            self._let_engine_log_requests()
            self.worker.wait_ready()
            self._stack = stack.pop_all()
        self.client = Client(self.redis.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _settings(self) -> dict[str, Any]:
        config = self.tmp / "ssh_config"
        config.write_text(f"Host {' '.join(USERS)}\n  HostName {LOOPBACK}\n  Port {self.host.port}\n")
        return {
            "hosts": " ".join(f"ssh://{user}@{name}" for name, user in USERS.items()),
            "ssh_config": config,
            "ssh_known_hosts": self.host.known_hosts,
            "ssh_identity": self.host.identity,
            "ssh_connect_timeout_s": 60,
        }

    def send(self, name: str = "engine", *, options: dict[str, Any] | None = None, **kwargs: Any) -> Sent:
        return self.client.send(name, options=options, **kwargs)

    def run(self, name: str = "engine", **kwargs: Any) -> dict[str, Any]:
        """The report of one run; raises what the task raised."""
        return self.send(name, **kwargs).get(150, self.worker.log)

    def remembered(self, name: str = "engine") -> dict[str, str]:
        fields: dict[str, str] = self.redis.client().hgetall(f"holystone:prune_build_cache:host:{name}")
        return fields

    def changes_asked_for(self, log: str) -> list[str]:
        """The requests in a part of the engine's log that may change something, without their version."""
        found = [(a or c, b or d) for a, b, c, d in _REQUEST.findall(log)]
        return [re.sub(r"^/v[0-9.]+", "", path) for method, path in found if method not in ("GET", "HEAD")]

    def _let_engine_log_requests(self) -> None:
        settings = self.host.root / "etc/docker/daemon.json"
        settings.parent.mkdir(exist_ok=True)
        settings.write_text('{"debug": true}\n')
        seen = len(self.host.engine_log())
        os.kill(_engine_pid(self.host), signal.SIGHUP)
        wait_until(
            lambda: "eloaded configuration" in self.host.engine_log()[seen:],
            60,
            "the engine to log requests",
            detail=self.host.engine_log,
        )


def _engine_pid(host: DockerHost) -> int:
    return host.pids("dockerd ")[0]


def inventory(host: DockerHost) -> dict[str, Any]:
    """Every image, container (and since when it runs), volume and network of the engine."""
    containers = docker_api.get(host.socket, "/containers/json?all=1")
    states = {
        each["Id"]: docker_api.get(host.socket, f"/containers/{each['Id']}/json")["State"]
        for each in containers
    }
    return {
        "images": sorted(each["Id"] for each in docker_api.get(host.socket, "/images/json?all=1")),
        "containers": {id: (state["Status"], state["StartedAt"]) for id, state in states.items()},
        "volumes": sorted(each["Name"] for each in docker_api.get(host.socket, "/volumes")["Volumes"] or []),
        "networks": sorted(each["Id"] for each in docker_api.get(host.socket, "/networks")),
    }


_BUILD = r"""
set -e
context=$(mktemp -d)
cp /bin/busybox "$context/busybox"
cd "$context"
printf 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "touch", "/x"]\n' > Dockerfile
docker build --quiet --network=none --tag kept .
docker tag kept also-kept
rm -rf "$context"
"""
_CONTAINERS = r"""
set -e
docker volume create kept
docker run --detach --network=none --name running --volume kept:/kept kept /bin/busybox sleep 3600
docker create --network=none --name created kept /bin/busybox true
docker run --network=none --name exited kept /bin/busybox true
"""


def build_image(host: DockerHost) -> None:
    """Leave an image with two names, and its records in the build cache."""
    host.run("sh", "-c", _BUILD)


def remove_image(host: DockerHost) -> None:
    host.docker("image", "rm", "kept", "also-kept")


def furnish(host: DockerHost) -> None:
    """Leave what no prune of the build cache may touch: an image with two names, containers, a volume."""
    build_image(host)
    host.run("sh", "-c", _CONTAINERS)


def clear(host: DockerHost) -> None:
    """Remove what `furnish` left."""
    host.docker("rm", "--force", "running", "created", "exited")
    host.docker("volume", "rm", "kept")
    remove_image(host)
