"""A Docker host with compose and a network of its own, for what needs bridges and published ports."""

from __future__ import annotations

import ctypes
import http.client
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.cgroups import cgroup_name
from tests.support.compose_images import load_images
from tests.support.docker_host import DockerHost
from tests.support.paths import CHECKOUT
from tests.support.ports import LOOPBACK
from tests.support.ssh_keys import NO_PENALTIES, public_key
from tests.support.waiting import wait_until

PROJECT = "/srv/holystone"

# What docker-compose.yml and Dockerfile read.
_FILES = (
    "docker-compose.yml",
    "Dockerfile",
    ".dockerignore",
    "requirements.lock",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "celeryconfig.py",
    "worker",
    "tasks",
    "hostside",
)

# First on the PATH of those who log in: while the file is there, prunes wait, and say so.
_HOLDING_DOCKER = r"""#!/bin/sh
while [ "$1 $2" = "builder prune" ] && [ -e /run/hold-prunes ]; do
  touch /run/prune-is-held
  sleep 0.1
done
exec /usr/bin/docker "$@"
"""

# The shell becomes the engine; both it and sshd are children of the machine's process 1, and end with that.
_OWN_NETWORK = rf"""
busybox ip link set lo up
busybox ip address add "$1/32" dev lo
/usr/sbin/sshd -f /etc/holystone/sshd_config -o ListenAddress="$1" -o Port=22 -E /var/log/sshd.log \
  -o 'AuthorizedKeysFile=.ssh/authorized_keys /etc/holystone/authorized_keys' -o '{NO_PENALTIES}'
exec dockerd --cgroup-parent="$2" </dev/null >>/var/log/dockerd.log 2>&1
"""

_CLONE_NEWNET = 0x40000000


class ComposeHost(DockerHost):
    """Debian trixie's engine and compose, this checkout's files in PROJECT, and the base images.

    It starts in this machine's network, where images can be built. `leave_network` moves the engine, its data
    kept, to a network that holds nothing else: there `address` is what containers reach the host by, its port
    22 for ssh.
    """

    address = "10.77.0.1"

    def __init__(self) -> None:
        super().__init__("trixie")

    def _start(self) -> None:
        super()._start()
        load_images(self)
        # For the build, whose packages come from outside.
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        docker = self.root / "usr/local/bin/docker"
        docker.write_text(_HOLDING_DOCKER)
        docker.chmod(0o755)
        self.project.mkdir(parents=True)
        for name in _FILES:
            source = CHECKOUT / name
            if source.is_dir():
                shutil.copytree(source, self.project / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, self.project / name)

    @property
    def project(self) -> Path:
        """PROJECT as seen from here."""
        return self.root / PROJECT.lstrip("/")

    def make_ssh_folder(self, name: str, uid: int) -> None:
        """A folder of the project, for `uid` alone: the key that the host accepts, and the host's own."""
        folder = self.project / name
        folder.mkdir()
        shutil.copy(self.identity, folder / "id_ed25519")
        (folder / "id_ed25519.pub").write_text(f"{public_key(self.identity)}\n")
        host_key = public_key(self.scratch / "etc/host_key")
        (folder / "known_hosts").write_text(f"{self.address} {host_key}\n")
        for path in (folder, *folder.iterdir()):
            os.chown(path, uid, uid)
            path.chmod(0o700 if path.is_dir() else 0o600)

    def add_host(self, url: str, uid: int) -> None:
        """Name `url` in .env too. It leads here, as the `ssh` folder of `uid` says, which forgets our key."""
        env, config = self.project / ".env", self.project / "ssh/config"
        (self.project / "ssh/known_hosts").write_text("")
        env.write_text(re.sub(r"^HOLYSTONE_HOSTS=.*", rf"\g<0> {url}", env.read_text(), flags=re.MULTILINE))
        config.write_text(f"Host {url.rpartition('@')[2]}\n  HostName {self.address}\n")
        os.chown(config, uid, uid)

    def make_secrets(self, **secrets: str) -> None:
        """The project's secrets/, as the README says."""
        folder = self.project / "secrets"
        folder.mkdir(mode=0o700)
        for name, text in secrets.items():
            (folder / name).write_text(f"{text}\n")
            (folder / name).chmod(0o644)

    def leave_network(self) -> None:
        """Start the engine again in an empty network of its own, with bridges and iptables."""
        self.stop_engine()
        self.run(
            "sh", "-c", 'setsid unshare --net sh -ec "$@" >/dev/null 2>&1 &', "leave",
            _OWN_NETWORK, "engine", self.address, f"/{cgroup_name(self.scratch)}",
        )  # fmt: skip
        wait_until(self._engine_answers, 120, "dockerd to answer in its own network", detail=self.engine_log)

    def compose(self, *args: str, env: Mapping[str, str] | None = None, timeout_s: float = 240) -> str:
        """Run `docker compose` in PROJECT; its output. RuntimeError where it fails."""
        variables = [f"{name}={value}" for name, value in (env or {}).items()]
        command = ("docker", "compose", "--project-directory", PROJECT, *args)
        return self.run("env", *variables, *command, timeout_s=timeout_s)

    def on_terminal(self, commands: str, typed: str = "") -> str:
        """What a user sees who types `typed` to these commands in PROJECT. RuntimeError where one fails."""
        shell = ("script", "--quiet", "--return", "--command", 'sh -ec "$COMMANDS"', "/dev/null")
        command = ("env", "--chdir", PROJECT, f"COMMANDS={commands}", *shell)
        shown = self.run(*command, timeout_s=240, stdin=typed.encode())
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", shown)  # colours and the like

    def inspect(self, service: str, template: str) -> str:
        """What `docker inspect` says of the container of `service`."""
        return self.docker("inspect", f"holystone-{service}-1", "--format", template).strip()

    def exec(self, service: str, *argv: str, env: Mapping[str, str] | None = None) -> str:
        """Run a command in the container of `service`; its output. RuntimeError where it fails."""
        variables = [f"--env={name}={value}" for name, value in (env or {}).items()]
        return self.compose("exec", "--no-TTY", *variables, service, *argv).strip()

    @contextmanager
    def held_prune(self) -> Iterator[Callable[[], bool]]:
        """Prunes that begin meanwhile wait; gives a function that says whether one does."""
        hold, held = self.root / "run/hold-prunes", self.root / "run/prune-is-held"
        held.unlink(missing_ok=True)
        hold.touch()
        try:
            yield held.exists
        finally:
            hold.unlink()

    def get(self, port: int, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
        """GET from what is published on the host's loopback `port`: status and body."""
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
        with _network_of(self._engine_pid()):
            connection.connect()
        try:
            connection.request("GET", path, headers=dict(headers))
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


@contextmanager
def _network_of(pid: int) -> Iterator[None]:
    """This thread's new sockets belong to the network of `pid`, and stay there."""
    libc = ctypes.CDLL(None, use_errno=True)
    own, other = (os.open(f"/proc/{which}/ns/net", os.O_RDONLY) for which in ("thread-self", pid))
    try:
        if libc.setns(other, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        yield
    finally:
        libc.setns(own, _CLONE_NEWNET)
        os.close(own)
        os.close(other)
