"""Every host's numbers as Prometheus metrics, from the settings and what Redis holds (pure)."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from worker.fleet import HostSettings
from worker.pause import Pause, find_pause
from worker.policies import TABLE_OF, DiskPolicy, PrunePolicy

OTHER = "other"  # the label of a counter whose own name could be anything

_TASK, _HOST = ("task", "host"), ("host",)
# Labels and help by name. A `_total` is a counter.
METRICS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "holystone_enabled": (_TASK, "1 if runs are scheduled, else 0."),
    "holystone_interval_seconds": (_TASK, "Seconds between two scheduled runs."),
    "holystone_last_run_timestamp_seconds": (
        _TASK,
        "Unix time when the last prune was due, or began if it was sent by hand.",
    ),
    "holystone_last_success_timestamp_seconds": (_TASK, "Unix time when a run last succeeded."),
    "holystone_last_duration_seconds": (_TASK, "Seconds that the last successful run took."),
    "holystone_last_reclaimed_bytes": (
        _TASK,
        "Bytes that the last successful prune reclaimed, as the engine says.",
    ),
    "holystone_reclaimed_bytes_total": (_TASK, "Bytes that all prunes reclaimed, as the engine says."),
    "holystone_consecutive_failures": (_TASK, "Runs that failed since the last success."),
    "holystone_failures_total": ((*_TASK, "error"), "Runs that failed, by type of error."),
    "holystone_skips_total": ((*_TASK, "reason"), "Runs that did nothing, by reason."),
    "holystone_expired_messages_total": (_TASK, "Messages that expired before a worker began them."),
    "holystone_paused": (_HOST, "1 if the host's runs are paused, else 0."),
    "holystone_disk_size_bytes": (_HOST, "Size in bytes of the file system that holds the engine's data."),
    "holystone_disk_free_bytes": (_HOST, "Free bytes of the file system that holds the engine's data."),
    "holystone_disk_reading_timestamp_seconds": (_HOST, "Unix time when the disk was last read."),
    "holystone_disk_alert_ratio": (_HOST, "Fraction of the disk in use at which an alert is sent."),
    "holystone_build_cache_bytes": (_HOST, "Bytes of build cache, as the engine says."),
}

Fields = Mapping[str, str]  # a hash in Redis
Family = CounterMetricFamily | GaugeMetricFamily
_Sample = tuple[str, tuple[str, ...], float | None]  # metric, labels' values, None where nothing is known

_TOO_LARGE = 2.0**63  # Redis counts no further; sums of larger ones may be no number
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_ (),.'-]{0,79}", re.ASCII)  # no URL, no line of a host's output


@dataclass(frozen=True)
class Known:
    """What Redis holds, unchecked: the fields of each (job, host), of each host's disk, and the pauses."""

    runs: Mapping[tuple[str, str], Fields]
    disks: Mapping[str, Fields]
    pauses: Mapping[str, Pause]


def make_families(fleet: Mapping[str, HostSettings], known: Known, now: float) -> list[Family]:
    """The metrics of the configured hosts; `now` is Unix seconds. What is no number there is left out."""
    families = {name: _empty_family(name) for name in METRICS}
    for name, settings in fleet.items():
        is_paused = find_pause(known.pauses, name, now) is not None
        samples = list(_host_samples(name, settings, known.disks.get(name, {}), is_paused))
        for job in TABLE_OF:
            samples += _run_samples(job, name, settings.policy_of(job), known.runs.get((job, name), {}))
        for metric, labels, value in samples:
            if value is not None:
                families[metric].add_metric(labels, value)
    return list(families.values())


def _empty_family(name: str) -> Family:
    labels, text = METRICS[name]
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    return kind(name, text, labels=labels)


def _run_samples(job: str, host: str, policy: PrunePolicy | DiskPolicy, fields: Fields) -> Iterator[_Sample]:
    key = (f"tasks.{job}", host)  # as in Flower's own metrics
    yield "holystone_enabled", key, policy.enabled
    yield "holystone_interval_seconds", key, policy.interval_s
    yield "holystone_last_success_timestamp_seconds", key, _number(fields, "last_success_ts")
    yield "holystone_last_duration_seconds", key, _number(fields, "last_duration_s")
    if isinstance(policy, PrunePolicy):
        yield "holystone_last_run_timestamp_seconds", key, _number(fields, "last_run_ts")
        yield "holystone_last_reclaimed_bytes", key, _number(fields, "last_reclaimed_bytes")
        # Counts begin at 0: one that begins at 1 has not risen, says Prometheus.
        yield "holystone_reclaimed_bytes_total", key, _number(fields, "total_reclaimed_bytes", 0)
    yield "holystone_consecutive_failures", key, _number(fields, "consecutive_failures", 0)
    yield "holystone_expired_messages_total", key, _number(fields, "expired", 0)
    for error, count in _count_by_name(fields, "failures:").items():
        yield "holystone_failures_total", (*key, error), count
    for reason, count in _count_by_name(fields, "skips:").items():
        yield "holystone_skips_total", (*key, reason), count


def _host_samples(host: str, settings: HostSettings, disk: Fields, is_paused: bool) -> Iterator[_Sample]:
    key = (host,)
    yield "holystone_paused", key, is_paused
    yield "holystone_disk_size_bytes", key, _number(disk, "size_bytes")
    yield "holystone_disk_free_bytes", key, _number(disk, "free_bytes")
    yield "holystone_disk_reading_timestamp_seconds", key, _number(disk, "ts")
    yield "holystone_disk_alert_ratio", key, settings.disk.alert_percent / 100
    yield "holystone_build_cache_bytes", key, _number(disk, "build_cache_bytes")


def _number(fields: Fields, field: str, missing: float | None = None) -> float | None:
    """The number in `field`, `missing` where there is none, None where it makes no sense."""
    text = fields.get(field)
    if not text:
        return missing
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < _TOO_LARGE else None


def _count_by_name(fields: Fields, prefix: str) -> Counter[str]:
    """The counters whose field begins with `prefix`, by the rest of it; odd names are counted as `OTHER`."""
    counts: Counter[str] = Counter()
    for field in fields:
        count = _number(fields, field) if field.startswith(prefix) else None
        if count is not None:
            name = field.removeprefix(prefix)
            counts[name if _NAME.fullmatch(name) else OTHER] += int(count)
    return counts
