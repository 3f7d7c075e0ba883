"""The files of a throw-away Docker host (pure)."""

from pathlib import Path

from tasks.cli.services import LOOPBACK


def own_passwd(text: str, home: Path) -> str:
    """passwd with another root: its own home, so no dot file is read; a plain shell; not locked."""
    others = [line for line in text.splitlines() if not line.startswith("root:")]
    return "\n".join([f"root:*:0:0:root:{home}:/bin/sh", *others]) + "\n"


def containerd_config(folder: Path) -> str:
    """A containerd that keeps to `folder`; the plugins left out would write to /opt and /etc."""
    return f"""\
version = 2
root = "{folder}/disk/containerd"
state = "{folder}/exec/containerd"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri",
]
[grpc]
address = "{folder}/containerd.sock"
"""


def sshd_config(folder: Path, port: int, path: str, engine: Path) -> str:
    """Loopback, one key, root only; sessions find the engine's own CLI, and that engine."""
    return f"""\
Port {port}
ListenAddress {LOOPBACK}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
AllowUsers root
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitUserRC no
UseDNS no
SetEnv PATH="{path}" DOCKER_HOST="unix://{engine}"
"""
