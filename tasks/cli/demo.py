"""`holystone demo`: the main job, really, on a machine that has nothing yet: a throw-away Docker host."""

import shutil
import sys
import tempfile
from pathlib import Path

import click
import redis

from tasks.cli.child import ChildEnded
from tasks.cli.demo_builds import Builds, read_use
from tasks.cli.demo_runs import INTERVAL_S, UNTIL_S, Runs
from tasks.cli.interrupts import Interrupts
from tasks.cli.local_redis import NoRedis
from tasks.cli.narration import Narration
from tasks.cli.processes import ProcessTree
from tasks.cli.programs import CannotStart, Programs, find_programs
from tasks.cli.services import LOOPBACK, told
from tasks.cli.terminal import fail
from tasks.cli.throwaway import DISK_MB, ThrowawayHost
from worker.errors import HolystoneError
from worker.policies import PRUNE_TASK
from worker.sizes import format_size


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
        fail(str(error))
    with Interrupts() as interrupts:
        folder = Path(tempfile.mkdtemp(prefix="holystone-demo-", dir="/var/tmp"))
        try:
            with ProcessTree(interrupts, folder) as tree:
                try:
                    Demo(programs, tree, folder, narration).run(keep)
                finally:
                    interrupts.begin_cleanup()
        except KeyboardInterrupt:
            status = 0 if keep else 130
        except ChildEnded as error:
            narration.failed(told(error))
            status = 1
        except (CannotStart, NoRedis, TimeoutError, HolystoneError, OSError, redis.RedisError) as error:
            narration.failed(str(error))
            status = 1
        finally:
            interrupts.begin_cleanup()
            shutil.rmtree(folder)
        narration.say(f"Removed again: the host, Redis, worker, beat, Flower and {folder}", "dim")
    sys.exit(status)


class Demo:
    """One demonstration: its steps, in order."""

    def __init__(self, programs: Programs, tree: ProcessTree, folder: Path, narration: Narration) -> None:
        self._tree, self._narration = tree, narration
        self._host = ThrowawayHost(programs, tree, folder)
        self._builds = Builds(self._host, tree, folder / "context")
        self._runs = Runs(self._host, tree, folder / "holystone")

    def run(self, keep: bool) -> None:
        narration, host, builds, runs = self._narration, self._host, self._builds, self._runs
        narration.title("Holystone prunes the build cache of a Docker host, over ssh\n")
        with narration.step("A Docker host of its own: an engine and an sshd, gone again afterwards"):
            host.start()
            version = host.docker("version", "--format", "{{.Server.Version}}").strip()
            narration.say(f"engine {version}, a disk of {DISK_MB} MB in memory, {host.url}")
        with narration.step("Four builds of an image, the newest is kept; the cache of all four stays"):
            builds.build(4)
            narration.command("docker system df")
            narration.use(before := read_use(host, "before"))
        with narration.step("Redis, worker, beat and Flower, as `holystone up` starts them"):
            runs.start_all_but_beat()
            builds.wait_until_unused_for(UNTIL_S)
            runs.start_beat()
            narration.say(f"Flower: {runs.flower_url}")
        with narration.step("Beat finds the host due, and a worker prunes it"):
            scheduled = runs.wait_for_scheduled_run()
            narration.say(f"on the host: docker builder prune --force --filter until={UNTIL_S}s")
            narration.result(scheduled)
            narration.report(scheduled)
            after = read_use(host, "after beat's")
        with narration.step("Two more builds, and a prune by hand"):
            builds.build(2)
            more = read_use(host, "built again")
            narration.command(f'celery -A worker call {PRUNE_TASK} --kwargs \'{{"host": "{host.name}"}}\'')
            builds.wait_until_unused_for(UNTIL_S)
            by_hand = runs.prune_by_hand()
            narration.result(by_hand)
        with narration.step("Before and after"):
            narration.table([before, after, more, read_use(host, "after by hand")])
        total = sum(report["reclaimed_bytes"] or 0 for report in (scheduled, by_hand))
        narration.title(f"\nReclaimed {format_size(total)}; images, containers and volumes are left alone.")
        if keep:
            self._stay()
        else:
            narration.say("`--keep` leaves all of this running, for a look at Flower.")

    def _stay(self) -> None:
        ssh = f"ssh -F none -i {self._host.identity} -o UserKnownHostsFile={self._host.known_hosts}"
        self._narration.say(
            f"Still running, and beat prunes every {INTERVAL_S} s; Ctrl-C ends it.\n"
            f"Flower   {self._runs.flower_url}\n"
            f"the host {ssh} -p {self._host.port} root@{LOOPBACK} docker system df"
        )
        self._tree.wait_for_end()
