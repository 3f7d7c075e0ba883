"""The Docker hosts that every end-to-end test stands on are what they claim to be."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.build_cache import cache_bytes, cache_records, wait_until_unused_for
from tests.support.cgroups import cgroups_named
from tests.support.chroots import USERS
from tests.support.docker_host import DockerHost
from tests.support.openssh import ssh
from tests.support.paths import CHECKOUT
from tests.support.processes import is_running
from tests.support.requirements import require_docker_host
from tests.support.waiting import wait_until

ENGINES = {"bookworm": "20.10.", "trixie": "26.1.", "forky": "28.5."}
PRUNE = ("docker", "builder", "prune", "--force", "--filter", "until=1s")


def test_each_host_runs_the_engine_of_its_suite(docker_host: DockerHost) -> None:
    version = ssh(docker_host, "docker", "version", "--format", "{{.Server.Version}}")

    assert version.startswith(ENGINES[docker_host.suite])
    assert docker_host.docker("version", "--format", "{{.Server.Version}}") == version


@pytest.mark.parametrize("user", USERS)
def test_users_of_the_docker_group_reach_the_engine(trixie_host: DockerHost, user: str) -> None:
    assert ssh(trixie_host, "docker", "info", "--format", "{{.ID}}", user=user).strip()
    assert ssh(trixie_host, "id", "-un", user=user).strip() == user


def test_builder_prune_over_ssh_prints_the_form_of_its_cli(docker_host: DockerHost) -> None:
    docker_host.fill_cache(megabytes=6)
    assert cache_bytes(docker_host) > 6_000_000
    assert sum(record["Type"] == "source.local" for record in cache_records(docker_host)) >= 2
    wait_until_unused_for(docker_host, 1)

    output = ssh(docker_host, *PRUNE)

    last_line = output.rstrip().splitlines()[-1]
    form = "Total reclaimed space: " if docker_host.suite == "bookworm" else "Total:\t"
    assert last_line.startswith(form)
    assert last_line.endswith("MB")
    assert cache_records(docker_host) == []
    assert docker_host.docker("images", "--quiet") == ""


def test_a_killed_engine_comes_back_with_its_data(docker_host: DockerHost) -> None:
    docker_host.fill_cache(megabytes=1)
    before = cache_bytes(docker_host)

    docker_host.kill_engine()
    assert docker_host.processes("dockerd ") == []
    docker_host.start_engine()

    assert cache_bytes(docker_host) == before


def test_a_paused_engine_does_not_answer_until_resumed(forky_host: DockerHost) -> None:
    forky_host.pause_engine()
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            forky_host.docker("version", timeout_s=0.5)
    finally:
        forky_host.resume_engine()
    assert forky_host.docker("version")


def test_nothing_is_left_of_a_stopped_host() -> None:
    require_docker_host()
    with DockerHost("bookworm") as host:
        host.fill_cache(megabytes=1)
        scratch = host.scratch
        pids = host.pids()
        assert len(pids) >= 3
    assert not any(map(is_running, pids))
    assert not scratch.exists()
    assert str(scratch) not in Path("/proc/self/mountinfo").read_text()
    assert cgroups_named(scratch.name) == []


# Both print the pids that must go with them, then wait to be killed.
_STARTS_A_HOST = """
import sys
from tests.support.docker_host import DockerHost
with DockerHost("bookworm") as host:
    host.fill_cache(megabytes=1)
    print(*host.pids(), host.scratch, flush=True)
    sys.stdin.read()
"""
_STARTS_A_PROCESS = """
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tests.support.processes import Process, clean_environment
argv = ["sh", "-c", "sleep 600 & echo $$ $! > pids.new; mv pids.new pids; wait"]
with Process(argv, env=clean_environment(Path.cwd()), log=Path("log")):
    while not Path("pids").exists():
        pass
    print(Path("pids").read_text().strip(), Path.cwd(), flush=True)
    sys.stdin.read()
"""


@contextmanager
def starter(script: str, folder: Path) -> Iterator[tuple[list[int], Path]]:
    """Run `script` in a Python of its own, yield what it printed, then SIGKILL it."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            assert select.select([process.stdout], [], [], 180)[0], "it printed nothing"
            *pids, scratch = process.stdout.readline().split()
            yield list(map(int, pids)), Path(scratch)
        finally:
            process.kill()


def test_a_host_goes_with_the_process_that_started_it(tmp_path: Path) -> None:
    require_docker_host()
    with starter(_STARTS_A_HOST, tmp_path) as (pids, scratch):
        # Sshd, dockerd and containerd; a command of theirs may have ended since.
        assert sum(map(is_running, pids)) >= 3

    wait_until(lambda: not any(map(is_running, pids)), 60, "the host to end with its starter")
    # Its files and control groups are removed when the next host starts.
    with DockerHost("bookworm"):
        assert not scratch.exists()
        # Another's host, started now, may be at it.
        wait_until(lambda: not cgroups_named(scratch.name), 60, "its control groups to be gone")


def test_a_process_and_its_children_go_with_the_process_that_started_it(tmp_path: Path) -> None:
    with starter(_STARTS_A_PROCESS, tmp_path) as (pids, _):
        assert len(pids) == 2
        assert all(map(is_running, pids))

    wait_until(lambda: not any(map(is_running, pids)), 60, "the process group to end with its starter")
