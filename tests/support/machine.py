"""A machine of its own on this one: a Debian folder in mount, process, host-name and IPC namespaces."""

from __future__ import annotations

import shlex
import signal
import subprocess
from pathlib import Path

from tests.support.processes import command_line, descendants, send_signal
from tests.support.waiting import wait_until

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The root is an overlay of the shared folder, its changes in memory, so all but the engine's data vanishes
# with the mount namespace. The data has a disk folder: overlay2 can't stand on an overlay.
_ENTER = r"""
set -e
chroot=$1 scratch=$2 hostname=$3
mount -t tmpfs -o mode=0755 tmpfs "$scratch/memory"
cd "$scratch/memory"
mkdir upper work root
mount -t overlay -o "lowerdir=$chroot,upperdir=$PWD/upper,workdir=$PWD/work" overlay root
mount -t proc proc root/proc
mount --rbind /sys root/sys
mount --rbind /dev root/dev
mount -t tmpfs -o mode=0755 tmpfs root/run
mkdir -p root/run/sshd root/etc/holystone root/var/lib/docker
mount --bind "$scratch/docker" root/var/lib/docker
cp "$scratch"/etc/* root/etc/holystone/
chmod 600 root/etc/holystone/host_key
echo "$hostname" > root/etc/hostname
hostname "$hostname"
cd root
pivot_root . mnt
exec chroot . /bin/bash -c 'umount -l /mnt; . /etc/holystone/init.sh'
"""


class Machine:
    """Runs `scratch/etc/init.sh` as process 1, whose input is a pipe from here.

    Process 1 must end when that pipe closes: then the kernel kills the rest of the namespace and drops its
    mounts, even where the process that held the pipe was SIGKILLed.
    """

    def __init__(self, chroot: Path, scratch: Path, hostname: str) -> None:
        self._log = scratch / "start.log"
        (scratch / "memory").mkdir()
        (scratch / "docker").mkdir()
        namespaces = ("--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child=KILL")
        with self._log.open("wb") as log:
            self._unshare = subprocess.Popen(
                ["unshare", *namespaces, "sh", "-c", _ENTER, "enter", str(chroot), str(scratch), hostname],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # A Ctrl-C in the terminal must reach the tests first, not the engine.
                start_new_session=True,
                env={"PATH": _PATH, "HOME": "/root"},
            )
        try:
            self.pid = wait_until(self._process_1, 60, "process 1 of the machine")
            # Until then its root folder is this machine's own, where another engine may answer.
            wait_until(self._has_entered, 60, "process 1 to have its own root folder")
        except BaseException:
            self.end()
            raise

    @property
    def root(self) -> Path:
        """The machine's root folder, as seen from outside."""
        return Path(f"/proc/{self.pid}/root")

    def check(self) -> None:
        """AssertionError, with what it printed, where the machine has ended."""
        assert self._unshare.poll() is None, f"the machine ended:\n{self._log.read_text()}"

    def tell(self, line: str) -> None:
        """Send process 1 a line."""
        assert self._unshare.stdin is not None
        self._unshare.stdin.write(line.encode() + b"\n")
        self._unshare.stdin.flush()

    def run(self, *argv: str, timeout_s: float = 120, stdin: bytes = b"") -> str:
        """Run a command inside; its output. RuntimeError where it fails."""
        done = subprocess.run(
            ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--uts", "--ipc", "--", *argv],
            env={"PATH": _PATH, "HOME": "/root", "DOCKER_BUILDKIT": "1"},
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{shlex.join(argv)} failed ({done.returncode}): {done.stderr.decode()}")
        return done.stdout.decode()

    def pids(self, pattern: str = "") -> list[int]:
        """The processes whose command line holds `pattern`, process 1 aside."""
        return [pid for pid in descendants(self.pid) if pattern in command_line(pid)]

    def end(self) -> None:
        """Kill every process at once; returns when all, and the mounts, are gone."""
        # unshare ends after process 1, and that after all others of its namespace.
        for pid in descendants(self._unshare.pid)[:1]:
            send_signal(pid, signal.SIGKILL)
        if self._unshare.stdin:
            self._unshare.stdin.close()
        self._unshare.wait()

    def _has_entered(self) -> bool:
        self.check()
        return (self.root / "etc/holystone/init.sh").exists()

    def _process_1(self) -> int:
        self.check()
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text().split()
        return int(children[0]) if children else 0
