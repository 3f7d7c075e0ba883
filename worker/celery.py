"""The Celery app: `celery -A worker worker|beat|flower|call`."""

import contextlib
import gc
from typing import Any

from billiard.util import get_pdeathsig
from celery import Celery, signals

from worker import broker, collector, limits, log_setup, run_log, run_signals

broker.install()
collector.register()
log_setup.hook_flower()

app = Celery("holystone")
app.config_from_object("celeryconfig")


def share_memory(**_: Any) -> None:
    """Loads before the fork what every slot uses, so that they share it: 16 slots take 60 MB less."""
    from worker.ssh_shell import warm_up  # not in beat and Flower: asyncssh is 9 MB

    warm_up()
    with contextlib.suppress(OSError):
        get_pdeathsig()  # a new slot sets it, through cffi, which then loads its C parser: 2 MB
    gc.collect()
    gc.freeze()  # the collector would write to every object, and so copy it


# All receivers of Celery's signals; those of one signal are called in this order. Celery refers to them
# weakly: only functions that a module keeps stay connected.
signals.setup_logging.connect(log_setup.set_up)
signals.worker_before_create_process.connect(share_memory)
signals.task_prerun.connect(run_log.bind_run)
signals.task_prerun.connect(limits.listen_again)
signals.task_postrun.connect(run_log.log_end)
signals.task_failure.connect(run_log.log_killed)
signals.task_failure.connect(run_signals.remember_failure)
signals.task_revoked.connect(run_log.log_revoked)
signals.task_revoked.connect(run_signals.count_expired)
