"""What Redis remembers of each host's disk, whichever job looked at it."""

from dataclasses import dataclass
from typing import cast

import redis

from worker.docker import FileSystem
from worker.redis_client import read_number

ABOVE = "holystone:disk_above"  # the hosts whose disk is above its alert threshold

# Of a host's early prune: sent, then begun, each by its task id. A second delivery of the same goes on.
_BEGIN = """
local held = redis.call('get', KEYS[1])
if held and held ~= 'sent ' .. ARGV[1] and held ~= 'begun ' .. ARGV[1] then return 0 end
redis.call('set', KEYS[1], 'begun ' .. ARGV[1], 'ex', ARGV[2])
return 1
"""
# Not SET NX, whose second try would find our own first where its answer was lost.
_CLAIM = """
local held = redis.call('get', KEYS[1])
if held and held ~= 'sent ' .. ARGV[1] then return 0 end
redis.call('set', KEYS[1], 'sent ' .. ARGV[1], 'ex', ARGV[2])
return 1
"""
_GIVE_BACK = "if redis.call('get', KEYS[1]) == 'sent ' .. ARGV[1] then redis.call('del', KEYS[1]) end"


@dataclass(frozen=True)
class DiskMemory:
    """The last look at one host's disk. Times are Unix seconds, sizes bytes; None is not known.

    `above` is whether the last alert said that the disk is full, not that it has room.
    """

    disk: FileSystem | None = None
    build_cache_bytes: int | None = None
    build_cache_ts: float | None = None
    above: bool = False

    @classmethod
    def from_fields(cls, fields: dict[str, str], above: bool) -> "DiskMemory":
        size, free = read_number(fields, "size_bytes"), read_number(fields, "free_bytes")
        cache = read_number(fields, "build_cache_bytes")
        known = bool(fields.get("path")) and size is not None and free is not None
        return cls(
            disk=FileSystem(fields["path"], int(size or 0), int(free or 0)) if known else None,
            build_cache_bytes=None if cache is None else int(cache),
            build_cache_ts=read_number(fields, "build_cache_ts"),
            above=above,
        )


def disk_key(host: str) -> str:
    """The hash that holds a DiskMemory, but for `above`."""
    return f"holystone:disk:{host}"


class Disks:
    """The disks in Redis, by host. Every method is one round trip; all raise redis.RedisError."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def read(self, host: str) -> DiskMemory:
        return self.read_all([host])[host]

    def read_all(self, hosts: list[str]) -> dict[str, DiskMemory]:
        """`read` of each host."""
        with self._redis.pipeline(transaction=False) as pipe:
            for host in hosts:
                pipe.hgetall(disk_key(host))
            pipe.smembers(ABOVE)
            *fields, above = pipe.execute()
        found = zip(hosts, fields, strict=True)
        return {host: DiskMemory.from_fields(known, host in above) for host, known in found}

    def record(self, host: str, disk: FileSystem, now: float) -> None:
        """Stores a reading. `disk.path` is docker's root: the next look runs `df` without asking for it."""
        fields = {"path": disk.path, "size_bytes": disk.size_bytes, "free_bytes": disk.free_bytes, "ts": now}
        self._redis.hset(disk_key(host), mapping=fields)

    def build_cache_bytes(self, host: str, since_ts: float) -> int | None:
        """The size of the build cache when it was last read; None if that was before `since_ts`."""
        fields = ["build_cache_bytes", "build_cache_ts"]
        size, ts = cast("list[str | None]", self._redis.hmget(disk_key(host), fields))
        return int(size) if size and float(ts or 0) >= since_ts else None

    def record_build_cache(self, host: str, size: int | None, now: float) -> None:
        """Stores the build cache's size; None where it could not be read."""
        fields = {"build_cache_bytes": "" if size is None else size, "build_cache_ts": now}
        self._redis.hset(disk_key(host), mapping=fields)

    def outdate_build_cache(self, host: str) -> None:
        """The size of the build cache has changed: the next look asks for it."""
        self._redis.hdel(disk_key(host), "build_cache_ts")

    def claim_early_prune(self, host: str, task_id: str, seconds: int) -> bool:
        """Whether this early prune may be sent; then no other may for so long, unless it is given back."""
        return bool(self._redis.eval(_CLAIM, 1, _early_prune(host), task_id, str(seconds)))

    def begin_early_prune(self, host: str, task_id: str, seconds: int) -> bool:
        """Whether this early prune may act; then no other may for so long from now, whoever asks."""
        return bool(self._redis.eval(_BEGIN, 1, _early_prune(host), task_id, str(seconds)))

    def give_back_early_prune(self, host: str, task_id: str) -> None:
        """This early prune is over. If it never began, another may be sent."""
        self._redis.eval(_GIVE_BACK, 1, _early_prune(host), task_id)


def _early_prune(host: str) -> str:
    return f"holystone:early_prune:{host}"
