"""Whether beat's loop turns: each tick touches a file, and `python -m worker.liveness` looks at its age.

While Redis is away beat may wait for it without a tick. That is no trouble of beat's: no restart would help.
"""

import contextlib
import os
import sys
import time
from pathlib import Path

VARIABLE = "BEAT_HEARTBEAT_FILE"
MAX_AGE_S = 30  # a tick comes every 5 s, also to a standby; one that sends 500 runs takes a second


def touch_heartbeat() -> None:
    """To be called on each tick; does nothing where no file is named. Never raises."""
    path = os.environ.get(VARIABLE)
    if path:
        with contextlib.suppress(OSError):  # beat goes on, and the check says that there is no tick
            Path(path).touch()


def find_trouble(last_tick_ts: float | None, now: float) -> str | None:
    """What is wrong with a beat whose last tick was then (Unix seconds; None: it had none)."""
    if last_tick_ts is None:
        return "beat had no tick yet"
    age_s = now - last_tick_ts
    return f"beat's last tick was {age_s:.0f} s ago" if abs(age_s) > MAX_AGE_S else None


def read_heartbeat(path: Path) -> float | None:
    """When the last tick was, in Unix seconds; None where there was none."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def redis_answers() -> bool:
    """Whether Redis answers, if only with a refusal: waiting ends no wrong password."""
    # Only where beat looks dead: these take half a second to import.
    import redis

    from worker.settings import get_settings

    url = get_settings().redis_url.get_secret_value()
    try:
        with redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as client:
            client.ping()
    except redis.AuthenticationError:
        return True
    except (redis.ConnectionError, redis.TimeoutError):  # also while it loads its data
        return False
    return True


def main() -> int:
    """The exit status: 0 where beat lives, else 1, and a line that says why."""
    path = os.environ.get(VARIABLE)
    if not path:
        print(f"{VARIABLE} names no file")
        return 1
    trouble = find_trouble(read_heartbeat(Path(path)), time.time())
    if trouble is None or not redis_answers():
        return 0
    print(trouble)
    return 1


if __name__ == "__main__":
    sys.exit(main())
