"""Looks at one host's disk between its prunes: cheap, and the first to know when it fills."""

import time
import uuid
from dataclasses import asdict, dataclass, replace
from typing import Any

from celery import Task

from tasks import NO_HOST
from tasks.disk_policy import LADDER_EVERY_S, decide_alert, decide_early_prune
from tasks.watch_visit import Reading, look_at_disk
from worker.alerts import DISK_FULL, DISK_OK, Alert, note_disk
from worker.celery import app
from worker.disk_memory import Disks
from worker.docker import FileSystem
from worker.errors import HolystoneError
from worker.fleet import HostSettings, find_host
from worker.limits import message_limits
from worker.logs import get_logger
from worker.memory import Memory, open_memory
from worker.pause import Pauses
from worker.policies import PRUNE_TASK, WATCH_JOB, WATCH_TASK
from worker.runs import PAUSED, count_success, tolerating_redis_outage
from worker.schedule import WATCH_LIMIT_S
from worker.settings import Settings, get_settings
from worker.times import utc_text

log = get_logger(__name__)

DISABLED = "watching is off (HOLYSTONE_DISK_ENABLED)"


@dataclass(frozen=True)
class WatchReport:
    """`alert` is true when the disk rose to its alert threshold, false when it has room again, else null.

    `early_prune` is the id of the prune that was sent because the disk is full. Sizes are bytes.
    """

    host: str | None
    outcome: str
    reason: str | None
    used_percent: float | None = None
    alert: bool | None = None
    early_prune: str | None = None
    disk: dict[str, Any] | None = None
    build_cache_bytes: int | None = None
    duration_s: float = 0.0
    job: str = WATCH_JOB
    trigger: str = "manual"
    started_at: str | None = None


def act(task: Task, host: HostSettings, settings: Settings, memory: Memory, trigger: str) -> WatchReport:
    """A visit, unless the host is paused, and what follows from it. Raises the errors of worker.errors."""
    name, now, disks = host.host.name, time.time(), Disks(memory.client)
    report = WatchReport(name, "done", None, trigger=trigger, started_at=utc_text(now))
    if pause := Pauses(memory.client).in_effect(name, now):
        memory.count_skip(name, PAUSED)
        return replace(report, outcome="skipped", reason=str(pause))
    known = disks.read(name)
    disk_now, reading = look_at_disk(host, settings, known, now)
    alert = decide_alert(disk_now.used_percent, host.disk.alert_percent, known.above)
    remember_and_notify(host, disk_now, reading, alert, memory, settings, now)
    early_prune = prune_if_full(task, host, disk_now, disks)
    duration_s = round(time.time() - now, 2)
    count_success(name, None, duration_s, memory, settings)
    return replace(
        report,
        used_percent=disk_now.used_percent,
        alert=alert,
        early_prune=early_prune,
        disk=asdict(disk_now),
        build_cache_bytes=reading.build_cache_bytes if reading.asked_for_cache else known.build_cache_bytes,
        duration_s=duration_s,
    )


def remember_and_notify(
    host: HostSettings,
    disk_now: FileSystem,
    reading: Reading,
    alert: bool | None,
    memory: Memory,
    settings: Settings,
    now: float,
) -> None:
    """Stores what was seen; alerts where the disk crossed its threshold and no other worker did."""
    name, percent, disks = host.host.name, disk_now.used_percent, Disks(memory.client)
    with tolerating_redis_outage():
        disks.record(name, disk_now, now)
        if reading.asked_for_cache:
            disks.record_build_cache(name, reading.build_cache_bytes, now)
        if alert is None:
            return
        text = f"{percent} % in use; its alert threshold is {host.disk.alert_percent} %."
        told = Alert(DISK_FULL if alert else DISK_OK, name, text, now)
        if note_disk(memory.client, settings, alert, told):
            log.warning("disk full" if alert else "disk has room", used_percent=percent)


def prune_if_full(task: Task, host: HostSettings, disk_now: FileSystem, disks: Disks) -> str | None:
    """Sends a prune that tries the ladder's ages, unless one waits or ran lately; returns its task id."""
    name, task_id = host.host.name, str(uuid.uuid4())
    if not decide_early_prune(disk_now.used_percent, host.disk, host.prune):
        return None
    if not disks.claim_early_prune(name, task_id, LADDER_EVERY_S):  # first: rather none than two
        return None
    kwargs, limits = {"host": name, "trigger": "disk"}, message_limits(host.prune.timeout_s)
    task.app.send_task(PRUNE_TASK, task_id=task_id, kwargs=kwargs, expires=LADDER_EVERY_S, **limits)
    log.info("early prune sent", used_percent=disk_now.used_percent, prune_task_id=task_id)
    return task_id


@app.task(  # type: ignore[untyped-decorator]
    bind=True,
    throws=(HolystoneError,),
    name=WATCH_TASK,
    job=WATCH_JOB,
    routine=True,
    **message_limits(WATCH_LIMIT_S),
)
def watch_disk(self: Task, host: str | None = None, *, trigger: str = "manual") -> dict[str, Any]:
    """Looks at the disk of `host`; the only one, if left out. Returns a WatchReport.

    Raises the errors of worker.errors; none is retried, as the next look comes soon.
    """
    settings = get_settings()
    if not settings.fleet:
        return asdict(WatchReport(None, "skipped", NO_HOST, trigger=trigger))
    configured = find_host(settings.fleet, host)
    if not configured.disk.enabled:
        return asdict(WatchReport(configured.host.name, "skipped", DISABLED, trigger=trigger))
    with open_memory(settings, WATCH_JOB) as memory:
        return asdict(act(self, configured, settings, memory, trigger))
