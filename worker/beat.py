"""Beat's scheduler: RedBeat, and what it leaves to its users."""

import logging
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import redis
from celery.beat import SchedulingError
from celery.signals import beat_init
from redbeat.decoder import to_timestamp
from redbeat.schedulers import (
    LUA_EXTEND_TO_SCRIPT,
    RedBeatScheduler,
    RedBeatSchedulerEntry,
    acquire_distributed_beat_lock,
    get_redis,
)

from worker.beat_entry import Entry, load_entries, set_due_times_right
from worker.beat_queue import is_too_long
from worker.beat_schedule import remove_entries, write_entries
from worker.liveness import touch_heartbeat
from worker.logs import get_logger
from worker.policies import WATCH_TASK
from worker.run_log import is_routine
from worker.schedule import DUE_HEADER, turn_ts

log = get_logger(__name__)

BATCH = 500  # entries sent by a tick, or written at once: between two of them the lock is renewed
CLOCK_CHECK_S = 60  # between two looks for what a wrong clock put off

# It would take the lock without writing the schedule, which an empty Redis no longer has; tick does both.
beat_init.disconnect(acquire_distributed_beat_lock)


class Scheduler(RedBeatScheduler):  # type: ignore[misc]
    """RedBeat (memory and lock in Redis), and: never run is due now; messages carry when they were due;
    a run that can't be sent stays due; Redis going away, or coming back empty, doesn't end beat; while the
    queue is too long, looks at disks are left out, so that they don't fill Redis."""

    Entry = Entry
    lock: Any = None
    _next_clock_check = 0.0  # by the monotonic clock
    _is_closed = False
    _more_due = False
    _queue_too_long = False

    def __init__(self, app: Any, **kwargs: Any) -> None:
        # Not in celeryconfig: whoever asks a worker for its settings would be shown the password in it.
        app.conf.redbeat_redis_url = app.conf.broker_url
        super().__init__(app, **kwargs)

    def setup_schedule(self) -> None:
        """RedBeat's takes round trips per entry. Its default entry is not needed: Redis expires results."""
        written = get_redis(self.app).smembers(self.app.redbeat_conf.statics_key)
        for names in self._in_batches(sorted(written - self.app.conf.beat_schedule.keys())):
            remove_entries(self.app, names)
        for names in self._in_batches(list(self.app.conf.beat_schedule)):
            write_entries(self.app, names)

    def maybe_due(self, entry: RedBeatSchedulerEntry, **kwargs: Any) -> float:
        """RedBeat's own goes on to the next entry, with a traceback for each, where Redis takes no writes."""
        is_due, next_s = entry.is_due()
        if is_due:
            try:
                self.apply_async(entry, **kwargs)
            except SchedulingError as error:
                log.error("run not sent", text=str(error))
        return float(next_s)

    def apply_async(
        self, entry: RedBeatSchedulerEntry, producer: Any = None, advance: bool = True, **_: Any
    ) -> Any:
        before: datetime | None = entry.last_run_at
        entry = self.reserve(entry) if advance else entry
        if self._queue_too_long and entry.task == WATCH_TASK:
            return None
        headers = {DUE_HEADER: entry.last_run_at.timestamp()}
        try:
            sent = self.app.send_task(
                entry.task, entry.args, entry.kwargs, producer=producer, headers=headers, **entry.options
            )
        except Exception as error:  # whatever the broker raises: the run was not sent, so it is not done
            entry.last_run_at = before
            self._put_back(entry)
            raise SchedulingError(f"{entry.name} not sent, stays due: {error}") from error
        level = logging.DEBUG if is_routine(self.app.tasks.get(entry.task)) else logging.INFO
        log.log(level, "run sent", host=(entry.kwargs or {}).get("host"), task_id=sent.id, task=entry.task)
        return sent

    def reserve(self, entry: RedBeatSchedulerEntry) -> RedBeatSchedulerEntry:
        """What comes often comes in turn; any other run an interval after the last."""
        if not is_routine(self.app.tasks.get(entry.task)):
            return super().reserve(entry)
        turn = turn_ts(entry.name, self.app.now().timestamp(), entry.schedule.seconds)
        return entry.next(last_run_at=datetime.fromtimestamp(turn, UTC))

    def _put_back(self, entry: RedBeatSchedulerEntry) -> None:
        """Makes it due again. A full Redis deletes but does not save: what has no last run then is written
        with the next lock, as never run; another fleet's is found by the next look at due times."""
        get_redis(self.app).hdel(entry.key, "meta")
        entry.save()

    def tick(self, **kwargs: Any) -> float:
        """Sends what is due; returns the seconds until the next tick."""
        if self._is_closed:
            raise SystemExit  # the signal handler's own is lost where it interrupts a __del__
        touch_heartbeat()
        try:
            if self.lock is None and not self._take_lock():
                return float(self.max_interval)  # another beat is at work
            self._check_clock()
            wait_s = float(super().tick(**kwargs))
            return 0.0 if self._more_due else wait_s
        except redis.exceptions.LockError:
            log.warning("beat lock lost")
            self.lock = None
        except redis.RedisError as error:
            log.warning("redis away", error=type(error).__name__, text=str(error))
            self.lock = None
        return 1.0

    def close(self) -> None:
        self._is_closed = True
        super().close()

    @property
    def schedule(self) -> dict[str, RedBeatSchedulerEntry]:
        """The first BATCH entries that are due by their scores, and the next one.

        The scores of those that are not due after all are set right, so that they keep back nothing that is.
        """
        client, key = get_redis(self.app), self.app.redbeat_conf.schedule_key
        now = to_timestamp(self.app.now())
        with client.pipeline(transaction=False) as pipe:
            pipe.zrangebyscore(key, 0, now, start=0, num=BATCH)
            pipe.zrangebyscore(key, f"({now}", now + self.max_interval, start=0, num=1)
            pipe.llen(self.app.conf.task_default_queue)
            due, next_due, messages = pipe.execute()
        self._more_due = len(due) == BATCH
        self._note_queue(messages)
        entries = load_entries(self.app, [*due, *next_due])
        keys = set(due)
        early = [entry for entry in entries if entry.key in keys and not entry.is_due().is_due]
        scores = {entry.key: entry.score for entry in early if entry.score > now}  # not those of this second
        if scores:
            client.zadd(key, scores, xx=True)
        return {entry.name: entry for entry in entries}

    def _check_clock(self) -> None:
        if time.monotonic() >= self._next_clock_check:
            set_due_times_right(self.app)
            self._next_clock_check = time.monotonic() + CLOCK_CHECK_S

    def _note_queue(self, messages: int) -> None:
        was_too_long = self._queue_too_long
        self._queue_too_long = is_too_long(messages, len(self.app.conf.beat_schedule), was_too_long)
        if self._queue_too_long and not was_too_long:
            log.warning("queue too long, no looks at disks sent", messages=messages)
        elif was_too_long and not self._queue_too_long:
            log.info("queue short again, looks at disks sent", messages=messages)

    def _take_lock(self) -> bool:
        client = get_redis(self.app)
        lock = client.lock(self.lock_key, timeout=self.lock_timeout)
        lock.lua_extend = client.register_script(LUA_EXTEND_TO_SCRIPT)
        if not lock.acquire(blocking=False):
            return False
        self.lock = lock
        log.info("beat lock taken")
        self._write_missing()
        return True

    def _write_missing(self) -> None:
        """Redis came back empty, be it while the schedule was written or runs were sent; or it was full."""
        for names in self._in_batches(list(self.app.conf.beat_schedule)):
            write_entries(self.app, names, only_missing=True)

    def _in_batches(self, names: Sequence[str]) -> Iterator[Sequence[str]]:
        """BATCH names at a time; before each, what else comes once a tick: a heartbeat, the lock renewed."""
        for start in range(0, len(names), BATCH):
            touch_heartbeat()
            if self.lock is not None:
                self.lock.extend(int(self.lock_timeout))
            yield names[start : start + BATCH]
