"""A worker and its hosts, kept for many tests: one sshd under several names, this machine, dead hosts."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.celery_processes import Worker
from tests.support.client import Client, environment
from tests.support.inbox import Inbox
from tests.support.network import BannerThenSilent, Blackhole, SilentServer
from tests.support.ports import LOOPBACK, free_port
from tests.support.proxy import ClosingProxy
from tests.support.redis_server import RedisServer
from tests.support.scripts import put_script
from tests.support.ssh_keys import public_key
from tests.support.sshd import SshServer
from tests.support.stand_in_docker import StandInDocker
from tests.support.waiting import wait_until

INTERVAL_S = 3600
TIMEOUT_S = 120
CONNECT_TIMEOUT_S = 20  # of all hosts: a busy machine logs in within it
NOTIFY_MIN_GB = 0.05
DEAD = ("refused", "blackhole", "silent", "banner")
_KEY_NAME = "the-sshd"  # HostKeyAlias: one line in known_hosts for all names
_NEVER = 10**9


class Fleet:
    """Hosts `local`, `one`, `two` (the same sshd) and `proxied` (that sshd behind `proxy`), and DEAD.

    `begin` gives each test a `docker` of its own on all of them, and a worker that remembers nothing.
    """

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self._stack = ExitStack()
        self._tests = 0
        self.docker: StandInDocker

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        enter = stack.enter_context
        self.redis = enter(RedisServer(self.tmp / "redis"))
        self.server = enter(SshServer(self.tmp / "sshd"))
        self.proxy = enter(ClosingProxy(self.server.port, after_bytes=_NEVER))
        self.inbox = enter(Inbox())
        ports = {"one": self.server.port, "two": self.server.port, "proxied": self.proxy.port}
        ports["refused"] = free_port()
        ports["blackhole"] = enter(Blackhole()).port
        ports["silent"] = enter(SilentServer()).port
        ports["banner"] = enter(BannerThenSilent()).port
        config = self.tmp / "ssh_config"
        config.write_text("".join(_alias(name, port, self.server.user) for name, port in ports.items()))
        known_hosts = self.tmp / "known_hosts"
        known_hosts.write_text(f"{_KEY_NAME} {public_key(self.server.tmp / 'host_key')}\n")
        self.local_commands = self.tmp / "commands"
        self.local_commands.mkdir()
        env = environment(
            self.redis.url,
            " ".join(["local", *(f"ssh://{name}" for name in ports)]),
            self.local_commands,
            ssh_config=config,
            ssh_known_hosts=known_hosts,
            ssh_identity=self.server.identity,
            ssh_connect_timeout_s=CONNECT_TIMEOUT_S,
            prune_interval_s=INTERVAL_S,
            prune_timeout_s=TIMEOUT_S,
            prune_notify_min_gb=NOTIFY_MIN_GB,
            notify_urls=self.inbox.url,
        )
        self.worker = enter(Worker(env, "--concurrency=6", tmp=self.tmp))
        self.worker.wait_ready()
        self.client = Client(self.redis.url)
        self._memory = self.redis.client()

    def begin(self) -> None:
        """A new test: its own `docker`, an empty memory, no mail, no broken links."""
        self._tests += 1
        self.proxy.after_bytes = _NEVER
        self.inbox.posts.clear()
        self.inbox.status = 200
        self.server.wait_quiet()  # what was cut before it began would find this test's docker
        self.docker = StandInDocker(self.tmp / f"docker-{self._tests}", engine_id=f"engine-{self._tests:03}")
        self.command("docker", self.docker.script)
        for folder in (self.local_commands, self.server.commands):
            for left in folder.iterdir():
                if left.name != "docker":
                    left.unlink()
        for key in self._memory.scan_iter("holystone:*"):
            self._memory.delete(key)

    def end(self) -> None:
        """Lets the prunes end that were left running; the worker must have survived the test."""
        self.docker.go()
        assert self.worker.running(), self.worker.log()

    def command(self, name: str, script: str) -> None:
        """Makes `name` a command of every host."""
        put_script(self.local_commands / name, self.server.stand_in(name, script).read_text())

    @property
    def engine_id(self) -> str:
        return f"engine-{self._tests:03}"

    def run(self, host: str = "one", **kwargs: Any) -> dict[str, Any]:
        """The report of a run; raises its error at once, without retries."""
        # The last attempt, not to wait for retries; but a scheduled retry is not skipped for time.
        options = {} if kwargs.get("trigger") == "schedule" else {"retries": 3}
        return self.client.send(host, options=options, **kwargs).get(150, self.worker.log)

    def remembered(self, host: str) -> dict[str, str]:
        """What Redis holds of `host`."""
        fields: dict[str, str] = self._memory.hgetall(f"holystone:prune_build_cache:host:{host}")
        return fields

    def wait_for_prune(self, count: int = 1) -> None:
        """Waits until `count` prunes have started."""
        wait_until(lambda: self.docker.prunes_started >= count, 60, f"{count} prunes", detail=self.worker.log)


def _alias(name: str, port: int, user: str) -> str:
    return f"Host {name}\n  HostName {LOOPBACK}\n  Port {port}\n  User {user}\n  HostKeyAlias {_KEY_NAME}\n"
