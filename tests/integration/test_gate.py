"""holystone-gate runs what the jobs send and nothing else: alone in three shells, and behind a real sshd."""

from __future__ import annotations

import asyncio
import shlex
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import asyncssh
import pytest

from tasks.command_set import JOBS
from tests.support.gate import MIN_AGE_S, GatedServer, RecordingGate, commands, is_let_in
from tests.support.hostile import ATTACKS, WITH_ALL, mutants
from tests.support.requirements import require
from tests.support.ssh_client import run_on, ssh_settings
from worker.errors import GateDenied
from worker.gate import COMMAND_SET_VERSION, EXIT_DENIED, VERSION_ARGV, Gate, parse_gate_version
from worker.hosts import parse_host
from worker.look import disk_argv
from worker.ssh import open_connection

MUTANTS = 1000  # in each shell, of a gate with --all and of one without
MUTANTS_BY_SSH = 2000
SHELLS = {"dash": ("dash",), "busybox": ("busybox", "sh"), "bash": ("bash", "--posix")}
REAL = [shlex.join(argv) for argv in commands(allow_all=True)]

either_gate = pytest.mark.parametrize("allow_all", [False, True], ids=["no-all", "all"])


@pytest.fixture
def allow_all() -> bool:
    """Whether the gate lets in `--all`; a test for `either_gate` says so itself."""
    return False


@pytest.fixture
def gate(tmp_path: Path, allow_all: bool) -> RecordingGate:
    return RecordingGate(tmp_path / "gate", allow_all=allow_all)


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    require(f"{request.param} (Debian: {request.param})", shutil.which(request.param))
    return SHELLS[request.param]


# Alone, in each shell


@either_gate
def test_every_command_of_the_jobs_runs_with_exactly_its_arguments(
    gate: RecordingGate, allow_all: bool, shell: tuple[str, ...]
) -> None:
    for argv in commands(allow_all):
        done = gate.ask(shlex.join(argv), *shell)
        assert (done.returncode, done.stderr) == (0, b""), argv
    assert gate.calls() == commands(allow_all)


@either_gate
def test_a_prune_with_all_runs_only_where_the_gate_was_made_for_it(
    gate: RecordingGate, allow_all: bool, shell: tuple[str, ...]
) -> None:
    prunes = [WITH_ALL, *(command for command in REAL if command.endswith(" --all"))]
    for command in prunes:
        done = gate.ask(command, *shell)
        if allow_all:
            assert (done.returncode, done.stderr) == (0, b""), command
        else:
            assert done.returncode == EXIT_DENIED, command
            assert done.stderr.startswith(b"holystone-gate: denied: all not allowed ("), command
    assert gate.calls() == [tuple(shlex.split(command)) for command in prunes if allow_all]


@either_gate
def test_attacks_run_nothing(gate: RecordingGate, allow_all: bool, shell: tuple[str, ...]) -> None:
    for attack in (*ATTACKS, None):
        if allow_all and attack == WITH_ALL:
            continue
        if attack is None or "\0" not in attack:  # no variable can hold one
            done = gate.ask(attack, *shell)
            assert (done.returncode, done.stdout) == (EXIT_DENIED, b""), attack
            assert done.stderr.startswith(b"holystone-gate: denied: "), attack
            assert done.stderr.count(b"\n") == 1, attack
    assert gate.calls() == []


def test_a_command_is_too_long_before_it_is_looked_at(gate: RecordingGate, shell: tuple[str, ...]) -> None:
    assert b": not in the command set (" in gate.ask("x" * 512, *shell).stderr
    assert b": too long (" in gate.ask("x" * 513, *shell).stderr
    assert b": too long (" in gate.ask("x" * 100_000, *shell).stderr


def test_bytes_that_are_no_text_run_nothing(gate: RecordingGate, shell: tuple[str, ...]) -> None:
    for text in (b"\xff\xfe", b"docker builder prune --force --filter until=24h\xff", bytes(range(1, 256))):
        assert gate.ask(text, *shell).returncode == EXIT_DENIED
    assert gate.calls() == []


