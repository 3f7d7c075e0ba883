"""Notes each prune in Redis before it is sent: one whose run is cut short or killed can then be followed."""

import time
from collections.abc import Callable
from dataclasses import replace

from tasks.followed import Followed
from tasks.left_prunes import LeftPrune, to_note
from worker.memory import Memory
from worker.runs import tolerating_redis_outage


class PruneJournal:
    """The note of one engine, while a run that holds its lock prunes there. Every method blocks.

    `describe` gives the prune that is being sent. `earlier` is what may still run there: its note stays. The
    note is kept for `ttl_s`. What a prune reclaimed is counted together with the removal of its note, so
    once; Redis being away puts it off.
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
        self._note: str | None = None  # of what was sent, once it is in Redis
        self._owed_bytes = 0  # reclaimed, and not yet counted

    def begin(self) -> None:
        """A prune is about to be sent."""
        self._sent = self._describe()
        self._write()

    def end(self, reclaimed_bytes: int | None) -> None:
        """It has ended, or never began."""
        self._owed_bytes += reclaimed_bytes or 0
        self._settle()

    def leave(self, printed_bytes: int | None) -> None:
        """The run ends before it did."""
        self._sent = replace(self._describe(), left_ts=time.time(), printed_bytes=printed_bytes)
        self._write()

    def close(self) -> None:
        """The run ends: what Redis being away put off is done now."""
        self._settle()

    def _write(self) -> None:
        assert self._sent is not None
        note = to_note((*self._earlier.prunes, self._sent))
        with tolerating_redis_outage():
            self._memory.note_prunes(self._engine_id, note, self._ttl_s)
            self._note = note

    def _settle(self) -> None:
        if self._sent is None:
            return
        host = self._sent.host
        with tolerating_redis_outage():
            if self._note is not None:
                rest = self._earlier.note
                self._memory.settle_prune(self._engine_id, self._note, rest, host, self._owed_bytes)
            elif self._owed_bytes:
                self._memory.add_reclaimed(host, self._owed_bytes)
            self._sent, self._note, self._owed_bytes = None, None, 0
