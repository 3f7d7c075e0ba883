"""What the processes load: the worker's slots share it, beat and Flower do without asyncssh."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.paths import CHECKOUT
from tests.support.processes import clean_environment

_PROGRAM = """
import gc, sys
frozen = gc.get_freeze_count()  # Python 3.12 sets objects of its own aside
from worker.celery import app, share_memory
app.loader.import_default_modules()
{act}
print([name for name in ("asyncssh", "pycparser") if name in sys.modules], gc.get_freeze_count() > frozen)
"""
_RECEIVERS = """
import gc
from celery import signals
from worker.celery import app
gc.collect()
for name in ("task_prerun", "task_failure", "task_revoked"):
    print(name, *(receiver().__name__ for _, receiver in getattr(signals, name).receivers if receiver()))
"""


def _loaded(folder: Path, act: str) -> str:
    """What a process of its own has loaded and set aside after `act`, with all jobs imported."""
    return _run(folder, _PROGRAM.format(act=act))


def _run(folder: Path, program: str) -> str:
    environment = clean_environment(folder, {"PYTHONPATH": str(CHECKOUT)})
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def test_beat_and_flower_do_not_load_asyncssh_with_the_jobs(tmp_path: Path) -> None:
    assert _loaded(tmp_path, "app.finalize()") == "[] False"


def test_what_a_slot_needs_is_loaded_and_set_aside_before_it_is_forked(tmp_path: Path) -> None:
    assert _loaded(tmp_path, "share_memory()") == "['asyncssh', 'pycparser'] True"


def test_a_run_that_fails_or_never_begins_is_logged_then_counted(tmp_path: Path) -> None:
    assert _run(tmp_path, _RECEIVERS).splitlines() == [
        "task_prerun bind_run listen_again",
        "task_failure log_killed remember_failure",
        "task_revoked log_revoked count_expired",
    ]
