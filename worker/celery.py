"""The Celery app: `celery -A worker worker|beat|flower|call`."""

import contextlib
import gc
from typing import Any

from billiard.util import get_pdeathsig
from celery import Celery
from celery.signals import worker_before_create_process

from worker import broker, collector, log_setup, run_log

broker.install()
collector.register()
log_setup.install()
run_log.listen()

app = Celery("holystone")
app.config_from_object("celeryconfig")


@worker_before_create_process.connect  # type: ignore[untyped-decorator]
def share_memory(**_: Any) -> None:
    """Loads before the fork what every slot uses, so that they share it: 16 slots take 60 MB less."""
    from worker.ssh_shell import warm_up  # not in beat and Flower: asyncssh is 9 MB

    warm_up()
    with contextlib.suppress(OSError):
        get_pdeathsig()  # a new slot sets it, through cffi, which then loads its C parser: 2 MB
    gc.collect()
    gc.freeze()  # the collector would write to every object, and so copy it
