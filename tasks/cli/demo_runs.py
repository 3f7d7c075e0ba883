"""The Holystone of `holystone demo`: its services, for one host, and the reports of the runs there."""

import os
from pathlib import Path
from typing import Any

from celery import Celery
from celery.states import READY_STATES

from tasks.cli.local_redis import provide_redis
from tasks.cli.processes import ProcessTree
from tasks.cli.services import LOOPBACK, Services
from tasks.cli.throwaway import ThrowawayHost, free_port
from worker.memory import open_memory
from worker.policies import PRUNE_JOB, PRUNE_TASK
from worker.settings import Settings

UNTIL_S = 1
INTERVAL_S = 120  # the run by hand comes before the second scheduled one, on a slow machine too
_LIMIT_S = 90


class Runs:
    """Holystone at work on `host`: its services, in `tree` and `folder`, and the runs that they do."""

    def __init__(self, host: ThrowawayHost, tree: ProcessTree, folder: Path) -> None:
        self._host, self._tree, self._folder = host, tree, folder
        self._redis_url = f"redis://{LOOPBACK}:{free_port()}/0"
        self._flower_port = free_port()
        self.flower_url = f"http://{LOOPBACK}:{self._flower_port}"
        self._services = Services(tree, self._environment(), folder, _silent)

    def start_all_but_beat(self) -> None:
        """Raises NoRedis, ChildEnded, TimeoutError or OSError."""
        self._folder.mkdir()  # no .env or holystone.toml is read
        provide_redis(self._redis_url, self._tree, _silent, self._folder)
        self._services.start_worker_and_flower(self._flower_port)

    def start_beat(self) -> None:
        """It sends the first run at once, and Flower shows only what it sees happen: so it comes last."""
        self._services.start_beat()

    def _environment(self) -> dict[str, str]:
        """Nothing of the user's own: no settings, ssh agent or ssh files."""
        return {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ} | {
            "HOME": str(self._host.home),
            "HOLYSTONE_REDIS_URL": self._redis_url,
            "HOLYSTONE_HOSTS": self._host.url,
            "HOLYSTONE_PRUNE_INTERVAL_S": str(INTERVAL_S),
            "HOLYSTONE_PRUNE_UNTIL": f"{UNTIL_S}s",
            "HOLYSTONE_SSH_CONFIG": os.devnull,
            "HOLYSTONE_SSH_IDENTITY": str(self._host.identity),
            "HOLYSTONE_SSH_KNOWN_HOSTS": str(self._host.known_hosts),
        }

    def wait_for_scheduled_run(self) -> dict[str, Any]:
        """The report of the run that beat sends; raises what the run raised."""
        found: list[str] = []

        def started() -> bool:
            with open_memory(Settings(redis_url=self._redis_url), PRUNE_JOB) as memory:
                if task_id := memory.host(self._host.name).last_run_task_id:
                    found.append(task_id)
            return bool(found)

        self._tree.wait_for(started, _LIMIT_S, "beat's run has started")
        return self._wait_for_report(found[0])

    def prune_by_hand(self) -> dict[str, Any]:
        """The report of a run sent now; raises what the run raised."""
        app = Celery("demo", broker=self._redis_url, set_as_current=False)
        sent = app.signature(PRUNE_TASK, kwargs={"host": self._host.name}).apply_async()
        return self._wait_for_report(sent.id)

    def _wait_for_report(self, task_id: str) -> dict[str, Any]:
        backend = Celery("reader", backend=self._redis_url, set_as_current=False).backend
        meta: dict[str, Any] = {}

        def ready() -> bool:
            meta.update(backend.get_task_meta(task_id, cache=False))
            return meta["status"] in READY_STATES

        self._tree.wait_for(ready, _LIMIT_S, "the prune is done")
        if isinstance(meta["result"], Exception):
            raise meta["result"]
        report: dict[str, Any] = meta["result"]
        return report


def _silent(name: str, line: str) -> None:
    """The demo tells its own story; a child's last lines are told where it fails."""
