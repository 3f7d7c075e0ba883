"""Puts the hosts' numbers on Flower's /metrics, which shows prometheus_client's default registry."""

import time
from collections.abc import Iterable, Mapping

import redis
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.disk_memory import disk_key
from worker.logs import get_logger
from worker.memory import host_memory_key
from worker.metrics import Fields, Known, make_families
from worker.pause import Pause, Pauses
from worker.policies import TABLE_OF
from worker.redis_client import open_redis_at_once
from worker.settings import Settings, get_settings

log = get_logger(__name__)

PATIENCE_S = 2  # to connect, and for each answer; Flower serves nothing else meanwhile


def read_known(settings: Settings) -> Known:
    """All in two round trips, however many hosts. Raises redis.RedisError, and ValueError for a bad URL."""
    hosts = list(settings.fleet)
    keys = [(job, host) for job in TABLE_OF for host in hosts]
    with open_redis_at_once(settings, PATIENCE_S) as client, client.pipeline(transaction=False) as pipe:
        for job, host in keys:
            pipe.hgetall(host_memory_key(job, host))
        for host in hosts:
            pipe.hgetall(disk_key(host))
        found = [_fields(answer) for answer in pipe.execute(raise_on_error=False)]
        pauses = _read_pauses(client)
    runs, disks = found[: len(keys)], found[len(keys) :]
    return Known(dict(zip(keys, runs, strict=True)), dict(zip(hosts, disks, strict=True)), pauses)


def _fields(answer: object) -> Fields:
    if _is_strange_key(answer):
        return {}
    if isinstance(answer, Exception):
        raise answer
    assert isinstance(answer, dict)
    return answer


def _read_pauses(client: redis.Redis) -> Mapping[str, Pause]:
    try:
        return Pauses(client).read()
    except redis.ResponseError as error:
        if _is_strange_key(error):
            return {}
        raise


def _is_strange_key(answer: object) -> bool:
    """Whether it is Redis' answer that a key holds no hash; one such must not cost the other numbers."""
    return isinstance(answer, redis.ResponseError) and str(answer).startswith("WRONGTYPE")


class HostCollector(Collector):
    """Reads Redis whenever the page is asked for; where that fails, `holystone_redis_up 0` stands alone."""

    def describe(self) -> Iterable[Metric]:
        return []  # else registering it would collect

    def collect(self) -> Iterable[Metric]:
        settings = get_settings()
        up = GaugeMetricFamily("holystone_redis_up", "1 if Redis could be read at this scrape, else 0.")
        try:
            families = make_families(settings.fleet, read_known(settings), time.time())
        except Exception as error:  # whatever it is, it must not cost the rest of Flower's page
            # Its text may hold parts of the URL.
            log.warning("no numbers of hosts", error=type(error).__name__)
            up.add_metric((), 0)
            return [up]
        up.add_metric((), 1)
        return [up, *families]


def register() -> None:
    """To be called once per process."""
    REGISTRY.register(HostCollector())
