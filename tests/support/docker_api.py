"""The engine's HTTP interface over its unix socket: an oracle that starts no process on the host."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def get(path: Path, resource: str, timeout_s: float = 60) -> Any:
    """GET `resource` from the engine whose socket is at `path`; the JSON it answers."""
    connection = _UnixConnection(path, timeout_s)
    try:
        connection.request("GET", resource)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise RuntimeError(f"GET {resource}: {response.status} {body[:500]!r}")
    return json.loads(body)


def answers(path: Path) -> bool:
    """Whether the engine answers what `docker version` asks."""
    try:
        return bool(get(path, "/version", timeout_s=5))
    except (OSError, http.client.HTTPException, RuntimeError):
        return False
