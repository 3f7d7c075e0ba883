"""The `holystone` command as its users start it, in a process and a folder of its own."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.support.paths import CHECKOUT
from tests.support.processes import Process, clean_environment


class Holystone(Process):
    """The command in a process and a folder of its own; output is in `out`, errors in `log()`.

    Redis gets `redis_patience_s` to answer: on a busy machine it may need it. None: the command's own limit.
    """

    def __init__(
        self, env: dict[str, str], *args: str, tmp: Path, redis_patience_s: float | None = 60
    ) -> None:
        self.out = tmp / f"out-{time.monotonic_ns()}"
        home = self.out.with_suffix(".home")
        home.mkdir()
        patience = f"terminal.PATIENCE_S = {redis_patience_s}; " if redis_patience_s else ""
        script = f"from tasks.cli import main, terminal; {patience}main(prog_name='holystone')"
        command = [str(self.out), sys.executable, "-c", script, *args]
        super().__init__(
            ["/bin/sh", "-c", 'out=$1; shift; exec "$@" > "$out"', "sh", *command],
            env=clean_environment(home, {**env, "PYTHONPATH": str(CHECKOUT)}),
            cwd=home,
            log=self.out.with_suffix(".log"),
        )

    def output(self) -> str:
        return self.out.read_text() if self.out.exists() else ""


def holystone(
    env: dict[str, str],
    *args: str,
    tmp: Path,
    status: int = 0,
    deadline_s: float = 120,
    redis_patience_s: float | None = 60,
) -> Holystone:
    """The command after its end, which is with `status` and without a traceback."""
    with Holystone(env, *args, tmp=tmp, redis_patience_s=redis_patience_s) as process:
        ended = process.wait(deadline_s)
    assert ended == status, process.output() + process.log()
    assert "Traceback" not in process.output() + process.log()
    return process
