"""What the verbs ask of Celery: to send runs, what came of them, and whether a worker answers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from tasks.cli.follow_runs import Read
from tasks.cli.run_rows import Sent
from worker.policies import PRUNE_TASK

if TYPE_CHECKING:
    import redis

PING_WAIT_S = 3  # where none answers: the first answer ends it


def send(messages: Mapping[str, dict[str, Any]], runs: list[Sent]) -> None:
    """Sends a message per host, {host: arguments of apply_async}, and notes each in `runs`.

    Raises what the broker raises: redis.RedisError, kombu's OperationalError, OSError.
    """
    from worker.celery import app

    for host, options in messages.items():
        # By name: importing the task would bring asyncssh.
        runs.append(Sent(host, app.signature(PRUNE_TASK).apply_async(**options).id))


def results(client: "redis.Redis") -> Read:
    """Reads the results of all runs in one round trip, where Celery would subscribe to each."""
    from worker.celery import app

    def read(runs: Sequence[Sent]) -> list[Mapping[str, Any] | None]:
        stored = client.mget([app.backend.get_key_for_task(run.task_id) for run in runs])
        return [
            app.backend.decode_result(text) if text else None for text in cast("list[str | None]", stored)
        ]

    return read


def worker_answers() -> bool | None:
    """Whether any worker answers; None where none can be asked."""
    from kombu.exceptions import OperationalError

    from worker.celery import app

    try:
        return bool(app.control.ping(timeout=PING_WAIT_S, limit=1))
    except (OperationalError, OSError):
        return None


def has_worker() -> bool:
    """Whether any worker may answer: where none can be asked Redis is the trouble, and reading says so."""
    return worker_answers() is not False
