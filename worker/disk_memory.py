"""What Redis remembers of each host's disk, whichever job looked at it."""

from dataclasses import dataclass
from typing import cast

import redis

from worker.docker import FileSystem


@dataclass(frozen=True)
class DiskMemory:
    """The last look at one host's disk. Times are Unix seconds, sizes bytes; None is not known.

    `above` is whether the disk was above its alert mark, `early_prune_ts` when a prune was last begun early.
    """

    disk: FileSystem | None = None
    ts: float | None = None
    build_cache_bytes: int | None = None
    build_cache_ts: float | None = None
    above: bool = False
    early_prune_ts: float | None = None

    @classmethod
    def from_fields(cls, fields: dict[str, str]) -> "DiskMemory":
        def number(key: str) -> float | None:
            return float(fields[key]) if fields.get(key) else None

        size, free, cache = number("size_bytes"), number("free_bytes"), number("build_cache_bytes")
        known = bool(fields.get("path")) and size is not None and free is not None
        return cls(
            disk=FileSystem(fields["path"], int(size or 0), int(free or 0)) if known else None,
            ts=number("ts"),
            build_cache_bytes=None if cache is None else int(cache),
            build_cache_ts=number("build_cache_ts"),
            above=fields.get("above") == "1",
            early_prune_ts=number("early_prune_ts"),
        )


class Disks:
    """The disks in Redis, by host. Every method is one round trip; all raise redis.RedisError."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def read(self, host: str) -> DiskMemory:
        return DiskMemory.from_fields(cast("dict[str, str]", self._redis.hgetall(_key(host))))

    def record(self, host: str, disk: FileSystem, now: float) -> None:
        """A reading; the path stands for docker's root, so that the next look need not ask for it."""
        fields = {"path": disk.path, "size_bytes": disk.size_bytes, "free_bytes": disk.free_bytes, "ts": now}
        self._redis.hset(_key(host), mapping=fields)

    def record_build_cache(self, host: str, size: int | None, now: float) -> None:
        """The size of the build cache, or that it could not be read now."""
        fields = {"build_cache_bytes": "" if size is None else size, "build_cache_ts": now}
        self._redis.hset(_key(host), mapping=fields)

    def record_above(self, host: str, above: bool) -> None:
        self._redis.hset(_key(host), mapping={"above": int(above)})

    def record_early_prune(self, host: str, now: float) -> None:
        self._redis.hset(_key(host), mapping={"early_prune_ts": now})


def _key(host: str) -> str:
    return f"holystone:disk:{host}"
