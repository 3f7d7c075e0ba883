"""A worker for this machine alone, and hosts that are dead: stand-ins for docker and df, and an inbox."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.celery_processes import Worker
from tests.support.client import Client, environment
from tests.support.inbox import Inbox
from tests.support.ports import LOOPBACK, free_port
from tests.support.redis_server import RedisServer
from tests.support.scripts import put_script
from tests.support.stand_in_docker import StandInDocker

_DF = """#!/bin/sh
echo "$*" >> "{folder}/df-calls"
cat "{folder}/df-output"
"""
SIZE = 1000 * 1024


class LocalHost:
    """`docker` and `disk` answer as a test says; `dead` are names of hosts that refuse connections."""

    def __init__(self, tmp: Path, *, dead: int = 0, **settings: Any) -> None:
        self.tmp, self._settings = tmp, settings
        self.dead = [f"{LOOPBACK}:{free_port()}" for _ in range(dead)]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.redis = stack.enter_context(RedisServer(self.tmp / "redis"))
            self.inbox = stack.enter_context(Inbox())
            self.docker = StandInDocker(self.tmp / "docker")
            put_script(self.docker.folder / "df", _DF.format(folder=self.docker.folder))
            self.disk(used_percent=50)
            hosts = ["local", *(f"ssh://{name}" for name in self.dead)]
            usual = {"notify_urls": self.inbox.url, "notify_join_s": 4}
            usual |= {"disk_enabled": True}
            self.env = environment(
                self.redis.url, " ".join(hosts), self.docker.folder, **(usual | self._settings)
            )
            self.worker = stack.enter_context(Worker(self.env, "--concurrency=4", tmp=self.tmp))
            self.worker.wait_ready()
            self.client = Client(self.redis.url)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def disk(self, used_percent: int) -> None:
        """What df says from now on, of a disk of SIZE bytes."""
        self.docker.answers("df-output", self.df_output(used_percent))

    @staticmethod
    def df_output(used_percent: int) -> str:
        used = 10 * used_percent
        return (
            "Filesystem 1024-blocks Used Available Capacity Mounted on\n"
            f"/dev/vda 1000 {used} {1000 - used} {used_percent}% /\n"
        )
