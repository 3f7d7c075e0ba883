"""What the gate's line in authorized_keys denies beside commands: files, forwarding, a terminal, variables.

Each is tried with the confined key, and with one that nothing confines: there it must work, else the test
would say nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gate import GatedServer
from tests.support.ports import LOOPBACK, free_port, is_listening
from tests.support.processes import Process, clean_environment
from tests.support.waiting import wait_until
from worker.gate import EXIT_DENIED

PRUNE = "docker builder prune --force --filter until=24h"
GREETING = b"hello"

either_key = pytest.mark.parametrize("confined", [True, False], ids=["confined", "open"])


def options(gated: GatedServer, confined: bool) -> list[str]:
    identity = gated.server.identity if confined else gated.open_identity
    wanted = ("BatchMode=yes", "IdentitiesOnly=yes", f"UserKnownHostsFile={gated.server.known_hosts}")
    return ["-F", "none", "-i", str(identity), *(part for option in wanted for part in ("-o", option))]


def ssh(
    gated: GatedServer, confined: bool, *args: str, stdin: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    argv = ["ssh", *options(gated, confined), "-p", str(gated.server.port), "-l", gated.server.user]
    return run([*argv, *args], stdin, env)


def run(
    argv: list[str], stdin: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        argv, input=stdin, env={**os.environ, **(env or {})}, capture_output=True, timeout=120, check=False
    )


@contextlib.contextmanager
def greeting(server: socket.socket) -> Iterator[socket.socket]:
    """Sends GREETING to whoever connects to `server`, which listens."""

    def greet() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection, contextlib.suppress(OSError):  # is_listening leaves at once
                    connection.sendall(GREETING)

    with server:
        threading.Thread(target=greet, daemon=True).start()
        yield server
        server.shutdown(socket.SHUT_RDWR)


def listener() -> contextlib.AbstractContextManager[socket.socket]:
    return greeting(socket.create_server((LOOPBACK, 0)))


@contextlib.contextmanager
def tunnel(gated: GatedServer, confined: bool, tmp: Path, *args: str) -> Iterator[Process]:
    """`ssh -N ARGS`, in the background."""
    where = ["-p", str(gated.server.port), f"{gated.server.user}@{LOOPBACK}"]
    argv = ["ssh", *options(gated, confined), "-N", *args, *where]
    with Process(argv, env=clean_environment(tmp), log=tmp / "tunnel.log") as process:
        yield process


def received(port: int, request: bytes = b"", answer: int = 0) -> bytes:
    """What comes over loopback `port`, after `request` and the `answer` bytes that it gets."""
    with (
        socket.create_connection((LOOPBACK, port), timeout=60) as connection,
        contextlib.suppress(ConnectionResetError),
    ):
        if request:
            connection.sendall(request)
            connection.recv(answer)
        return connection.recv(100)
    return b""


def is_served(path: Path) -> bool:
    """Whether something accepts connections on a unix socket, which is there before it does."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@either_key
def test_a_login_without_a_command(gated: GatedServer, confined: bool) -> None:
    done = ssh(gated, confined, LOOPBACK, stdin=b"echo in the $0 shell; exit\n")
    assert done.returncode == (EXIT_DENIED if confined else 0)
    assert (b"shell" in done.stdout) is not confined
    assert (b"\nholystone-gate: denied: " in done.stderr) is confined


@either_key
@pytest.mark.parametrize("how", [["sftp", "-b", "BATCH"], ["scp"], ["scp", "-O"]], ids=" ".join)
def test_fetching_and_bringing_files(
    gated: GatedServer, confined: bool, how: list[str], tmp_path: Path
) -> None:
    there, here, brought = tmp_path / "there", tmp_path / "here", tmp_path / "brought"
    there.write_text("secret")
    where = f"{gated.server.user}@{LOOPBACK}"
    port = ["-P", str(gated.server.port)]
    if how[0] == "sftp":
        batch = tmp_path / "batch"
        batch.write_text(f"get {there} {here}\nput {there} {brought}\n")
        run(["sftp", *options(gated, confined), *port, "-b", str(batch), where])
    else:
        for source, target in ((f"{where}:{there}", str(here)), (str(there), f"{where}:{brought}")):
            run([*how, *options(gated, confined), *port, source, target])
    assert here.exists() is not confined
    assert brought.exists() is not confined


@either_key
def test_stdio_forwarding(gated: GatedServer, confined: bool) -> None:
    with listener() as server:
        done = ssh(gated, confined, "-W", f"{LOOPBACK}:{server.getsockname()[1]}", LOOPBACK)
    assert done.stdout == (b"" if confined else GREETING)
    assert (b"administratively prohibited" in done.stderr) is confined


