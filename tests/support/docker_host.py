"""A real Docker host: sshd and dockerd of one Debian suite, on a machine of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import build_cache, docker_api
from tests.support.cgroups import cgroup_name, remove_abandoned_cgroups, remove_cgroup
from tests.support.chroots import make_chroot
from tests.support.machine import Machine
from tests.support.paths import scratch_folder
from tests.support.ports import LOOPBACK, free_port, is_listening
from tests.support.processes import command_line, descendants, is_running, send_signal
from tests.support.scripts import put_script
from tests.support.ssh_keys import NO_PENALTIES, make_key, public_key, sshd_config
from tests.support.waiting import wait_until

# Process 1 of the host. It obeys lines on its input, and ends when that closes. bash reaps orphans by itself.
_INIT = r"""
exec 2>>/var/log/init.log
set -- -D -f /etc/holystone/sshd_config -E /var/log/sshd.log
/usr/sbin/sshd -t "$@" -o '{no_penalties}' && set -- "$@" -o '{no_penalties}'
/usr/sbin/sshd "$@" </dev/null &
while read -r line; do
  case $line in
    engine) {dockerd} </dev/null >>/var/log/dockerd.log 2>&1 & ;;
  esac
done
"""


class DockerHost:
    """A machine with a Docker engine, reachable by ssh on loopback. Needs root.

    Users: root, and those of chroots.USERS, in the docker group.
    """

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.user = "root"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        chroot = make_chroot(self.suite)
        self.scratch = self._stack.enter_context(scratch_folder(f"{self.suite}-"))
        self.port = free_port()
        self.name = f"{LOOPBACK}:{self.port}"
        self.url = f"ssh://root@{self.name}"
        self.identity = make_key(self.scratch / "identity")
        self.wrong_identity = make_key(self.scratch / "wrong_identity")
        self.known_hosts = self.scratch / "known_hosts"
        self.unknown_hosts = self.scratch / "unknown_hosts"
        self._write_configuration()
        remove_abandoned_cgroups(self.scratch.parent)
        self._stack.callback(remove_cgroup, self.scratch)
        self._machine = Machine(chroot, self.scratch, self.suite)
        self._stack.callback(self._machine.end)
        self.start_engine()
        wait_until(lambda: is_listening(self.port), 60, "sshd to listen")

    def stop(self) -> None:
        """End every process of the host at once, then remove its files."""
        self._stack.close()

    def url_as(self, user: str) -> str:
        """The host's url with another user, one of chroots.USERS."""
        return f"ssh://{user}@{self.name}"

    def docker(self, *args: str, timeout_s: float = 120) -> str:
        """Run the docker CLI on the host without ssh; its output. RuntimeError where it fails."""
        return self.run("docker", *args, timeout_s=timeout_s)

    def run(self, *argv: str, timeout_s: float = 120, stdin: bytes = b"") -> str:
        """Run any command on the host, without ssh."""
        return self._machine.run(*argv, timeout_s=timeout_s, stdin=stdin)

    @contextmanager
    def docker_is(self, script: str) -> Iterator[None]:
        """Run the sh `script` for `docker` meanwhile, over ssh; /usr/bin/docker is still the real one."""
        # It stays, since a session may just be starting it: first on PATH, and nothing but the real one.
        docker, real = self.root / "usr/local/bin/docker", 'exec /usr/bin/docker "$@"'
        put_script(docker, f"#!/bin/sh\n{script}\n{real}\n")
        try:
            yield
        finally:
            put_script(docker, f"#!/bin/sh\n{real}\n")

    @property
    def root(self) -> Path:
        """The host's root folder, as seen from here."""
        return self._machine.root

    @property
    def socket(self) -> Path:
        """The engine's socket, as seen from here."""
        return self.root / "run/docker.sock"

    def pids(self, pattern: str = "") -> list[int]:
        """The host's processes whose command line holds `pattern`, by the pid they have here."""
        return self._machine.pids(pattern)

    def processes(self, pattern: str = "") -> list[str]:
        """The command lines of the host's processes that hold `pattern`."""
        lines = map(command_line, self._machine.pids())
        return [line for line in lines if line and pattern in line]

    def engine_log(self) -> str:
        return (self.root / "var/log/dockerd.log").read_text(errors="replace")

    def sshd_log(self) -> str:
        return (self.root / "var/log/sshd.log").read_text(errors="replace")

    def start_engine(self) -> None:
        """Start dockerd and wait until it answers."""
        self._machine.tell("engine")
        wait_until(self._engine_answers, 120, "dockerd to answer", detail=self.engine_log)

    def stop_engine(self) -> None:
        self._end_engine(signal.SIGTERM)

    def kill_engine(self) -> None:
        """SIGKILL dockerd; its containerd dies with it."""
        self._end_engine(signal.SIGKILL)

    def restart_engine(self) -> None:
        self.stop_engine()
        self.start_engine()

    def pause_engine(self) -> None:
        """SIGSTOP dockerd: connections to it are accepted by the kernel, and nothing answers."""
        os.kill(self._engine_pid(), signal.SIGSTOP)

    def resume_engine(self) -> None:
        os.kill(self._engine_pid(), signal.SIGCONT)

    def fill_cache(self, megabytes: int = 8, layers: int = 3) -> None:
        """Leave about `megabytes` of build cache that a prune may take: see build_cache.fill_cache."""
        build_cache.fill_cache(self, megabytes, layers)

    def _engine_pid(self) -> int:
        pids = [pid for pid in self._machine.pids() if command_line(pid).startswith("dockerd ")]
        assert pids, f"no dockerd is running on {self.name}"
        return pids[0]

    def _engine_answers(self) -> bool:
        self._machine.check()
        return docker_api.answers(self.socket)

    def _end_engine(self, number: int) -> None:
        engine = self._engine_pid()
        children = descendants(engine)
        send_signal(engine, number)
        # A paused engine would not see a SIGTERM.
        send_signal(engine, signal.SIGCONT)
        wait_until(lambda: not any(map(is_running, [engine, *children])), 60, "dockerd to end")
        # A killed dockerd leaves these, and the next waits while the pid in them lives.
        for left in ("run/docker.pid", "run/docker/containerd/containerd.pid"):
            (self.root / left).unlink(missing_ok=True)

    def _write_configuration(self) -> None:
        etc = self.scratch / "etc"
        etc.mkdir()
        host_key = make_key(etc / "host_key")
        (etc / "authorized_keys").write_text(public_key(self.identity) + "\n")
        (etc / "sshd_config").write_text(
            sshd_config(self.port, "/etc/holystone/host_key", "/etc/holystone/authorized_keys")
            + "UsePAM no\n"
        )
        dockerd = "dockerd --bridge=none --iptables=false --ip6tables=false"
        dockerd += f" --cgroup-parent=/{cgroup_name(self.scratch)}"
        init = _INIT.replace("{no_penalties}", NO_PENALTIES).replace("{dockerd}", dockerd)
        (etc / "init.sh").write_text(init)
        self.known_hosts.write_text(f"[{LOOPBACK}]:{self.port} {public_key(host_key)}\n")
        self.unknown_hosts.touch()
