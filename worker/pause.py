"""Pauses: no run of a host, or of any, acts until a time or until it is resumed. Kept in Redis."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import cast

import redis

KEY = "holystone:paused"
LATEST_TS = 4e9 + 100 * 366 * 86_400  # no pause is longer than 100 years; NaN is not below it either
ALL = "*"  # stands for every host, those of tomorrow included; no host can be called so


@dataclass(frozen=True)
class Pause:
    """Who paused, and until when in Unix seconds; None is until resumed."""

    by: str
    until_ts: float | None

    def holds(self, now: float) -> bool:
        """Whether it has not ended by itself."""
        return self.until_ts is None or self.until_ts > now

    def __str__(self) -> str:
        if self.until_ts is None:
            return f"paused by {self.by} until resumed"
        until = datetime.fromtimestamp(self.until_ts, UTC)
        return f"paused by {self.by} until {until:%Y-%m-%dT%H:%M:%SZ}"


def find_pause(pauses: Mapping[str, Pause], host: str, now: float) -> Pause | None:
    """The pause that holds `host` back at `now`: of its own and the fleet's, the one that ends last."""
    holding = [pauses[name] for name in (host, ALL) if name in pauses and pauses[name].holds(now)]
    return max(holding, key=lambda pause: pause.until_ts or float("inf"), default=None)


class Pauses:
    """The pauses in Redis, by host. Every method is one round trip; all raise redis.RedisError."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def read(self) -> dict[str, Pause]:
        """All that were set and not resumed, ended ones included."""
        kept = cast("dict[str, str]", self._redis.hgetall(KEY))
        return {host: _decode(text) for host, text in kept.items()}

    def of(self, host: str) -> dict[str, Pause]:
        """As `read`, only what may hold `host` back."""
        kept = cast("list[str | None]", self._redis.hmget(KEY, [host, ALL]))
        return {name: _decode(text) for name, text in zip((host, ALL), kept, strict=True) if text}

    def set(self, hosts: Iterable[str], pause: Pause) -> None:
        """Replaces what was set for these hosts before; `ALL` is the whole fleet."""
        text = json.dumps(asdict(pause))
        self._redis.hset(KEY, mapping=dict.fromkeys(hosts, text))

    def clear(self, hosts: Iterable[str] | None = None) -> None:
        """Ends the pauses of these hosts, `ALL` being the fleet's own; for None every one that was set."""
        if hosts is None:
            self._redis.delete(KEY)
        else:
            self._redis.hdel(KEY, *hosts)


def _decode(text: str) -> Pause:
    try:
        found = json.loads(text)
        until_ts = None if found["until_ts"] is None else float(found["until_ts"])
        if until_ts is None or 0 <= until_ts < LATEST_TS:
            return Pause(str(found["by"]), until_ts)
    except (ValueError, TypeError, KeyError):
        pass
    return Pause("an entry that can't be read", None)  # in doubt nothing is deleted
