"""docs/operations.md's "A host in five minutes", with the commands that stand there, on a real host.

With docker compose they are tried in test_compose.py.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docker_host import DockerHost
from tests.support.pages import OPERATIONS, command_blocks, section
from tests.support.paths import CHECKOUT
from tests.support.ports import LOOPBACK, free_port, is_listening
from tests.support.processes import clean_environment, send_signal
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

PAGE = section(OPERATIONS, "A host in five minutes")
MAKE_LOGIN, MAKE_GATE, INSTALL, TRUST_AND_CHECK = command_blocks(PAGE.partition("\n### ")[0])
SETTINGS = re.findall(r"(HOLYSTONE_(?:HOSTS|SSH_IDENTITY)=[^`\s]+)", PAGE)
# As `. .venv/bin/activate` would have it.
PRELUDE = f'export {" ".join(SETTINGS)}; holystone() {{ "{sys.executable}" -m tasks.cli "$@"; }}\n'


@pytest.fixture
def host(bookworm_host: DockerHost) -> Iterator[DockerHost]:
    yield bookworm_host
    # userdel refuses while a process of that user is about to end.
    bookworm_host.run("rm", "-f", "/usr/local/bin/holystone-gate")
    remove = "i=0; until userdel --remove holystone; do i=$((i + 1)); [ $i -lt 300 ] || exit; sleep 0.1; done"
    bookworm_host.run("sh", "-c", f"! id holystone || {{ {remove}; }}")


@pytest.fixture
def port(host: DockerHost) -> Iterator[int]:
    """That of an sshd on the host which reads keys where sshd by itself does, and is as strict."""
    port = free_port()
    options = ("AuthorizedKeysFile=.ssh/authorized_keys", "StrictModes=yes")
    flags = [flag for option in options for flag in ("-o", option)]
    host.run("/usr/sbin/sshd", "-f", "/etc/holystone/sshd_config", "-p", str(port), *flags)
    wait_until(lambda: is_listening(port), 60, "sshd to listen")
    yield port
    for pid in host.pids(f"-p {port}"):
        send_signal(pid, signal.SIGTERM)


@pytest.fixture
def worker_side(tmp_path: Path, port: int, session_redis: RedisServer) -> dict[str, str]:
    """The environment of the worker's user, to whom the host is build-01."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text(f"Host build-01\n  HostName {LOOPBACK}\n  Port {port}\n")
    env = {"PYTHONPATH": str(CHECKOUT), "HOLYSTONE_REDIS_URL": session_redis.url, "TERM": "dumb"}
    env["HOLYSTONE_SSH_CONNECT_TIMEOUT_S"] = "60"
    return clean_environment(tmp_path, env)


def on_terminal(env: dict[str, str], commands: str, typed: str) -> str:
    """What is shown where a user types `typed` to these commands; none of them fails."""
    done = subprocess.run(
        ["script", "--quiet", "--return", "--command", 'sh -ec "$COMMANDS"', "/dev/null"],
        env={**env, "COMMANDS": commands},
        cwd=env["HOME"],
        input=typed,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_host_is_set_up_as_the_page_says(host: DockerHost, worker_side: dict[str, str]) -> None:
    host.run("sh", "-ec", MAKE_LOGIN)
    on_terminal(worker_side, PRELUDE + MAKE_GATE, "")
    for name in ("holystone-gate", "authorized_keys"):
        (host.root / "root" / name).write_bytes((Path(worker_side["HOME"]) / name).read_bytes())
    host.run("sh", "-ec", f"cd /root\n{INSTALL}")

    shown = on_terminal(worker_side, PRELUDE + TRUST_AND_CHECK, "yes\n")

    assert host.run("ssh-keygen", "-lf", "/etc/holystone/host_key.pub").split()[1] in shown
    assert re.search(r"^ +ok +login +as holystone\b", shown, re.MULTILINE), shown
    assert re.search(r"^ +ok +gate ", shown, re.MULTILINE), shown
