"""A light real sshd on this machine, with stand-in commands instead of an engine."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import LOOPBACK, free_port, is_listening
from tests.support.processes import (
    Process,
    clean_environment,
    command_line,
    descendants,
    environment_of,
    is_running,
    send_signal,
)
from tests.support.scripts import put_script
from tests.support.ssh_keys import NO_PENALTIES, make_key, public_key, sshd_config
from tests.support.waiting import wait_until

_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


def find_sshd() -> str | None:
    """sshd's own path, which it wants to be started by; not on every user's PATH."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class SshServer:
    """sshd on loopback for the current user (root or not), with keys of its own in `tmp`."""

    def __init__(self, tmp: Path, *, curve25519: bool = False) -> None:
        self.tmp = tmp
        self._curve25519 = curve25519
        self.user = getpass.getuser()
        self.commands = tmp / "commands"
        self._home = tmp / "home"
        self.log_path = tmp / "sshd.log"
        self.known_hosts = tmp / "known_hosts"
        # Paths to hand to a client instead of the right ones.
        self.unknown_hosts = tmp / "unknown_hosts"
        self.wrong_identity = tmp / "wrong_identity"
        self.identity = tmp / "identity"
        self._process: Process | None = None
        self.port = free_port()

    @property
    def name(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        return f"ssh://{self.user}@{self.name}"

    def __enter__(self) -> Self:
        for folder in (self.tmp, self.commands, self._home):
            folder.mkdir(parents=True, exist_ok=True)
        make_key(self.identity)
        make_key(self.wrong_identity)
        make_key(self.tmp / "host_key")
        (self.tmp / "authorized_keys").write_text(public_key(self.identity) + "\n")
        self.known_hosts.write_text(f"[{LOOPBACK}]:{self.port} {public_key(self.tmp / 'host_key')}\n")
        self.unknown_hosts.touch()
        self._write_config()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        sshd = find_sshd()
        assert sshd, "sshd is not installed"
        if os.geteuid() == 0:
            # sshd won't start without it; Debian makes it only when the service starts.
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        argv = [sshd, "-D", "-e", "-f", str(self.tmp / "sshd_config")]
        environment = clean_environment(self._home)
        newer = subprocess.run(
            [*argv, "-t", "-o", NO_PENALTIES],
            env=environment,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        options = ["-o", NO_PENALTIES] if newer.returncode == 0 else []
        process = self._process = Process([*argv, *options], env=environment, log=self.log_path)

        def listening() -> bool:
            assert process.running(), f"sshd did not start:\n{process.log()}"
            return is_listening(self.port)

        wait_until(listening, 60, "sshd to listen")

    def stop(self) -> None:
        """End sshd and every session, with whatever runs in it. The port then refuses connections."""
        if self._process is None:
            return
        process, self._process = self._process, None
        # A session's command has a process group of its own, so killing sshd's group would leave it.
        sessions = descendants(process.pid)
        process.kill_all()
        for pid in sessions:
            send_signal(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, sessions)), 60, "sshd's sessions to end")

    def cut_sessions(self) -> int:
        """Kill every session (not the commands in it), as a dying link would; how many there were."""
        assert self._process is not None
        sessions = [pid for pid in descendants(self._process.pid) if command_line(pid).startswith("sshd")]
        for pid in sessions:
            send_signal(pid, signal.SIGKILL)
        return len(sessions)

    def change_host_key(self) -> None:
        """Come back with another host key, while known_hosts keeps the old."""
        self.stop()
        make_key(self.tmp / "host_key")
        self.start()

    def stand_in(self, name: str, script: str) -> Path:
        """Make `name` a command of the sessions, ahead of any real one: sh, or by its own `#!`."""
        text = script if script.startswith("#!") else f"#!/bin/sh\n{script}\n"
        return put_script(self.commands / name, text)

    def processes(self, pattern: str = "") -> list[str]:
        """The command lines below sshd (sessions and what runs in them) that hold `pattern`."""
        assert self._process is not None
        lines = (command_line(pid) for pid in descendants(self._process.pid))
        return [line for line in lines if line and pattern in line]

    def wait_quiet(self) -> None:
        """Wait until no session is left, nor a command that outlived its own.

        A command whose link was cut may only be about to start, and a session may be about to write its log.
        """
        wait_until(
            lambda: not self.processes() and not self._commands_left(),
            60,
            "sshd's sessions and their commands to end",
            detail=lambda: "\n".join([*self.processes(), *self._commands_left()]),
        )

    def _commands_left(self) -> list[str]:
        """The command lines of what has the sessions' PATH, whoever its parent is by now."""
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [command_line(pid) for pid in pids if str(self.commands) in environment_of(pid)]

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def _write_config(self) -> None:
        text = sshd_config(self.port, str(self.tmp / "host_key"), str(self.tmp / "authorized_keys"))
        if self._curve25519:
            text += "KexAlgorithms curve25519-sha256\n"
        # HOME too: the user's own .bashrc, which Debian's bash reads in ssh sessions, could change PATH.
        text += f'SetEnv PATH="{self.commands}:{_SYSTEM_PATH}" HOME="{self._home}"\n'
        # Without PAM, which a user who is not root can't use, sshd refuses an account locked by "!".
        text += f"UsePAM {'yes' if _is_locked(self.user) else 'no'}\n"
        (self.tmp / "sshd_config").write_text(text)


def _is_locked(user: str) -> bool:
    try:
        lines = Path("/etc/shadow").read_text().splitlines()
    except OSError:
        return False
    return any(line.startswith(f"{user}:!") for line in lines)
