"""A Redis client for those who can't wait; worker/memory.py has the one of those who can."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.settings import Settings


def open_redis_at_once(settings: Settings, patience_s: float) -> redis.Redis:
    """A client that connects, and answers each command, within `patience_s` seconds, or raises; tries once.

    What is no UTF-8 text is read with question marks. Raises ValueError where the URL makes no sense.
    """
    return redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        decode_responses=True,
        encoding_errors="replace",
        socket_timeout=patience_s,
        socket_connect_timeout=patience_s,
        retry=Retry(NoBackoff(), 0),
    )
