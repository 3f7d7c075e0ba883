"""An HTTP server on loopback that keeps what is posted to it."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from tests.support.ports import LOOPBACK


class Inbox:
    """`url` is what Apprise takes; `status` is what it answers from now on.

    Apprise's own limits are long there: one that gives up on a busy machine would send a message twice.
    """

    def __init__(self) -> None:
        self.posts: list[str] = []
        self.status = 200
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                post, status = self.rfile.read(int(self.headers["Content-Length"])).decode(), inbox.status
                inbox.posts.append(post)  # who sees it may change the status
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.url = f"json://{LOOPBACK}:{self._server.server_address[1]}?cto=60&rto=60"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
