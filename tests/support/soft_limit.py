"""Celery's soft limit, at the moment a test wants it instead of after so many seconds."""

from __future__ import annotations

import os
import signal

from tests.support.client import Client, Sent


def strike(client: Client, sent: Sent) -> None:
    """Do to the process that runs `sent` what its worker does when the soft limit is reached."""
    os.kill(run_pid(client, sent), signal.SIGUSR1)


def run_pid(client: Client, sent: Sent) -> int:
    """The process that runs `sent`; AssertionError where none does."""
    started = client.meta(sent.id)
    assert started["status"] == "STARTED", started
    return int(started["result"]["pid"])
