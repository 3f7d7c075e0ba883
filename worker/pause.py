"""Pauses, kept in Redis: runs of a host, or of all hosts, are skipped until a time or until resumed."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import cast

import redis

from worker.times import utc_text

KEY = "holystone:paused"
_MAX_UNTIL_TS = 4e9 + 100 * 366 * 86_400  # the longest pause, 100 years, set in 2096; NaN is not below it
ALL = "*"  # every host, also one configured later; no host can have this name


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
        return f"paused by {self.by} until {utc_text(self.until_ts)}"


def find_pause(pauses: Mapping[str, Pause], host: str, now: float) -> Pause | None:
    """The pause in effect for `host` at `now`: its own or the fleet's, whichever ends last."""
    holding = [pauses[name] for name in (host, ALL) if name in pauses and pauses[name].holds(now)]
    return max(holding, key=lambda pause: pause.until_ts or float("inf"), default=None)


class Pauses:
    """The pauses in Redis, by host. Every method is one round trip; all raise redis.RedisError."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def read(self) -> dict[str, Pause]:
        """All pauses not resumed, by host or ALL; includes those whose time is over."""
        kept = cast("dict[str, str]", self._redis.hgetall(KEY))
        return {host: _decode(text) for host, text in kept.items()}

    def in_effect(self, host: str, now: float) -> Pause | None:
        """`find_pause` for one host, without reading the others."""
        kept = cast("list[str | None]", self._redis.hmget(KEY, [host, ALL]))
        pauses = {name: _decode(text) for name, text in zip((host, ALL), kept, strict=True) if text}
        return find_pause(pauses, host, now)

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
        if until_ts is None or 0 <= until_ts < _MAX_UNTIL_TS:
            return Pause(str(found["by"]), until_ts)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        pass
    return Pause("an entry that can't be read", None)  # unreadable means paused: in doubt nothing is deleted