@either_gate
def test_of_mutants_only_those_run_that_a_job_could_send(
    gate: RecordingGate, allow_all: bool, shell: tuple[str, ...]
) -> None:
    tried = list(mutants(REAL, MUTANTS, seed=f"{shell[0]}{allow_all}"))
    good = [mutant for mutant in tried if is_let_in(mutant, allow_all)]
    assert len(good) < MUTANTS / 10
    with ThreadPoolExecutor(4) as pool:
        statuses = pool.map(lambda mutant: gate.ask(mutant, *shell).returncode, tried)
    assert [mutant for mutant, status in zip(tried, statuses, strict=True) if status == 0] == good
    assert sorted(gate.calls()) == sorted(tuple(shlex.split(mutant)) for mutant in good)


def test_the_minimum_age_is_exact(tmp_path: Path, shell: tuple[str, ...]) -> None:
    gate = RecordingGate(tmp_path / "seven-days", min_age_s=604_800)
    ages = {"168h": True, "10080m": True, "604800s": True, "167h": False, "10079m": False, "604799s": False}
    for age, good in ages.items():
        done = gate.ask(f"docker builder prune --force --filter until={age}", *shell)
        assert (done.returncode == 0) is good, age
    assert len(gate.calls()) == 3


def test_the_session_s_environment_does_not_steer_docker(gate: RecordingGate, shell: tuple[str, ...]) -> None:
    gate.stand_in("docker", f"#!/bin/sh\n/usr/bin/env -0 >{gate.folder}/environment\n")
    startup = gate.folder / "startup"
    startup.write_text(f"touch {gate.folder}/sourced\n")
    hostile = dict.fromkeys(("DOCKER_HOST", "DOCKER_CONTEXT", "BUILDX_BUILDER", "HTTPS_PROXY"), "tcp://evil")
    hostile |= {
        "PATH": "/tmp/evil",
        "IFS": "i",
        "LC_ALL": "C.UTF-8",
        "LD_LIBRARY_PATH": "/tmp",
        "CDPATH": "/",
    }
    hostile |= {"ENV": str(startup), "DOCKER_CONFIG": "/tmp", "PS4": "$(id)", "set_version": "9", "hole": "x"}
    command = "docker builder prune --force --filter until=24h"
    absolute = (str(shutil.which(shell[0])), *shell[1:])
    assert gate.ask(command, *absolute, env=hostile).returncode == 0
    found = (gate.folder / "environment").read_text().split("\0")[:-1]
    own = {
        line for line in found if not line.startswith(("PWD=", "OLDPWD=", "_=", "SHLVL="))
    }  # of the stand-in's sh
    assert own == {f"PATH={gate.commands}", f"HOME={gate.folder}", "LC_ALL=C"}
    assert not (gate.folder / "sourced").exists()


def test_a_denial_is_logged_short_and_on_one_printable_line(tmp_path: Path, shell: tuple[str, ...]) -> None:
    gate = RecordingGate(tmp_path / "gate", logger=True)
    log = gate.folder / "logged"
    gate.stand_in("logger", f"#!/bin/sh\nprintf '<%s>' \"$@\" >{log}\n")
    gate.ask("id\nNov 21 sshd[1]: Accepted\x1b[2J \u00e9 %s $(id)" + "x" * 10_000, *shell)
    kept = ("id?Nov 21 sshd[1]: Accepted?[2J ?? %s $(id)" + "x" * 200)[:200]
    assert log.read_text() == f"<-t><holystone-gate><-p><auth.warning><denied: {kept}>"


def test_a_logger_that_fails_changes_nothing(tmp_path: Path, shell: tuple[str, ...]) -> None:
    gate = RecordingGate(tmp_path / "gate", logger=True)
    gate.stand_in("logger", "#!/bin/sh\necho no syslog here >&2\nexit 1\n")
    done = gate.ask("id", *shell)
    assert (done.returncode, done.stderr.count(b"\n")) == (EXIT_DENIED, 1)


# Behind sshd


