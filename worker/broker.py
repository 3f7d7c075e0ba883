"""kombu's Redis transport, and notice of a broker that no longer answers."""

import select
import time
from typing import Any, ClassVar
from weakref import WeakSet

from kombu.transport import TRANSPORT_ALIASES, redis

from worker import redis_url

ANSWER_LIMIT_S = 15  # BRPOP answers within a second, with a message or without
_CHECK_S = 5


def check_url(url: str) -> None:
    """Raises SystemExit where kombu couldn't read `url`: its own errors show parts of the password."""
    try:
        redis_url.check_url(url)
    except redis_url.UnusableUrl as error:
        raise SystemExit(str(error)) from None


class Channel(redis.Channel):  # type: ignore[misc]
    """Remembers when it asked for a message: kombu waits for the answer without a limit, so that behind a
    half-open connection a worker would sit for ever."""

    asked_at: float | None = None
    everywhere: ClassVar[WeakSet["Channel"]] = WeakSet()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.everywhere.add(self)

    def _brpop_start(self, timeout: float | None = None) -> None:
        self.asked_at = time.monotonic()
        super()._brpop_start(timeout)

    def _brpop_read(self, **options: Any) -> Any:
        self.asked_at = None
        return super()._brpop_read(**options)

    def is_overdue(self) -> bool:
        """Whether the broker owes an answer for too long, and none lies unread."""
        if self.asked_at is None or not self._in_poll or time.monotonic() - self.asked_at < ANSWER_LIMIT_S:
            return False
        unread = select.poll()
        unread.register(self._in_poll._sock, select.POLLIN)
        return not unread.poll(0)

    def drop_connections(self) -> None:
        """Closes its sockets; the next use of each opens a new one, instead of waiting for a dead one."""
        for pool in filter(None, (self._pool, self._async_pool)):
            pool.disconnect()


class Transport(redis.Transport):  # type: ignore[misc]
    """Gives the worker a connection error, from which it reconnects, where the broker went silent."""

    Channel = Channel

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        super().register_with_event_loop(connection, loop)

        def check() -> None:
            if any(channel.is_overdue() for channel in self.cycle._channels):
                for channel in list(Channel.everywhere):
                    channel.drop_connections()
                raise ConnectionError(f"Redis has not answered for {ANSWER_LIMIT_S} s")

        loop.call_repeatedly(_CHECK_S, check)


def install() -> None:
    """Makes `redis://` and `rediss://` URLs use this transport, in this process."""
    TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = f"{__name__}:Transport"
