"""Beat's health check: each tick touches a file, and `python -m worker.liveness` looks at its age.

While Redis is away beat waits for it without ticks. It then counts as healthy: a restart would not help.
"""

import contextlib
import os
import sys
import time
from pathlib import Path

VARIABLE = "BEAT_HEARTBEAT_FILE"
MAX_AGE_S = 30  # a tick comes every 5 s, also to a standby; one that sends 500 runs takes a second
PATIENCE_S = 3  # for Redis to connect, and to answer; docker-compose.yml gives the whole check 10 s


def touch_heartbeat() -> None:
    """Called on each tick; does nothing where BEAT_HEARTBEAT_FILE is not set. Never raises."""
    path = os.environ.get(VARIABLE)
    if path:
        with contextlib.suppress(OSError):  # beat goes on; the health check will fail instead
            Path(path).touch()


def find_trouble(last_tick_ts: float | None, now: float) -> str | None:
    """What is wrong with a beat whose last tick was at `last_tick_ts` (None: never), or None."""
    if last_tick_ts is None:
        return "beat had no tick yet"
    age_s = now - last_tick_ts
    return f"beat's last tick was {age_s:.0f} s ago" if abs(age_s) > MAX_AGE_S else None


def read_heartbeat(path: Path) -> float | None:
    """When the last tick was, in Unix seconds; None where there was none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def ask_redis() -> tuple[bool, str | None]:
    """(whether Redis is away, what is wrong where waiting does not help: a refusal, or no URL)."""
    # Only where beat looks dead: these take half a second to import.
    import redis

    from worker.redis_client import open_redis_at_once
    from worker.redis_url import UnusableUrl
    from worker.settings import get_settings

    try:
        with open_redis_at_once(get_settings(), PATIENCE_S) as client:
            client.ping()
    except redis.RedisError as error:
        is_away = isinstance(error, (redis.ConnectionError, redis.TimeoutError))  # or it loads its data
        if is_away and not isinstance(error, redis.AuthenticationError):  # a ConnectionError to redis-py
            return True, None
        return False, f"Redis refuses: {error}"
    except UnusableUrl as error:
        return False, str(error)
    return False, None


def main() -> int:
    """The exit status: 0 where beat lives, else 1, and a line that says why."""
    path = os.environ.get(VARIABLE)
    if not path:
        print(f"{VARIABLE} names no file")
        return 1
    trouble = find_trouble(read_heartbeat(Path(path)), time.time())
    if trouble is None:
        return 0
    is_away, why = ask_redis()
    if is_away:
        return 0
    print(" ".join(f"{trouble}; {why}".split()) if why else trouble)
    return 1


if __name__ == "__main__":
    sys.exit(main())
