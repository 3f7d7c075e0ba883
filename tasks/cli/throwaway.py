"""A Docker host to try things on: an engine and an sshd in namespaces of their own, gone when told so.

Nothing of it reaches the machine's own engine, ssh files or settings: /run and /etc are private, the
engine's disk is memory, and the kernel drops it all with the last process.
"""

import json
import os
import random
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import asyncssh
import psutil

from tasks.cli.local_redis import is_listening
from tasks.cli.processes import ProcessTree
from tasks.cli.programs import BINARIES, CannotStart, Programs, beside
from tasks.cli.services import LOOPBACK
from tasks.cli.throwaway_config import containerd_config, own_passwd, sshd_config

DISK_MB = 512
_START_S = 40
_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")

# Process 1 of the host. It ends with its input (however we end), or when one of the three ends; then the
# kernel kills the rest.
_INIT = r"""
set -e
exec 3<&0
cd "$1"; shift
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir /run/sshd
mount -t tmpfs -o mode=0755 tmpfs etc
cp -a /etc/. etc/
cp passwd etc/passwd
rm -rf etc/docker
mount --bind etc /etc
mount -t tmpfs -o "mode=0711,size=$1m" tmpfs disk
# Without this dockerd would load a profile into the kernel, which stays there.
[ ! -d /sys/kernel/security/apparmor ] || mount -t tmpfs tmpfs /sys/kernel/security
cat <&3 >/dev/null & input=$!
ended() { echo "$1 ended" >&2; echo "$1" > ended; kill "$input"; }
{ "$CONTAINERD" --config "$PWD/containerd.toml" >containerd.log 2>&1 || :; ended containerd; } </dev/null &
# Its own network namespace, or it would switch on IP forwarding on the whole machine.
{ unshare --net "$DOCKERD" --config-file="$PWD/daemon.json" --data-root="$PWD/disk/docker" \
  --exec-root="$PWD/exec" --pidfile="$PWD/docker.pid" --host="unix://$PWD/docker.sock" \
  --containerd="$PWD/containerd.sock" --bridge=none --iptables=false --ip6tables=false --ip-forward=false \
  --userland-proxy=false >dockerd.log 2>&1 || :; ended dockerd; } </dev/null &
{ "$SSHD" -D -e -f "$PWD/sshd_config" >sshd.log 2>&1 || :; ended sshd; } </dev/null &
wait "$input"
"""


def free_port() -> int:
    """A loopback port that nobody listens on, outside of the range that outgoing connections take."""
    for _ in range(1000):
        port = random.randint(12_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise CannotStart("no free loopback port found")


class ThrowawayHost:
    """A Docker host reachable by ssh on loopback. It belongs to `tree`, its files are in `folder`."""

    def __init__(self, programs: Programs, tree: ProcessTree, folder: Path) -> None:
        self._programs, self._tree, self._folder = programs, tree, folder
        self.port = free_port()
        self.name = f"{LOOPBACK}:{self.port}"
        self.url = f"ssh://root@{self.name}"
        self.identity = folder / "identity"
        self.known_hosts = folder / "known_hosts"
        self.home = folder / "home"
        self.socket = folder / "docker.sock"

    def start(self) -> None:
        """Starts it; returns when the engine and sshd answer. Raises CannotStart."""
        self._write_files()
        try:
            self._child = self._tree.start(
                "host",
                [*_NAMESPACES, "sh", "-c", _INIT, "host", str(self._folder), str(DISK_MB)],
                env={
                    "PATH": BINARIES,
                    "HOME": str(self.home),
                    "CONTAINERD": self._programs.containerd,
                    "DOCKERD": self._programs.dockerd,
                    "SSHD": self._programs.sshd,
                },
                cwd=self._folder,
                sink=lambda name, line: None,
                stdin=None,
                stop_signal=signal.SIGKILL,
                stop_last=True,
            )
            self._tree.wait_for(self._ready, _START_S, "the engine and sshd answer")
        except TimeoutError as error:
            raise CannotStart(f"{error}; {self._last_words('dockerd')}") from error

    def docker(self, *args: str) -> str:
        """What the docker CLI prints, spoken to the engine directly. Raises CannotStart where it fails."""
        done = subprocess.run(
            [self._programs.docker, *args],
            env={
                "PATH": f"{beside(self._programs.docker)}:{BINARIES}",
                "HOME": str(self.home),
                "DOCKER_HOST": f"unix://{self.socket}",
                "DOCKER_BUILDKIT": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            if "buildx component is missing" in done.stderr:
                raise CannotStart("docker build needs buildx here; on Debian: apt-get install docker-buildx")
            said = " ".join(done.stderr.split())[-300:] or "it said nothing"
            raise CannotStart(f"docker {args[0]} failed: {said}")
        return done.stdout

    def disk_use(self) -> dict[str, dict[str, Any]]:
        """`docker system df`, by its Type column."""
        rows = map(json.loads, self.docker("system", "df", "--format", "{{json .}}").splitlines())
        return {row["Type"]: row for row in rows}

    def disk_percent(self) -> int:
        """How full the engine's disk is, seen through a process of the host."""
        (process_1, *_) = psutil.Process(self._child.popen.pid).children()
        disk = os.statvfs(f"/proc/{process_1.pid}/root{self._folder}/disk")
        return round(100 * (1 - disk.f_bavail / disk.f_blocks))

    def _ready(self) -> bool:
        ended = self._folder / "ended"
        if ended.exists() and (name := ended.read_text().strip()):
            raise CannotStart(f"{name} ended at once; {self._last_words(name)}")
        if not self._child.running():
            lines = "; ".join(self._child.last_lines) or "it said nothing"
            raise CannotStart(f"no namespaces or mounts for the demo's host here: {lines}")
        if not (self.socket.exists() and is_listening(LOOPBACK, self.port)):
            return False
        try:
            return bool(self.docker("version", "--format", "{{.Server.Version}}"))
        except CannotStart:
            return False

    def _last_words(self, name: str) -> str:
        log = self._folder / f"{name}.log"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return f"its last line: {lines[-1][:300]}" if lines else "it said nothing"

    def _write_files(self) -> None:
        folder = self._folder
        for name in ("home", "disk", "etc", "exec"):
            (folder / name).mkdir()
        (folder / "passwd").write_text(own_passwd(Path("/etc/passwd").read_text(), self.home))
        (folder / "daemon.json").write_text("{}\n")  # not the machine's own /etc/docker/daemon.json
        (folder / "containerd.toml").write_text(containerd_config(folder))
        path = f"{beside(self._programs.docker)}:{BINARIES}"
        (folder / "sshd_config").write_text(sshd_config(folder, self.port, path, self.socket))
        host_key, own_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        for key, file in ((host_key, folder / "host_key"), (own_key, self.identity)):
            file.touch(mode=0o600)
            key.write_private_key(file)
        (folder / "authorized_keys").write_bytes(own_key.export_public_key())
        public = host_key.export_public_key().decode().strip()
        self.known_hosts.write_text(f"[{LOOPBACK}]:{self.port} {public}\n")
