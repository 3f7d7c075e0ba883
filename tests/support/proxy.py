"""TCP proxies on loopback that break a connection on command."""

from __future__ import annotations

import math
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field

from tests.support.network import _Listener
from tests.support.ports import LOOPBACK


@dataclass
class _Link:
    """One forwarded connection. Once it lost bytes it can't carry on, so `swallowing` is never undone."""

    client: socket.socket
    upstream: socket.socket
    swallowing: threading.Event = field(default_factory=threading.Event)
    from_upstream: int = 0


class Proxy(_Listener):
    """Forwards a loopback port to the port `upstream`, until told otherwise."""

    def __init__(self, upstream: int) -> None:
        super().__init__()
        self.upstream = upstream
        self.bytes_from_upstream = 0
        self._swallowing = False
        self._refusals: float = 0  # connections still to refuse
        self._links: list[_Link] = []

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        with self._lock:
            return sum(link.client in self._open for link in self._links)

    def swallow(self) -> None:
        """Go half-open: connections, old and new, stay up, and no byte passes either way."""
        self._swallowing = True
        with self._lock:
            links = list(self._links)
        for link in links:
            link.swallowing.set()

    def cut(self, *, reset: bool = False) -> None:
        """Close every connection (with an RST, if `reset`); new ones are served."""
        self._close_all(reset=reset)

    def refuse(self, times: float = math.inf) -> None:
        """Close every connection, and each new one at once; if `times` is given, only so many new ones."""
        self._refusals = times
        self._close_all()

    def restore(self) -> None:
        """Serve new connections again; those that swallowed bytes stay half-open until cut."""
        self._swallowing, self._refusals = False, 0

    def _serve(self, connection: socket.socket) -> None:
        if self._refusals > 0:
            self._refusals -= 1
            self._close(connection)
            return
        try:
            upstream = socket.create_connection((LOOPBACK, self.upstream), timeout=5)
        except OSError:
            self._close(connection)
            return
        upstream.settimeout(None)
        for each in (connection, upstream):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._keep(upstream)
        link = _Link(connection, upstream)
        with self._lock:
            self._links.append(link)
        if self._swallowing:
            link.swallowing.set()
        threading.Thread(target=self._pump, args=(link, connection, upstream), daemon=True).start()
        threading.Thread(target=self._pump, args=(link, upstream, connection), daemon=True).start()

    def _pump(self, link: _Link, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if source is link.upstream:
                    data = self._allowed(link, data)
                if data and not link.swallowing.is_set():
                    sink.sendall(data)
                if source is link.upstream and self._is_over(link):
                    break
            if source is link.upstream and (last := self._last()):
                sink.sendall(last)
        if not link.swallowing.is_set() or source is link.client:
            self._close(link.client)
            self._close(link.upstream)

    def _allowed(self, link: _Link, data: bytes) -> bytes:
        """What of `data` may pass to the client."""
        link.from_upstream += len(data)
        self.bytes_from_upstream += len(data)
        return data

    def _is_over(self, link: _Link) -> bool:
        return False

    def _last(self) -> bytes:
        """What the client gets after the upstream's end."""
        return b""


class HoldingProxy(Proxy):
    """Forwards the upstream's first line, and what comes after it only together with the upstream's end."""

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream)
        self._held = b""

    def _allowed(self, link: _Link, data: bytes) -> bytes:
        first = link.from_upstream == 0
        line, newline, rest = super()._allowed(link, data).partition(b"\n") if first else (b"", b"", data)
        self._held += rest
        return line + newline

    def _last(self) -> bytes:
        return self._held


class ClosingProxy(Proxy):
    """Forwards, and closes each connection once `after_bytes` came from upstream: a break at every step."""

    def __init__(self, upstream: int, *, after_bytes: int) -> None:
        super().__init__(upstream)
        self.after_bytes = after_bytes

    def _allowed(self, link: _Link, data: bytes) -> bytes:
        return super()._allowed(link, data)[: max(0, self.after_bytes - (link.from_upstream - len(data)))]

    def _is_over(self, link: _Link) -> bool:
        return link.from_upstream >= self.after_bytes
