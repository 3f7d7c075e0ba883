"""The Celery app: `celery -A worker worker|beat|flower|call`."""

import gc
from typing import Any

from celery import Celery
from celery.signals import worker_before_create_process

from worker import broker

broker.install()

app = Celery("holystone")
app.config_from_object("celeryconfig")


@worker_before_create_process.connect  # type: ignore[untyped-decorator]
def share_memory(**_: Any) -> None:
    """What was imported before the fork stays shared, as the collector then leaves it alone."""
    gc.collect()
    gc.freeze()
