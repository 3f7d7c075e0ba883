"""What Redis remembers per job: runs and totals of each host, one lock per engine, deliveries of a run."""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import redis

from worker.redis_client import open_redis, read_number
from worker.settings import Settings

LOCK_TTL_S = 30  # a crashed worker's lock is gone after this long; a live one renews it three times as often
RUN_TTL_S = 86_400

RunState = Literal["started", "retrying", "skipped"]
"""What became of a host's last run, where it neither succeeded nor failed: more is not known; its host was
not reached, and it is tried again; or it pruned nothing."""

# Renews the lock where it is ours, or gone because Redis came back empty; another's stays.
_RENEW = """
local owner = redis.call('get', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
return 1
"""
# Counts once what a noted prune reclaimed, and leaves the rest of its note; a later note stays as it is.
_SETTLE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '' then redis.call('del', KEYS[1]) else redis.call('set', KEYS[1], ARGV[3], 'keepttl') end
if ARGV[2] ~= '0' then redis.pcall('hincrby', KEYS[2], 'total_reclaimed_bytes', ARGV[2]) end
return 1
"""
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


def host_memory_key(job: str, host: str) -> str:
    """The hash that holds a HostMemory."""
    return f"holystone:{job}:host:{host}"


@dataclass(frozen=True)
class HostMemory:
    """What is remembered of one host. Times are Unix seconds, None where it never happened.

    `last_run_state` is None where no run began since the last one that succeeded or failed.
    """

    last_run_ts: float | None = None
    last_run_task_id: str | None = None
    last_success_ts: float | None = None
    last_reclaimed_bytes: int | None = None
    total_reclaimed_bytes: int = 0
    last_error: str | None = None
    consecutive_failures: int = 0
    engine_id: str | None = None
    last_run_state: RunState | None = None

    @classmethod
    def from_fields(cls, fields: dict[str, str]) -> "HostMemory":
        reclaimed = read_number(fields, "last_reclaimed_bytes")
        return cls(
            last_run_ts=read_number(fields, "last_run_ts"),
            last_run_task_id=fields.get("last_run_task_id"),
            last_success_ts=read_number(fields, "last_success_ts"),
            last_reclaimed_bytes=None if reclaimed is None else int(reclaimed),
            total_reclaimed_bytes=int(read_number(fields, "total_reclaimed_bytes") or 0),
            last_error=fields.get("last_error") or None,
            consecutive_failures=int(read_number(fields, "consecutive_failures") or 0),
            engine_id=fields.get("engine_id"),
            last_run_state=cast("RunState | None", fields.get("last_run_state") or None),
        )


class Memory:
    """The memory of one job. Every method is one round trip; all raise redis.RedisError if Redis is away."""

    def __init__(self, client: redis.Redis, job: str) -> None:
        self.client, self.job = client, job

    def _key(self, kind: str, name: str) -> str:
        return f"holystone:{self.job}:{kind}:{name}"

    # One run

    def count_delivery(self, run: str, delivery: str) -> int:
        """How often `run` (a task id and attempt) was delivered, `delivery` included."""
        key = self._key("deliveries", run)
        with self.client.pipeline() as pipe:
            pipe.sadd(key, delivery)  # a set: a command may be sent twice when Redis went away
            pipe.expire(key, RUN_TTL_S)
            pipe.scard(key)
            return cast(int, pipe.execute()[2])

    def finish(self, run: str, report: dict[str, Any] | None) -> None:
        """This attempt is over, with its report if it has one: a second copy of its message does nothing."""
        self._finish(self.client, run, report)

    def finish_retried(self, run: str, host: str) -> None:
        """This attempt is over without a report, and the last run of `host` is tried again."""
        with self.client.pipeline() as pipe:
            self._finish(pipe, run, None)
            self._set(host, pipe, last_run_state="retrying")
            pipe.execute()

    def _finish(self, client: redis.Redis, run: str, report: dict[str, Any] | None) -> None:
        client.set(self._key("finished", run), json.dumps(report), ex=RUN_TTL_S)

    def finished(self, run: str) -> tuple[bool, dict[str, Any] | None]:
        """Whether this attempt is over, and its report."""
        text = cast("str | None", self.client.get(self._key("finished", run)))
        return text is not None, json.loads(text) if text else None

    # One host

    def host(self, host: str) -> HostMemory:
        return self.hosts([host])[host]

    def hosts(self, hosts: list[str]) -> dict[str, HostMemory]:
        """`host` of each."""
        with self.client.pipeline(transaction=False) as pipe:
            for host in hosts:
                pipe.hgetall(host_memory_key(self.job, host))
            return dict(zip(hosts, map(HostMemory.from_fields, pipe.execute()), strict=True))

    def record_start(self, host: str, task_id: str, due_ts: float) -> None:
        """A run begins; the next scheduled one is due an interval after `due_ts` (Unix seconds)."""
        self._set(host, last_run_ts=due_ts, last_run_task_id=task_id, last_run_state="started")

    def record_engine(self, host: str, engine_id: str) -> None:
        self._set(host, engine_id=engine_id)

    def record_success(self, host: str, reclaimed_bytes: int | None, duration_s: float) -> None:
        self._set(
            host,
            last_success_ts=time.time(),
            last_reclaimed_bytes="" if reclaimed_bytes is None else reclaimed_bytes,
            last_duration_s=duration_s,
            last_error="",
            consecutive_failures=0,
            last_run_state="",
        )

    def record_failure(self, host: str, kind: str, error: str) -> int:
        """Returns how many failures in a row this makes. `kind` is the error's type."""
        error = error.encode("utf-8", "replace").decode()  # a host may print what is no text
        with self.client.pipeline() as pipe:
            self._set(host, pipe, last_error=error, last_run_state="")
            pipe.hincrby(host_memory_key(self.job, host), f"failures:{kind}", 1)
            pipe.hincrby(host_memory_key(self.job, host), "consecutive_failures", 1)
            return int(pipe.execute()[2])

    def count_skip(self, host: str, reason: str, *, is_last_run: bool = False) -> None:
        """Counts a run that did nothing; `is_last_run` where it is the last one that began on the host."""
        with self.client.pipeline() as pipe:
            pipe.hincrby(host_memory_key(self.job, host), f"skips:{reason}", 1)
            if is_last_run:
                self._set(host, pipe, last_run_state="skipped")
            pipe.execute()

    def count_expired(self, host: str) -> None:
        """A message expired before a worker took it up."""
        self.client.hincrby(host_memory_key(self.job, host), "expired", 1)

    def add_reclaimed(self, host: str, reclaimed_bytes: int) -> None:
        self.client.hincrby(host_memory_key(self.job, host), "total_reclaimed_bytes", reclaimed_bytes)

    def _set(self, host: str, client: redis.Redis | None = None, /, **fields: Any) -> None:
        client = self.client if client is None else client
        client.hset(host_memory_key(self.job, host), mapping=fields)

    # One engine

    def take(self, engine_id: str, token: str) -> bool:
        """Takes the engine's lock for LOCK_TTL_S, if it is free. `token` is `<task id>/<delivery>`."""
        return self.renew(engine_id, token)  # not SET NX, whose second try would find our own first

    def renew(self, engine_id: str, token: str) -> bool:
        """Holds the lock for another LOCK_TTL_S; False where another run has it by now."""
        return bool(self.client.eval(_RENEW, 1, self._key("lock", engine_id), token, str(LOCK_TTL_S * 1000)))

    def release(self, engine_id: str, token: str) -> None:
        """Gives the lock back if it is still ours."""
        self.client.eval(_RELEASE, 1, self._key("lock", engine_id), token)

    def holder(self, engine_id: str) -> str | None:
        """The task id of the run that holds the engine's lock."""
        return self.holders([engine_id])[engine_id]

    def holders(self, engine_ids: list[str]) -> dict[str, str | None]:
        """`holder` of each engine."""
        keys = [self._key("lock", engine_id) for engine_id in engine_ids]
        tokens = cast("list[str | None]", self.client.mget(keys)) if keys else []
        return {
            engine_id: token.split("/")[0] if token else None
            for engine_id, token in zip(engine_ids, tokens, strict=True)
        }

    def note_prunes(self, engine_id: str, note: str, ttl_s: int) -> None:
        """Writes the note of the prunes that may run in the engine over what is there; kept for `ttl_s`."""
        self.client.set(self._key("prunes", engine_id), note, ex=ttl_s)

    def noted_prunes(self, engine_id: str) -> str | None:
        """The note of the prunes that may run in the engine."""
        return cast("str | None", self.client.get(self._key("prunes", engine_id)))

    def settle_prune(self, engine_id: str, note: str, rest: str, host: str, reclaimed_bytes: int) -> bool:
        """A prune of `note` is over: `rest` is left of it, and its bytes are added to the total of `host`.

        Neither, and False, where the note is gone or another by now.
        """
        keys = (self._key("prunes", engine_id), host_memory_key(self.job, host))
        return bool(self.client.eval(_SETTLE, 2, *keys, note, str(reclaimed_bytes), rest))


@contextlib.contextmanager
def open_memory(settings: Settings, job: str) -> Iterator[Memory]:
    """The memory of `job`, over a connection of its own."""
    with open_redis(settings) as client:
        yield Memory(client, job)