def ask_all(gated: GatedServer, texts: Sequence[str]) -> list[tuple[int | None, str]]:
    """(exit status, stderr) of each command, in sessions of one connection."""

    async def visit() -> list[tuple[int | None, str]]:
        settings = ssh_settings(gated.server, gated.server.tmp)
        turns = asyncio.Semaphore(8)
        connection = await open_connection(parse_host(gated.server.url), settings)

        async def ask(text: str) -> tuple[int | None, str]:
            async with turns:
                done = await connection.run(text, stdin=asyncssh.DEVNULL)
            return done.exit_status, str(done.stderr)

        try:
            return await asyncio.gather(*map(ask, texts))
        finally:
            connection.close()

    return asyncio.run(visit())


@either_gate
def test_by_ssh_every_command_of_the_jobs_runs_with_exactly_its_arguments(
    gated: GatedServer, allow_all: bool
) -> None:
    gated.gate.install(gated.gate.render(allow_all))
    real = [shlex.join(argv) for argv in commands(allow_all)]
    assert ask_all(gated, real) == [(0, "")] * len(real)
    assert sorted(gated.gate.calls()) == sorted(commands(allow_all))


def test_by_ssh_attacks_run_nothing(gated: GatedServer) -> None:
    attacks = [attack for attack in ATTACKS if "\0" not in attack]
    for attack, (status, stderr) in zip(attacks, ask_all(gated, attacks), strict=True):
        assert status == EXIT_DENIED, attack
        assert stderr.startswith("holystone-gate: denied: "), attack
    assert gated.gate.calls() == []
    assert len(gated.logged()) == len(attacks)


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if "\0" in attack])
def test_by_ssh_a_command_with_a_zero_byte_runs_nothing(gated: GatedServer, attack: str) -> None:
    with suppress(asyncssh.Error):  # sshd hangs up
        ((status, _),) = ask_all(gated, [attack])
        assert status != 0
    assert gated.gate.calls() == []


def test_by_ssh_a_command_longer_than_a_variable_may_be_runs_nothing(gated: GatedServer) -> None:
    ((status, _),) = ask_all(gated, ["docker --version" + " " * 200_000])
    assert status not in (0, None)
    assert gated.gate.calls() == []


@either_gate
def test_by_ssh_of_mutants_only_those_run_that_a_job_could_send(gated: GatedServer, allow_all: bool) -> None:
    gated.gate.install(gated.gate.render(allow_all))
    tried = list(mutants(REAL, MUTANTS_BY_SSH // 2, seed=f"ssh{allow_all}"))
    answers = ask_all(gated, tried)
    let_in = [mutant for mutant, (status, _) in zip(tried, answers, strict=True) if status == 0]
    assert let_in == [mutant for mutant in tried if is_let_in(mutant, allow_all)]
    assert sorted(gated.gate.calls()) == sorted(tuple(shlex.split(mutant)) for mutant in let_in)


def test_the_worker_is_told_of_a_denial_with_the_remedy(gated: GatedServer, tmp_path: Path) -> None:
    settings = ssh_settings(gated.server, tmp_path)
    with pytest.raises(GateDenied, match=r"its minimum is 3600 s: raise until") as failure:
        run_on(gated.server.url, settings, "docker", "builder", "prune", "--force", "--filter", "until=30m")
    assert failure.value.args[3:] == (MIN_AGE_S, COMMAND_SET_VERSION, COMMAND_SET_VERSION)
    with pytest.raises(GateDenied, match=r"switch all off .* or install one .*`holystone gate --allow-all`"):
        run_on(gated.server.url, settings, *shlex.split(WITH_ALL))
    with pytest.raises(GateDenied, match=r"none with blanks.* \(data-root\)"):
        run_on(gated.server.url, settings, *disk_argv("/mnt/big disk"))
    with pytest.raises(GateDenied, match=r"print it anew with `holystone gate`"):
        run_on(gated.server.url, settings, "docker", "ps")
    assert gated.gate.calls() == []


@either_gate
def test_the_gate_says_its_version_and_what_it_lets_in(
    gated: GatedServer, allow_all: bool, tmp_path: Path
) -> None:
    gated.gate.install(gated.gate.render(allow_all))
    done = run_on(gated.server.url, ssh_settings(gated.server, tmp_path), *VERSION_ARGV)
    assert parse_gate_version(done.stdout) == Gate(COMMAND_SET_VERSION, tuple(JOBS), MIN_AGE_S, allow_all)
