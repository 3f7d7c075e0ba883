"""Ugly networks on loopback: servers that don't speak, an address that drops SYNs. Proxies: proxy.py."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.support.ports import LOOPBACK
from tests.support.ports import free_port as free_port  # re-exported: the network tests' one import


class _Listener:
    """Accepts on a loopback port in a thread until closed; `_serve` gets each connection."""

    def __init__(self) -> None:
        self._socket = socket.create_server((LOOPBACK, 0), backlog=512)
        self.port: int = self._socket.getsockname()[1]
        self.host = LOOPBACK
        self.name = f"{LOOPBACK}:{self.port}"
        self.url = f"ssh://root@{self.name}"
        self.accepted = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # shutdown wakes the accept; close alone would leave the thread, and the port, waiting in it.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)
        self._close_all()

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        with self._lock:
            return len(self._open)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.accepted += 1
            self._keep(connection)
            self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        """Called in the accepting thread; must not block."""

    def _keep(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def _close(self, connection: socket.socket, *, reset: bool = False) -> None:
        with self._lock:
            self._open.discard(connection)
        with suppress(OSError):
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                # Before close: another thread may sit in recv on it, and would keep it open.
                connection.shutdown(socket.SHUT_RDWR)
        connection.close()

    def _close_all(self, *, reset: bool = False) -> None:
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            self._close(connection, reset=reset)


class SilentServer(_Listener):
    """Accepts connections and never says a word."""


class BannerThenSilent(_Listener):
    """Says it is an ssh server, and nothing after."""

    def __init__(self, banner: bytes = b"SSH-2.0-OpenSSH_9.2\r\n") -> None:
        super().__init__()
        self._banner = banner

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(self._banner)


class ClosesAtOnce(_Listener):
    """Accepts and closes."""

    def _serve(self, connection: socket.socket) -> None:
        self._close(connection)


class Blackhole:
    """An address that drops SYNs: connecting neither succeeds nor fails.

    A full accept queue of a listener that never accepts; Linux drops what comes then.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0), backlog=0)
        self.port: int = self._listener.getsockname()[1]
        self.host = LOOPBACK
        self.name = f"{LOOPBACK}:{self.port}"
        self.url = f"ssh://root@{self.name}"
        self._fillers: list[socket.socket] = []

    def __enter__(self) -> Self:
        with selectors.DefaultSelector() as selector:
            for _ in range(64):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex((LOOPBACK, self.port))
                self._fillers.append(filler)
                selector.register(filler, selectors.EVENT_WRITE)
                # On loopback a connection stands at once (later on a busy machine), or its SYN was dropped.
                if not selector.select(0.5):
                    return self
                selector.unregister(filler)
        raise RuntimeError("the accept queue never filled")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for filler in self._fillers:
            filler.close()
        self._listener.close()
