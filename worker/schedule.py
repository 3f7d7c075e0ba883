"""The beat schedule: one entry per host and job (pure)."""

from collections.abc import Mapping
from typing import Any

from worker.fleet import HostSettings
from worker.limits import message_limits

DUE_HEADER = "holystone_due"  # message header: Unix seconds when beat's run was due


def entry_name(host: str) -> str:
    return f"prune-build-cache:{host}"


def beat_entries(fleet: Mapping[str, HostSettings]) -> dict[str, dict[str, Any]]:
    """Celery's `beat_schedule` for the hosts whose pruning is on.

    Each message carries its host's limits, and expires just before the next one is due: no backlog builds
    while workers are away.
    """
    return {
        entry_name(name): {
            "task": "tasks.prune_build_cache",
            "schedule": float(host.prune.interval_s),
            "kwargs": {"host": name, "trigger": "schedule"},
            "options": {
                "expires": max(host.prune.interval_s - 1, 1),
                **message_limits(host.prune.timeout_s),
            },
        }
        for name, host in fleet.items()
        if host.prune.enabled
    }
