"""Two Redis clients, and how a number in a hash reads.

`open_redis` is for runs: it rides out a restart of Redis, so that what they did is written down.
`open_redis_at_once` is for the `holystone` command, health checks and metrics, which fail rather than wait.
"""

from collections.abc import Mapping
from typing import Any

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from worker.redis_url import check_url
from worker.settings import Settings

_BACKOFF, _RETRIES = ExponentialBackoff(cap=4, base=0.1), 9  # about 20 s in all


class _PatientPool(redis.ConnectionPool):
    """Waits for a Redis that refuses connections; redis-py tries commands again, but not connecting."""

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        retry = Retry(_BACKOFF, _RETRIES, supported_errors=(redis.ConnectionError,))
        return retry.call_with_retry(
            lambda: super(_PatientPool, self).get_connection(*args, **kwargs), lambda _: None
        )


def open_redis(settings: Settings) -> redis.Redis:
    """A client that rides out a restart of Redis (about 20 s), and gives up on one that hangs after 8 s.

    Raises UnusableUrl.
    """
    pool = _PatientPool.from_url(
        _checked_url(settings),
        decode_responses=True,
        socket_timeout=8,
        socket_connect_timeout=8,
        # Not after a time-out: the command may have been carried out, and hanging adds up.
        retry=Retry(_BACKOFF, _RETRIES, supported_errors=(redis.ConnectionError,)),
    )
    return redis.Redis.from_pool(pool)


def open_redis_at_once(settings: Settings, patience_s: float) -> redis.Redis:
    """A client that connects, and answers each command, within `patience_s` seconds, or raises; tries once.

    What is no UTF-8 text is read with question marks. Raises UnusableUrl.
    """
    return redis.Redis.from_url(
        _checked_url(settings),
        decode_responses=True,
        encoding_errors="replace",
        socket_timeout=patience_s,
        socket_connect_timeout=patience_s,
        retry=Retry(NoBackoff(), 0),
    )


def _checked_url(settings: Settings) -> str:
    url = settings.redis_url.get_secret_value()
    check_url(url)  # redis-py would take database 0 for one that is no number
    return url


def read_number(fields: Mapping[str, str], field: str) -> float | None:
    """The number in a field of a hash, None where it is empty or missing. Raises ValueError for a text."""
    text = fields.get(field)
    return float(text) if text else None
