"""A plain Celery client, as any program beside Holystone would have: sends by name, reads results."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery
from celery.states import READY_STATES

from tests.support.waiting import wait_until

TASK = "tasks.prune_build_cache"  # by name, as a stranger would


class Client:
    """Sends `prune_build_cache` over the Redis at `url`, and reads results by polling.

    Two apps, because one with a result backend subscribes to each result, and a restart of Redis in a test
    would break that subscription instead of what is tested.
    """

    def __init__(self, url: str) -> None:
        self._sender = Celery("sender", broker=url, set_as_current=False)
        self._reader = Celery("reader", broker=url, backend=url, set_as_current=False)
        for app in (self._sender, self._reader):
            app.conf.update(task_serializer="json", accept_content=["json"], result_serializer="json")

    def send(
        self,
        host: str | None = "local",
        *,
        task: str = TASK,
        options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Sent:
        arguments = kwargs if host is None else {"host": host, **kwargs}
        return Sent(self, self._sender.send_task(task, kwargs=arguments, **(options or {})).id)

    def result(self, task_id: str, timeout_s: float = 60) -> dict[str, Any]:
        """The report of a run that somebody else sent."""
        return Sent(self, task_id).get(timeout_s)

    def run(self, host: str | None = "local", *, timeout_s: float = 60, **kwargs: Any) -> dict[str, Any]:
        """The report of one run; raises what the task raised."""
        return self.send(host, **kwargs).get(timeout_s)

    def meta(self, task_id: str) -> dict[str, Any]:
        meta: dict[str, Any] = self._reader.backend.get_task_meta(task_id)
        self._reader.backend._cache.clear()
        return meta


class Sent:
    """A run that was sent."""

    def __init__(self, client: Client, task_id: str) -> None:
        self._client, self.id = client, task_id

    @property
    def state(self) -> str:
        return str(self._client.meta(self.id)["status"])

    def ready(self) -> bool:
        return self.state in READY_STATES

    def get(self, timeout_s: float = 60, detail: Callable[[], str] = str) -> dict[str, Any]:
        """The report, once there; raises what the task raised."""
        wait_until(self.ready, timeout_s, f"the result of {self.id}", poll_s=0.1, detail=detail)
        result = self._client.meta(self.id)["result"]
        if isinstance(result, BaseException):
            raise result
        report: dict[str, Any] = result
        return report


def environment(
    url: str, hosts: str = "local", commands: Path | None = None, **settings: object
) -> dict[str, str]:
    """HOLYSTONE_ variables of a worker or beat that watches no disks; `commands` comes first on its PATH."""
    env = {"HOLYSTONE_REDIS_URL": url, "HOLYSTONE_HOSTS": hosts, "HOLYSTONE_DISK_ENABLED": "false"}
    env |= {f"HOLYSTONE_{name.upper()}": str(value) for name, value in settings.items()}
    if commands is not None:
        env["PATH"] = f"{commands}{os.pathsep}{os.environ['PATH']}"
    return env
