"""`holystone demo`: the main job, really, on a machine that has nothing yet: a throw-away Docker host."""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from celery import Celery
from celery.states import READY_STATES

from tasks import PRUNE_JOB, PRUNE_TASK
from tasks.cli.interrupts import Interrupts
from tasks.cli.local_redis import NoRedis, provide_redis
from tasks.cli.narration import Narration, Use
from tasks.cli.processes import ChildEnded, ProcessTree
from tasks.cli.programs import CannotStart, Programs, find_programs
from tasks.cli.throwaway import DISK_MB, ThrowawayHost, free_port
from tasks.cli.up import LOOPBACK, flower_answers, python_env, start_beat, start_flower, start_worker, told
from worker.errors import HolystoneError
from worker.memory import open_memory
from worker.settings import Settings
from worker.sizes import format_size

UNTIL_S = 1
INTERVAL_S = 60  # the run by hand comes before the second scheduled one
_LIMIT_S = 90
_MB = 1024 * 1024
_DOCKERFILE = "FROM scratch\nCOPY base /base\nCOPY packages /packages\nCOPY app /app\n"


@click.command()
@click.option("--keep", is_flag=True, help="Leave everything running until Ctrl-C, to look around.")
def demo(keep: bool) -> None:
    """Prune a real, throw-away Docker host over ssh; takes half a minute, and root.

    Starts a Docker engine and an sshd of its own, fills the engine's build cache, and lets beat and a worker
    prune it. At the end all of it is removed. Your own engine and ssh files are never touched.

    \b
    Its prune by hand, as plain Celery:
      celery -A worker call tasks.prune_build_cache --kwargs '{"host": "HOST"}'
    """
    narration, status = Narration(), 0
    try:
        programs = find_programs()
    except CannotStart as error:
        raise click.ClickException(str(error)) from error
    with Interrupts() as interrupts:
        folder = Path(tempfile.mkdtemp(prefix="holystone-demo-", dir="/var/tmp"))
        try:
            with ProcessTree(interrupts.again, folder) as tree:
                try:
                    Demo(programs, tree, folder, narration).run(keep)
                finally:
                    interrupts.done()
        except KeyboardInterrupt:
            status = 0 if keep else 130
        except ChildEnded as error:
            narration.failed(told(error))
            status = 1
        except (CannotStart, NoRedis, TimeoutError, HolystoneError, OSError) as error:
            narration.failed(str(error))
            status = 1
        finally:
            interrupts.done()
            shutil.rmtree(folder)
        narration.say(f"Removed again: the host, Redis, worker, beat, Flower and {folder}", "dim")
    sys.exit(status)