@either_key
def test_local_forwarding(gated: GatedServer, confined: bool, tmp_path: Path) -> None:
    near = free_port()
    with listener() as server:
        far = server.getsockname()[1]
        with tunnel(gated, confined, tmp_path, "-L", f"{near}:{LOOPBACK}:{far}"):
            wait_until(lambda: is_listening(near), 60, "ssh -L")
            assert received(near) == (b"" if confined else GREETING)


@either_key
def test_local_forwarding_to_docker_s_socket(gated: GatedServer, confined: bool, tmp_path: Path) -> None:
    near, path = free_port(), tmp_path / "docker.sock"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    with greeting(server), tunnel(gated, confined, tmp_path, "-L", f"{near}:{path}"):
        wait_until(lambda: is_listening(near), 60, "ssh -L")
        assert received(near) == (b"" if confined else GREETING)


@either_key
def test_dynamic_forwarding(gated: GatedServer, confined: bool, tmp_path: Path) -> None:
    near = free_port()
    with listener() as server, tunnel(gated, confined, tmp_path, "-D", str(near)):
        wait_until(lambda: is_listening(near), 60, "ssh -D")
        port = server.getsockname()[1]
        request = b"\x04\x01" + port.to_bytes(2, "big") + socket.inet_aton(LOOPBACK) + b"\0"  # SOCKS 4
        assert received(near, request, 8) == (b"" if confined else GREETING)


@either_key
def test_remote_forwarding(gated: GatedServer, confined: bool, tmp_path: Path) -> None:
    far = free_port()
    wanted = ["-o", "ExitOnForwardFailure=yes", "-R", f"{far}:{LOOPBACK}:{free_port()}"]
    with tunnel(gated, confined, tmp_path, *wanted) as process:
        wait_until(lambda: not process.running() or is_listening(far), 60, "ssh -R to fail, or to work")
        assert process.running() is not confined
        assert is_listening(far) is not confined


@either_key
def test_a_terminal(gated: GatedServer, confined: bool) -> None:
    done = ssh(gated, confined, "-tt", LOOPBACK, "env")
    assert (b"PTY allocation request failed" in done.stderr) is confined
    assert (b"SSH_TTY=" in done.stdout) is not confined


@either_key
def test_the_agent_and_x11(gated: GatedServer, confined: bool, tmp_path: Path) -> None:
    gated.gate.install("#!/bin/sh\nenv\n")  # in the gate's place, to see what sshd gave the session
    agent = tmp_path / "agent"
    with Process(
        ["ssh-agent", "-D", "-a", str(agent)], env=clean_environment(tmp_path), log=tmp_path / "log"
    ):
        wait_until(lambda: is_served(agent), 60, "the agent")
        wanted = ["-A", "-o", "ForwardX11=yes", "-o", "ForwardX11Trusted=yes"]
        env = {"SSH_AUTH_SOCK": str(agent), "DISPLAY": f"{LOOPBACK}:99"}
        done = ssh(gated, confined, *wanted, LOOPBACK, "env", env=env)
    given = {line.split("=")[0] for line in done.stdout.decode().splitlines()}
    assert "SSH_CONNECTION" in given
    assert given & {"SSH_AUTH_SOCK", "DISPLAY"} == (set() if confined else {"SSH_AUTH_SOCK", "DISPLAY"})


@either_key
def test_input(gated: GatedServer, confined: bool) -> None:
    gated.gate.stand_in("docker", "#!/bin/sh\ncat\n")
    command = PRUNE if confined else f"{gated.gate.commands}/{PRUNE}"
    done = ssh(gated, confined, LOOPBACK, command, stdin=b"from the client")
    assert (done.returncode, done.stdout) == (0, b"" if confined else b"from the client")


@either_key
def test_variables_of_the_client_do_not_reach_docker(gated: GatedServer, confined: bool) -> None:
    gated.gate.stand_in("docker", "#!/bin/sh\nenv\n")
    sent = {"LC_ALL": "de_DE.UTF-8", "LC_EVIL": "x", "DOCKER_HOST": "tcp://evil", "ENV": "/tmp/x"}
    setenv = "SetEnv=" + " ".join(f"{name}={value}" for name, value in sent.items())
    command = PRUNE if confined else f"PATH={gated.gate.commands}:$PATH {PRUNE}"
    done = ssh(gated, confined, "-o", setenv, LOOPBACK, command)
    given = set(done.stdout.decode().splitlines())
    arrived = {f"{name}={value}" for name, value in sent.items()} & given
    assert len(arrived) == (0 if confined else len(sent))
    assert ("LC_ALL=C" in given) is confined
