"""Notes each prune in Redis before it is sent: one whose run is cut short or killed can then be followed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from tasks.followed import Followed
from tasks.left_prunes import LeftPrune, to_note
from worker.memory import Memory
from worker.runs import tolerating_redis_outage


class PruneJournal:
    """The note of one engine, while a run that holds its lock prunes there. Every method blocks.

    `describe` gives the prune that is being sent. `earlier` is what may still run there: its note stays. The
    note is kept for `ttl_s`. What a prune reclaimed is counted in one step with the end of its note, so once.
    Where Redis is away that is put off to the end of the run: it must not use up the run's time.
    """

    def __init__(
        self,
        memory: Memory,
        engine_id: str,
        ttl_s: int,
        describe: Callable[[], LeftPrune],
        earlier: Followed | None = None,
    ) -> None:
        self._memory, self._engine_id, self._ttl_s, self._describe = memory, engine_id, ttl_s, describe
        self._earlier = earlier or Followed("")
        self._sent: LeftPrune | None = None
        self._note: str | None = None  # ours, as it may be in Redis
        self._is_noted = False  # Redis said so
        self._owed_bytes = 0  # reclaimed, and not yet counted
        self._is_away = False

    def begin(self) -> None:
        """A prune is about to be sent."""
        self._sent = self._describe()
        if not self._is_away:
            self._write(self._sent, over_any=True)

    def end(self, reclaimed_bytes: int | None) -> None:
        """It has ended, or never began."""
        self._owed_bytes += reclaimed_bytes or 0
        if not self._is_away:
            self._settle()

    def leave(self, printed_bytes: int | None) -> None:
        """The run ends before it did. The lock is no longer ours, so another run's note stays."""
        self._sent = replace(self._describe(), left_ts=time.time(), printed_bytes=printed_bytes)
        self._write(self._sent, over_any=not self._is_noted)

    def close(self) -> None:
        """The run ends."""
        if self._note or self._owed_bytes:
            self._settle()

    def _write(self, sent: LeftPrune, over_any: bool) -> None:
        note = to_note((*self._earlier.prunes, sent))
        with self._redis():
            if not self._replace(note) and over_any:
                self._note, self._is_noted = note, False
                self._memory.note_prunes(self._engine_id, note, self._ttl_s)
            self._note, self._is_noted = note, True

    def _settle(self) -> None:
        with self._redis():
            self._replace(self._earlier.note)
            self._note, self._is_noted = None, False

    def _replace(self, note: str) -> bool:
        """Puts `note` in the place of ours, and counts what is owed; False where ours is not there.

        It is gone where it expired, and where an answer was lost: then all was counted the first time.
        """
        if self._sent is None:
            return False
        host, owed = self._sent.host, self._owed_bytes
        is_ours = self._note is not None and self._memory.settle_prune(
            self._engine_id, self._note, note, host, owed
        )
        if owed and not is_ours and not self._is_noted:
            self._memory.add_reclaimed(host, owed)
        self._owed_bytes = 0
        return is_ours

    @contextmanager
    def _redis(self) -> Iterator[None]:
        self._is_away = True
        with tolerating_redis_outage():
            yield
            self._is_away = False
