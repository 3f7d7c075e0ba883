"""Celery as its users start it: `python -m celery -A worker ...` in processes of its own."""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tests.support.paths import CHECKOUT
from tests.support.ports import LOOPBACK
from tests.support.processes import Process, clean_environment, descendants
from tests.support.waiting import wait_until
from worker.liveness import VARIABLE


class CeleryProcess(Process):
    """One celery command. `tmp` takes its log, pid file and home, and is where it runs.

    The checkout is on the import path, not the working folder, so that a developer's own .env or
    holystone.toml is not read.
    """

    command: ClassVar[str]

    def __init__(self, env: Mapping[str, str], *args: str, tmp: Path) -> None:
        tag = f"{self.command}-{secrets.token_hex(3)}"
        self.tmp = tmp / tag
        home = self.tmp / "home"
        home.mkdir(parents=True)
        paths = os.pathsep.join(filter(None, [str(CHECKOUT), env.get("PYTHONPATH")]))
        super().__init__(
            [
                sys.executable,
                "-m",
                "celery",
                "-A",
                "worker",
                self.command,
                *self._own_options(tag, args),
                *args,
            ],
            env=clean_environment(home, {**env, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}),
            cwd=self.tmp,
            log=self.tmp / "log",
        )

    def _own_options(self, tag: str, args: tuple[str, ...]) -> list[str]:
        return [f"--pidfile={self.tmp / 'pid'}"]

    def wait_ready(self, deadline: float = 60) -> None:
        """Wait up to `deadline` seconds until it does its work."""
        raise NotImplementedError


class Worker(CeleryProcess):
    """A Celery worker; its node name is its own unless `args` give one."""

    command = "worker"

    def _own_options(self, tag: str, args: tuple[str, ...]) -> list[str]:
        options = super()._own_options(tag, args)
        named = any(arg.startswith(("-n", "--hostname")) for arg in args)
        leveled = any(arg.startswith(("-l", "--loglevel")) for arg in args)
        # "ready" is only logged at INFO.
        return (
            options + ([] if named else [f"--hostname={tag}@%h"]) + ([] if leveled else ["--loglevel=INFO"])
        )

    def wait_ready(self, deadline: float = 60) -> None:
        self.wait_for_log(" ready.", deadline)

    def pool_pids(self) -> list[int]:
        """The processes below the main one: those that run tasks."""
        return descendants(self.pid)


class Beat(CeleryProcess):
    """Celery beat; it touches `heartbeat` whenever it gets on."""

    command = "beat"

    def __init__(self, env: Mapping[str, str], *args: str, tmp: Path) -> None:
        self.heartbeat = Path(env.get(VARIABLE, tmp / f"heartbeat-{secrets.token_hex(3)}"))
        super().__init__({**env, VARIABLE: str(self.heartbeat)}, *args, tmp=tmp)

    def _own_options(self, tag: str, args: tuple[str, ...]) -> list[str]:
        leveled = any(arg.startswith(("-l", "--loglevel")) for arg in args)
        schedule = f"--schedule={self.tmp / 'schedule'}"
        return [*super()._own_options(tag, args), schedule, *([] if leveled else ["--loglevel=INFO"])]

    def wait_ready(self, deadline: float = 60) -> None:
        """Wait until it has found Redis, and begins to write its schedule there."""

        def has_begun() -> bool:
            assert self.running(), f"beat ended ({self.returncode()}):\n{self.log()}"
            return self.heartbeat.exists()

        wait_until(has_begun, deadline, "beat's first heartbeat", detail=self.log)


class Flower(CeleryProcess):
    """Flower on a loopback port."""

    command = "flower"

    def __init__(self, env: Mapping[str, str], port: int, *args: str, tmp: Path) -> None:
        self.port = port
        self.url = f"http://{LOOPBACK}:{port}"
        super().__init__(env, *args, tmp=tmp)

    def _own_options(self, tag: str, args: tuple[str, ...]) -> list[str]:
        return [f"--address={LOOPBACK}", f"--port={self.port}"]

    def wait_ready(self, deadline: float = 60) -> None:
        def is_healthy() -> bool:
            assert self.running(), f"Flower ended ({self.returncode()}):\n{self.log()}"
            return self._get("/healthcheck", "", 2)[0] == 200

        wait_until(is_healthy, deadline, f"Flower to answer on {self.url}", poll_s=0.05, detail=self.log)

    def wait_for_worker(self, user: str = "") -> None:
        """Wait until it hears a worker: it shows only what it heard itself. `user` is `name:password`."""

        def hears() -> bool:
            status, text = self._get("/workers?json=1", user, 20)
            return status == 200 and bool(json.loads(text)["data"])

        wait_until(hears, 90, "Flower to hear the worker", detail=self.log)

    def _get(self, path: str, user: str, timeout_s: float) -> tuple[int, bytes]:
        """Status and text of a page; 0 where it does not answer."""
        headers = {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"} if user else {}
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=timeout_s)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()
