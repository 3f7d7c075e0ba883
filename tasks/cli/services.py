"""Worker, beat and Flower as child processes, started alike by `holystone up` and `holystone demo`."""

import http.client
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.cli.child import Child, ChildEnded, Sink
from tasks.cli.processes import ProcessTree

LOOPBACK = "127.0.0.1"
_CHECKOUT = Path(__file__).resolve().parents[2]
_FLOWER_CONFIG = _CHECKOUT / "worker" / "flowerconfig.py"
_READY_S = 90


@dataclass(frozen=True)
class Services:
    """Starts worker, beat and Flower in `tree`. They read their settings from `env` and the folder `cwd`."""

    tree: ProcessTree
    env: Mapping[str, str]
    cwd: Path
    sink: Sink

    def start_worker_and_flower(self, flower_port: int) -> None:
        """Returns when both answer. Raises ChildEnded, TimeoutError or OSError."""
        worker = self._start(
            "worker", "--quiet", "-A", "worker", "worker", "--loglevel=INFO", ready=" ready."
        )
        # Loopback only, and so without a password.
        options = (f"--address={LOOPBACK}", f"--port={flower_port}", f"--conf={_FLOWER_CONFIG}")
        self._start("flower", "-A", "worker", "flower", *options, "--logging=warning")
        self.tree.wait_for(worker.said_ready.is_set, _READY_S, "the worker is ready")
        self.tree.wait_for(lambda: flower_answers(flower_port), _READY_S, "Flower answers")

    def start_beat(self) -> None:
        """It sends what is due at once, so it comes last. Raises OSError."""
        self._start("beat", "--quiet", "-A", "worker", "beat", "--loglevel=INFO")

    def _start(self, name: str, *args: str, ready: str = "") -> Child:
        argv = [sys.executable, "-m", "celery", *args]
        return self.tree.start(
            name, argv, env=python_env(self.env), cwd=self.cwd, sink=self.sink, ready=ready
        )


def python_env(base: Mapping[str, str]) -> dict[str, str]:
    """`base`, with the checkout importable from any folder, and output that is not held back."""
    paths = os.pathsep.join(filter(None, [str(_CHECKOUT), base.get("PYTHONPATH")]))
    return {**base, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}


def flower_answers(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", "/healthcheck")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def told(error: ChildEnded) -> str:
    """Which child ended, and its last words."""
    lines = "".join(f"\n  {line}" for line in error.child.last_lines)
    return f"Error: {error}; its last lines:{lines}" if lines else f"Error: {error} without a word"
