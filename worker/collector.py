"""Puts the hosts' numbers on Flower's /metrics, which shows prometheus_client's default registry."""

import time
from collections.abc import Iterable

import redis
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.logs import get_logger
from worker.metrics import JOBS, Fields, Known, make_families
from worker.pause import Pauses
from worker.settings import Settings, get_settings

log = get_logger(__name__)

PATIENCE_S = 2  # to connect, and for each answer; Flower serves nothing else meanwhile


def read_known(settings: Settings) -> Known:
    """All in two round trips, however many hosts. Raises redis.RedisError, and ValueError for a bad URL."""
    hosts = list(settings.fleet)
    keys = [(job, host) for job in JOBS for host in hosts]
    client = redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        decode_responses=True,
        encoding_errors="replace",
        socket_timeout=PATIENCE_S,
        socket_connect_timeout=PATIENCE_S,
        retry=Retry(NoBackoff(), 0),
    )
    with client, client.pipeline(transaction=False) as pipe:
        for job, host in keys:
            pipe.hgetall(f"holystone:{job}:host:{host}")
        for host in hosts:
            pipe.hgetall(f"holystone:disk:{host}")
        found = [_fields(answer) for answer in pipe.execute(raise_on_error=False)]
        pauses = Pauses(client).read()
    runs, disks = found[: len(keys)], found[len(keys) :]
    return Known(dict(zip(keys, runs, strict=True)), dict(zip(hosts, disks, strict=True)), pauses)


def _fields(answer: object) -> Fields:
    if isinstance(answer, redis.ResponseError) and str(answer).startswith("WRONGTYPE"):
        return {}  # one strange key must not cost the others
    if isinstance(answer, Exception):
        raise answer
    assert isinstance(answer, dict)
    return answer


class HostCollector(Collector):
    """Reads Redis whenever the page is asked for; where that fails, `holystone_redis_up 0` stands alone."""

    def describe(self) -> Iterable[Metric]:
        return []  # else registering it would collect

    def collect(self) -> Iterable[Metric]:
        settings = get_settings()
        up = GaugeMetricFamily("holystone_redis_up", "Whether Redis could be read.")
        try:
            known = read_known(settings)
        except (redis.RedisError, OSError, ValueError) as error:
            # Its text may hold parts of the URL.
            log.warning("no numbers of hosts, Redis can't be read", error=type(error).__name__)
            up.add_metric((), 0)
            return [up]
        up.add_metric((), 1)
        return [up, *make_families(settings.fleet, known, time.time())]


def register() -> None:
    """To be called once per process."""
    REGISTRY.register(HostCollector())