class Demo:
    """One demonstration: its steps, in order."""

    def __init__(self, programs: Programs, tree: ProcessTree, folder: Path, narration: Narration) -> None:
        self._tree, self._folder, self._narration = tree, folder, narration
        self._host = ThrowawayHost(programs, tree, folder)
        self._redis_url = f"redis://{LOOPBACK}:{free_port()}/0"
        self._flower_port = free_port()
        self._builds = 0
        self._built_ts = 0.0

    def run(self, keep: bool) -> None:
        narration = self._narration
        narration.title("Holystone prunes the build cache of a Docker host, over ssh\n")
        with narration.step("A Docker host of its own: an engine and an sshd, gone again afterwards"):
            self._host.start()
            version = self._host.docker("version", "--format", "{{.Server.Version}}").strip()
            narration.say(f"engine {version}, a disk of {DISK_MB} MB in memory, {self._host.url}")
        with narration.step("Four builds of an image, the newest is kept; the cache of all four stays"):
            self._build(4)
            narration.command("docker system df")
            narration.use(before := self._use("before"))
        with narration.step("Redis, worker, beat and Flower, as `holystone up` starts them"):
            self._start_holystone()
            narration.say(f"Flower: http://{LOOPBACK}:{self._flower_port}")
        with narration.step("Beat finds the host due, and a worker prunes it"):
            scheduled = self._wait_for_beat()
            narration.say(f"on the host: docker builder prune --force --filter until={UNTIL_S}s")
            narration.result(scheduled)
            narration.report(scheduled)
            after = self._use("after beat's")
        with narration.step("Two more builds, and a prune by hand"):
            self._build(2)
            more = self._use("built again")
            narration.command(
                f'celery -A worker call {PRUNE_TASK} --kwargs \'{{"host": "{self._host.name}"}}\''
            )
            by_hand = self._prune_by_hand()
            narration.result(by_hand)
        with narration.step("Before and after"):
            narration.table([before, after, more, self._use("after by hand")])
        total = sum(report["reclaimed_bytes"] or 0 for report in (scheduled, by_hand))
        narration.title(f"\nReclaimed {format_size(total)}; images, containers and volumes are left alone.")
        if keep:
            self._stay()
        else:
            narration.say("`--keep` leaves all of this running, for a look at Flower.")

    def _build(self, times: int) -> None:
        """Builds the next versions of one image, and keeps the newest, as a CI host does."""
        context = self._folder / "context"
        if not self._builds:
            context.mkdir()
            (context / "Dockerfile").write_text(_DOCKERFILE)
            (context / "base").write_bytes(os.urandom(16 * _MB))
        for _ in range(times):
            self._builds += 1
            for part in ("packages", "app"):
                (context / part).write_bytes(os.urandom(16 * _MB))
            image = f"shop:{self._builds}"
            self._host.docker("build", "--quiet", "--network=none", "--tag", image, str(context))
            if self._builds > 1:
                self._host.docker("image", "rm", f"shop:{self._builds - 1}")
            self._tree.check()
        self._built_ts = time.monotonic()

    def _use(self, when: str) -> Use:
        rows = self._host.disk_use()
        images, cache = rows["Images"], rows["Build Cache"]
        return Use(
            when,
            f"{images['TotalCount']} ({images['Size']})",
            cache["Size"],
            cache["Reclaimable"],
            self._host.disk_percent(),
        )

    def _start_holystone(self) -> None:
        tree, folder = self._tree, self._folder / "holystone"
        folder.mkdir()  # no .env or holystone.toml is read
        env = python_env(self._environment())
        provide_redis(self._redis_url, tree, _silent, folder)
        worker = start_worker(tree, env, folder, _silent)
        start_flower(tree, env, folder, _silent, self._flower_port)
        tree.wait_for(worker.said_ready.is_set, _LIMIT_S, "the worker is ready")
        # Before beat: Flower shows what it sees happen.
        tree.wait_for(lambda: flower_answers(self._flower_port), _LIMIT_S, "Flower answers")
        self._let_cache_age()
        start_beat(tree, env, folder, _silent)

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

    def _let_cache_age(self) -> None:
        old_enough = self._built_ts + UNTIL_S + 1
        self._tree.wait_for(lambda: time.monotonic() > old_enough, _LIMIT_S, "the cache is old enough")

    def _wait_for_beat(self) -> dict[str, Any]:
        """The report of the run that beat sent."""
        found: list[str] = []

        def started() -> bool:
            with open_memory(Settings(redis_url=self._redis_url), PRUNE_JOB) as memory:
                if task_id := memory.host(self._host.name).last_run_task_id:
                    found.append(task_id)
            return bool(found)

        self._tree.wait_for(started, _LIMIT_S, "beat's run has started")
        return self._report(found[0])

    def _prune_by_hand(self) -> dict[str, Any]:
        self._let_cache_age()
        app = Celery("demo", broker=self._redis_url, set_as_current=False)
        return self._report(app.signature(PRUNE_TASK, kwargs={"host": self._host.name}).apply_async().id)

    def _report(self, task_id: str) -> dict[str, Any]:
        """What the run returned; raises what it raised."""
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

    def _stay(self) -> None:
        ssh = f"ssh -F none -i {self._host.identity} -o UserKnownHostsFile={self._host.known_hosts}"
        self._narration.say(
            f"Still running, and beat prunes every {INTERVAL_S} s; Ctrl-C ends it.\n"
            f"Flower   http://{LOOPBACK}:{self._flower_port}\n"
            f"the host {ssh} -p {self._host.port} root@{LOOPBACK} docker system df"
        )
        self._tree.wait_for(lambda: False, float("inf"), "")


def _silent(name: str, line: str) -> None:
    """The demo tells its own story; a child's last lines are told where it fails."""
