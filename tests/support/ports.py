"""Free loopback ports."""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Iterator

LOOPBACK = "127.0.0.1"
# Below the kernel's ephemeral range, so that no outgoing connection takes one before its server binds it.
_PORTS = range(12000, 32000)


def _candidates() -> Iterator[int]:
    """The ports of this process, each once in a round; each of pytest-xdist's workers has its own share."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = _PORTS[worker :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]
    start = random.randrange(len(share))
    return itertools.cycle([*share[start:], *share[:start]])


_next_ports = _candidates()


def free_port() -> int:
    """A loopback TCP port that nobody listens on.

    It is not given again for long: one that a test wants to refuse connections must stay free.
    """
    for port in itertools.islice(_next_ports, 1000):
        with socket.socket() as probe:
            # A server binds so too; without it a port just left (TIME_WAIT) would count as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free loopback port found")


def is_listening(port: int) -> bool:
    """Whether something accepts connections on the loopback `port`."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0
