"""The beat schedule: one entry per host and job (pure)."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from worker.fleet import HostSettings
from worker.limits import message_limits
from worker.policies import ALERTS_TASK, PRUNE_TASK, WATCH_TASK

ALERTS_EVERY_S = 300
ALERTS_LIMIT_S = 60  # seconds for sending them
WATCH_LIMIT_S = 60  # seconds for one look at a disk
DUE_HEADER = "holystone_due"  # message header: Unix seconds when beat's run was due


def entry_name(host: str) -> str:
    return f"prune-build-cache:{host}"


def beat_entries(fleet: Mapping[str, HostSettings]) -> dict[str, dict[str, Any]]:
    """Celery's `beat_schedule`: per host a prune where pruning is on, and a look at its disk where that is.

    Each message carries its limits, and expires just before the next one is due: no backlog builds while
    workers are away.
    """
    prunes = {
        entry_name(name): _entry(
            PRUNE_TASK, name, host.prune.interval_s, message_limits(host.prune.timeout_s)
        )
        for name, host in fleet.items()
        if host.prune.enabled
    }
    # The result of a look is not kept: there are many, and the next says as much. Flower shows it anyway.
    options = {"ignore_result": True, **message_limits(WATCH_LIMIT_S)}
    looks = {
        f"watch-disk:{name}": _entry(WATCH_TASK, name, host.disk.interval_s, options)
        for name, host in fleet.items()
        if host.disk.enabled
    }
    return prunes | looks


def alert_entries(notify_urls: Sequence[object]) -> dict[str, dict[str, Any]]:
    """Celery's `beat_schedule` for alerts whose message was lost: what still waits is sent then."""
    options = {"expires": ALERTS_EVERY_S - 1, "ignore_result": True}
    entry = {"task": ALERTS_TASK, "schedule": float(ALERTS_EVERY_S), "options": options}
    return {"send-alerts": entry} if notify_urls else {}


def turn_ts(name: str, now: float, interval_s: float) -> float:
    """An entry's last turn, in Unix seconds: each has its own second of the interval, so that the looks at
    many disks are spread over it and no other run waits behind all of them."""
    second = int(now)  # in whole ones: a float's last digits would not be the same at each call
    return float(second - (second - zlib.crc32(name.encode())) % int(interval_s))


def _entry(task: str, host: str, interval_s: int, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "task": task,
        "schedule": float(interval_s),
        "kwargs": {"host": host, "trigger": "schedule"},
        "options": {"expires": max(interval_s - 1, 1), **options},
    }
