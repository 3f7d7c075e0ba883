"""docker-compose.yml as it is used: built, started, scheduled, called by hand, watched in Flower."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.build_cache import cache_bytes, wait_until_unused_for
from tests.support.compose_host import PROJECT, ComposeHost
from tests.support.requirements import require_docker_host
from tests.support.waiting import wait_until

FLOWER = 5555
PASSWORD = "admin:long-and-secret"
UID = 10001
ONE_OFF = ("run", "--rm", "--no-deps", "--no-TTY")
# The network of the build is the only thing that differs from `docker compose build` as users type it.
HOST_NETWORK = "".join(
    f"  {service}:\n    build:\n      network: host\n" for service in ("beat", "worker", "flower")
)


@pytest.fixture(scope="module")
def host() -> Iterator[ComposeHost]:
    """A host with the image built, and .env and ssh/ as docker-compose.yml asks for."""
    require_docker_host()
    with ComposeHost() as host:
        (host.project / "build.yml").write_text(f"services:\n{HOST_NETWORK}")
        (host.project / ".env").write_text(
            f"FLOWER_BASIC_AUTH={PASSWORD}\nHOLYSTONE_HOSTS=ssh://root@{host.address}\n"
        )
        files = ("--file", f"{PROJECT}/docker-compose.yml", "--file", f"{PROJECT}/build.yml")
        host.compose(*files, "build", timeout_s=600)
        host.make_ssh_folder("ssh", UID)
        host.leave_network()
        yield host


@pytest.fixture(scope="module")
def stack(host: ComposeHost) -> ComposeHost:
    """The stack, up and answering; it ends with its host."""
    host.compose("up", "--detach", "--no-build")
    wait_until(lambda: flower_answers(host), 60, "Flower to answer", detail=lambda: host.compose("logs"))
    return host


def flower(host: ComposeHost, path: str, user: str | None = PASSWORD) -> tuple[int, str]:
    token = base64.b64encode((user or "").encode()).decode()
    return host.get(FLOWER, path, {"Authorization": f"Basic {token}"} if user else {})


def flower_answers(host: ComposeHost) -> bool:
    try:
        return flower(host, "/healthcheck")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def in_worker(host: ComposeHost, *argv: str) -> str:
    return host.compose("exec", "--no-TTY", "worker", *argv).strip()


def test_nothing_starts_without_a_password_for_flower(host: ComposeHost) -> None:
    environment = (host.project / ".env").read_text()
    (host.project / ".env").write_text("")
    try:
        with pytest.raises(RuntimeError, match=r"set FLOWER_BASIC_AUTH=user:password in \.env"):
            host.compose("up", "--detach", "--no-build")
    finally:
        (host.project / ".env").write_text(environment)
    assert host.docker("ps", "--all", "--quiet") == ""


def test_nothing_starts_without_the_ssh_folder(host: ComposeHost) -> None:
    with pytest.raises(RuntimeError, match="nowhere"):
        host.compose(*ONE_OFF, "worker", "true", env={"SSH_FOLDER": "./nowhere"})
    assert not (host.project / "nowhere").exists()


def test_flower_wants_the_password(stack: ComposeHost) -> None:
    for path in ("/", "/tasks", "/api/tasks"):
        assert flower(stack, path, None)[0] == 401
        assert flower(stack, path, "admin:wrong")[0] == 401
        assert flower(stack, path)[0] == 200


def test_only_flower_is_published_and_only_on_loopback(stack: ComposeHost) -> None:
    services = [json.loads(line) for line in stack.compose("ps", "--format", "json").splitlines()]
    published = {
        service["Service"]: {p["URL"] for p in service["Publishers"] or [] if p["PublishedPort"]}
        for service in services
    }

    assert published == {"redis": set(), "beat": set(), "worker": set(), "flower": {"127.0.0.1"}}


def test_a_prune_by_hand_is_seen_in_flower(stack: ComposeHost) -> None:
    # Beat's own first run is due at once; two at a time would be one too many for the engine.
    scheduled = wait_until(
        lambda: finished_runs(stack), 60, "beat's first run", detail=lambda: stack.compose("logs")
    )
    assert {run["state"] for run in scheduled} == {"SUCCESS"}
    stack.fill_cache(megabytes=8)
    wait_until_unused_for(stack, 1)
    before = cache_bytes(stack)
    kwargs = json.dumps({"host": stack.address, "until": "1s"})

    task = in_worker(stack, "celery", "-A", "worker", "call", "tasks.prune_build_cache", "--kwargs", kwargs)

    report = wait_until(
        lambda: result_of(stack, task), 60, "the report", detail=lambda: stack.compose("logs")
    )
    assert report is not None
    assert report["host"] == stack.address
    assert report["outcome"] == "done"
    assert report["reclaimed_bytes"] > 8_000_000
    assert before - cache_bytes(stack) > 8_000_000
    status, page = flower(stack, f"/task/{task}")
    assert status == 200
    assert stack.address in page
    assert str(report["reclaimed_bytes"]) in page


def test_the_containers_run_without_root_and_read_the_key_only(stack: ComposeHost) -> None:
    assert in_worker(stack, "id", "-u") == str(UID)
    with pytest.raises(RuntimeError, match="Read-only file system"):
        in_worker(stack, "touch", "/home/holystone/.ssh/new")
    for service in ("beat", "flower"):
        mounts = stack.docker("inspect", f"holystone-{service}-1", "--format", "{{json .Mounts}}")
        assert "ssh" not in mounts


def test_redis_keeps_what_it_remembers(stack: ComposeHost) -> None:
    count = "redis-cli", "dbsize"
    assert (
        stack.compose("exec", "--no-TTY", "redis", "redis-cli", "config", "get", "appendonly").split()[1]
        == "yes"
    )
    assert int(stack.compose("exec", "--no-TTY", "redis", *count)) > 0


def test_the_services_start_without_a_warning(stack: ComposeHost) -> None:
    log = stack.compose("logs", "--no-color", "beat", "worker", "flower")

    for trouble in ("can't be read", "unknown setting", "used instead", "left out", "Traceback"):
        assert trouble not in log


def test_a_settings_file_is_read(host: ComposeHost) -> None:
    (host.project / "fleet.toml").write_text('[hosts.build-77]\nurl = "ssh://root@build-77"\n')
    program = "from worker.settings import get_settings as s; print(*s().fleet, *s().warnings)"
    env = {"SETTINGS_FILE": "./fleet.toml", "HOLYSTONE_HOSTS": ""}

    assert host.compose(*ONE_OFF, "worker", "python", "-c", program, env=env).split() == ["build-77"]


def test_any_user_who_can_read_the_key_will_do(host: ComposeHost) -> None:
    host.make_ssh_folder("ssh-of-4242", 4242)
    script = "id -u && cat ~/.ssh/known_hosts && test -r ~/.ssh/id_ed25519 && celery -A worker report"
    env = {"RUN_AS": "4242:4242", "SSH_FOLDER": "./ssh-of-4242"}

    output = host.compose(*ONE_OFF, "worker", "sh", "-c", script, env=env)

    assert output.startswith(f"4242\n{host.address} ")
    assert "software -> celery:5.6.3" in output


def test_the_image_holds_no_tools_that_it_does_not_need(host: ComposeHost) -> None:
    listing = host.docker(
        "run", "--rm", "--network=none", "holystone:0.1.0",
        "python", "-c", "import importlib.metadata as m; print(*{d.name.lower() for d in m.distributions()})",
    ).split()  # fmt: skip

    assert {"holystone", "celery", "flower"} <= set(listing)
    assert not {"pip", "setuptools", "pytest", "ruff", "mypy"} & set(listing)


def finished_runs(host: ComposeHost) -> list[dict[str, Any]]:
    runs = json.loads(flower(host, "/api/tasks")[1]).values()
    return [run for run in runs if run["state"] in ("SUCCESS", "FAILURE")]


def result_of(host: ComposeHost, task: str) -> dict[str, Any] | None:
    """The report of a finished task, None while it runs."""
    answer = json.loads(flower(host, f"/api/task/result/{task}")[1])
    assert answer["state"] != "FAILURE", answer
    return answer["result"] if answer["state"] == "SUCCESS" else None
