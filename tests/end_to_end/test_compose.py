"""docker-compose.yml as it is used: built, started, scheduled, called by hand, watched in Flower."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.build_cache import cache_bytes, wait_until_unused_for
from tests.support.compose_host import PROJECT, ComposeHost
from tests.support.compose_stack import (
    PASSWORD,
    REDIS_PASSWORD,
    UNHEALTHY_WITHIN_S,
    flower,
    flower_answers,
    flower_hears,
    hanging,
    processes_of,
    prune_by_hand,
    redis_cli,
    result_of,
    stored_results,
    wait_for_health,
    wait_for_redis,
    wait_for_report,
)
from tests.support.pages import OPERATIONS, command_blocks, section
from tests.support.requirements import require_docker_host
from tests.support.waiting import wait_until
from worker.limits import GRACE_S, LONGEST_BACKOFF_S

TOKEN = "message-token-and-secret"
UID = 10001
SERVICES = ("redis", "beat", "worker", "flower")
TIMEOUT_S = 60  # of a look at a disk too: with a shorter one nothing would be done again any sooner
# The visibility timeout, and up to 100 s until Celery looks at it.
DONE_AGAIN_S = TIMEOUT_S + GRACE_S + LONGEST_BACKOFF_S + 15 + 100
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
            f"HOLYSTONE_HOSTS=ssh://root@{host.address}\nHOLYSTONE_PRUNE_TIMEOUT_S={TIMEOUT_S}\n"
            "HOLYSTONE_SSH_CONNECT_TIMEOUT_S=40\n"
            "HOLYSTONE_NOTIFY_URLS_FILE=./secrets/notify_urls\n"
        )
        host.make_secrets(
            redis_password=REDIS_PASSWORD,
            flower_basic_auth=PASSWORD,
            notify_urls=f"json://127.0.0.1:9/{TOKEN}",
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
    wait_until(lambda: flower_answers(host), 120, "Flower to answer", detail=lambda: host.compose("logs"))
    return host


@pytest.mark.parametrize("secret", ["redis_password", "flower_basic_auth", "notify_urls"])
def test_nothing_starts_without_the_secrets_that_are_named(host: ComposeHost, secret: str) -> None:
    path = host.project / "secrets" / secret
    path.rename(path.with_suffix(".away"))
    try:
        with pytest.raises(RuntimeError, match=f"secrets/{secret}"):
            host.compose("up", "--detach", "--no-build")
    finally:
        path.with_suffix(".away").rename(path)
    assert host.docker("ps", "--quiet") == ""


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
    # Beat's own first run is due at once; two at a time would be one too many for the engine. Flower may have
    # started too late to hear of it.
    scheduled = wait_until(
        lambda: stored_results(stack), 120, "beat's first run", detail=lambda: stack.compose("logs")
    )
    assert {json.loads(text)["status"] for text in scheduled.values()} == {"SUCCESS"}
    wait_until(lambda: flower_hears(stack), 60, "Flower to hear the worker")
    stack.fill_cache(megabytes=8)
    wait_until_unused_for(stack, 1)
    before = cache_bytes(stack)

    task = prune_by_hand(stack, until="1s")

    report = wait_until(
        lambda: result_of(stack, task), 120, "the report", detail=lambda: stack.compose("logs")
    )
    assert report is not None
    assert report["host"] == stack.address
    assert report["outcome"] == "done"
    assert report["reclaimed_bytes"] > 8_000_000
    assert before - cache_bytes(stack) > 8_000_000
    page = wait_until(lambda: shown_by_flower(stack, task, report), 60, "Flower to have heard of its end")
    assert stack.address in page


def shown_by_flower(stack: ComposeHost, task: str, report: dict[str, Any]) -> str:
    """The task's page, empty until that has the report."""
    status, page = flower(stack, f"/task/{task}")
    return page if status == 200 and str(report["reclaimed_bytes"]) in page else ""


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_can_do_little(stack: ComposeHost, service: str) -> None:
    for path in ("/new", "/etc/new", "/usr/local/bin/new", "/home/new"):
        with pytest.raises(RuntimeError, match="Read-only file system"):
            stack.exec(service, "touch", path)
    own = stack.exec(service, "cat", "/proc/self/status")
    for status in (own, Path(f"/proc/{processes_of(stack, service)[0]}/status").read_text()):
        held = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert {held[kind] for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
        assert held["NoNewPrivs"] == "1"
        assert "0" not in held["Uid"].split()
    limits = json.loads(stack.inspect(service, "{{json .HostConfig}}"))
    assert 128 * 1024**2 <= limits["Memory"] <= 1024**3
    assert 50 <= limits["PidsLimit"] <= 500
    assert limits["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "5", "max-size": "10m"}}
    assert limits["RestartPolicy"]["Name"] == "unless-stopped"
    assert limits["Init"] is True


def test_the_containers_run_without_root_and_read_the_key_only(stack: ComposeHost) -> None:
    assert stack.exec("worker", "id", "-u") == str(UID)
    with pytest.raises(RuntimeError, match="Read-only file system"):
        stack.exec("worker", "touch", "/home/holystone/.ssh/new")
    for service in ("beat", "flower"):
        assert "ssh" not in stack.inspect(service, "{{json .Mounts}}")


def test_the_password_of_redis_is_needed(stack: ComposeHost) -> None:
    assert stack.exec("redis", "redis-cli", "dbsize") == "NOAUTH Authentication required."
    assert redis_cli(stack, "ping") == "PONG"


def test_no_password_is_where_others_look(stack: ComposeHost) -> None:
    seen = stack.compose("logs", "--no-color") + stack.compose("config")
    seen += "".join(stack.inspect(service, "{{json .}}") for service in SERVICES)
    for pid in (pid for service in SERVICES for pid in processes_of(stack, service)):
        for file in ("cmdline", "environ"):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                seen += Path(f"/proc/{pid}/{file}").read_text(errors="replace")

    assert "HOLYSTONE_REDIS_PASSWORD_FILE" in seen
    assert "HOLYSTONE_NOTIFY_URLS_FILE=/run/secrets/notify_urls" in seen
    passwords = (REDIS_PASSWORD, quote(REDIS_PASSWORD, safe=""), PASSWORD, PASSWORD.partition(":")[2])
    for secret in (*passwords, TOKEN):
        assert secret not in seen


@pytest.mark.parametrize("service", ["beat", "worker", "flower"])
def test_message_urls_are_a_secret_that_may_be_left_out(stack: ComposeHost, service: str) -> None:
    program = (
        "from worker.settings import get_settings; s = get_settings();"
        "print(*(url.get_secret_value() for url in s.notify_urls), *s.warnings)"
    )
    without = {"HOLYSTONE_NOTIFY_URLS_FILE": ""}

    assert stack.exec(service, "python", "-c", program) == f"json://127.0.0.1:9/{TOKEN}"
    assert stack.compose(*ONE_OFF, service, "python", "-c", program, env=without).strip() == ""


def test_redis_keeps_what_it_remembers(stack: ComposeHost) -> None:
    settings = dict.fromkeys(("appendonly", "maxmemory-policy", "maxmemory"), "")
    for name in settings:
        settings[name] = redis_cli(stack, "--raw", "config", "get", name).split()[1]

    assert settings == {
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",
        "maxmemory": str(384 * 1024**2),
    }
    assert int(redis_cli(stack, "--raw", "dbsize")) > 0


def test_a_stop_waits_longer_than_a_run_may_take(stack: ComposeHost) -> None:
    assert int(stack.inspect("worker", "{{.Config.StopTimeout}}")) == TIMEOUT_S + 60 > TIMEOUT_S + GRACE_S


@pytest.mark.parametrize(
    ("env", "period"),
    [
        ({"HOLYSTONE_PRUNE_TIMEOUT_S": "900"}, "16m0s"),
        ({"HOLYSTONE_PRUNE_TIMEOUT_S": ""}, "3m0s"),
        ({"STOP_GRACE_PERIOD": "20m"}, "20m0s"),
    ],
)
def test_a_stop_waits_by_the_limit_unless_it_is_told_how_long(
    host: ComposeHost, env: dict[str, str], period: str
) -> None:
    services = json.loads(host.compose("config", "--format", "json", env=env))["services"]
    assert services["worker"]["stop_grace_period"] == period


def test_the_command_of_the_docs_works_in_the_worker(stack: ComposeHost) -> None:
    def holystone(*args: str) -> str:
        return stack.exec("worker", "holystone", *args)

    gate = holystone("gate")
    assert gate.startswith("#!/bin/sh\n")
    assert "\nmin_age_s=3600\n" in gate

    def services_are_ok() -> bool:
        services, checked = json.loads(holystone("check", "--json"))
        assert checked["host"] == stack.address
        return {check["status"] for check in services["checks"]} == {"ok"}

    # A busy machine's worker may answer a ping too late.
    wait_until(services_are_ok, 60, "worker, beat and the rest to be well", detail=lambda: holystone("check"))
    holystone("pause", stack.address, "--for", "2h", "--by", "ci")
    try:
        assert "paused" in holystone("hosts")
        assert wait_for_report(stack, prune_by_hand(stack), 120)["outcome"] == "skipped"
    finally:
        holystone("resume", stack.address)
    assert "paused" not in holystone("hosts")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_works_is_healthy(stack: ComposeHost, service: str) -> None:
    wait_for_health(stack, service, "healthy")


def test_the_services_start_without_a_warning(stack: ComposeHost) -> None:
    log = stack.compose("logs", "--no-color", "beat", "worker", "flower")

    for trouble in ("can't be read", "unknown setting", "used instead", "left out", "Traceback"):
        assert trouble not in log


def test_what_hangs_is_unhealthy_in_time(stack: ComposeHost) -> None:
    def wait_until_unhealthy(service: str, since: float) -> None:
        # Twice what the checks add up to (test_examples.py): on a busy machine each takes longer.
        limit_s = 2 * UNHEALTHY_WITHIN_S[service] - time.monotonic() + since
        wait_for_health(stack, service, "unhealthy", limit_s)

    for service in SERVICES:
        wait_for_health(stack, service, "healthy")
    # All at once, as it takes a minute; but Redis after beat, which would be healthy without it.
    with hanging(stack, "beat", "flower", "worker") as since:
        wait_until_unhealthy("beat", since)
        wait_until_unhealthy("flower", since)
        with hanging(stack, "redis") as redis_since:
            wait_until_unhealthy("redis", redis_since)
            wait_until_unhealthy("worker", since)


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
    tools = "for tool in gcc g++ cc c++ cpp ld as make pip pip3 git curl wget; do command -v $tool; done"
    left = "find / -xdev -name pip -o -name setuptools -o -name ensurepip -o -name '*.whl'"
    shell = ("run", "--rm", "--network=none", "--user=root", "holystone:0.1.0", "sh", "-c")
    assert host.docker(*shell, f"{tools}; {left}") == ""


def test_a_restart_of_redis_during_a_prune_loses_nothing(stack: ComposeHost) -> None:
    before = stored_results(stack)
    with stack.held_prune() as is_held:
        task = prune_by_hand(stack)
        wait_until(is_held, 120, "the prune to begin", detail=lambda: stack.compose("logs", "worker"))
        stack.compose("restart", "redis")

    wait_for_redis(stack)
    report = wait_for_report(stack, task, 120)

    assert (report["outcome"], report["host"]) == ("done", stack.address)
    assert before.items() <= stored_results(stack).items()
    assert stack.inspect("worker", "{{.RestartCount}}") == "0"


def test_a_stop_lets_a_running_prune_end(stack: ComposeHost) -> None:
    with ThreadPoolExecutor(1) as thread:
        with stack.held_prune() as is_held:
            task = prune_by_hand(stack)
            wait_until(is_held, 120, "the prune to begin", detail=lambda: stack.compose("logs", "worker"))
            stop = thread.submit(stack.compose, "stop", "worker")
            wait_until(
                lambda: "Warm shutdown" in stack.compose("logs", "worker"), 60, "the worker to be told to end"
            )
            assert not stop.done()
        stop.result()

    assert stack.inspect("worker", "{{.State.Status}} {{.State.ExitCode}}") == "exited 0"
    assert json.loads(stored_results(stack)[f"celery-task-meta-{task}"])["result"]["outcome"] == "done"
    stack.compose("up", "--detach", "--no-build")


@pytest.mark.timeout(600)
def test_a_run_whose_worker_container_was_killed_is_done_again_and_no_result_is_lost(
    stack: ComposeHost,
) -> None:
    before = stored_results(stack)
    assert before
    with stack.held_prune() as is_held:
        task = prune_by_hand(stack)
        wait_until(is_held, 120, "the prune to begin", detail=lambda: stack.compose("logs", "worker"))
        stack.docker("kill", "--signal", "KILL", "holystone-worker-1")
        state = "{{.State.Status}} {{.RestartCount}}"
        # To the engine a `docker kill` is an operator's will, unlike a crash: it stays down until started.
        wait_until(lambda: stack.inspect("worker", state) == "exited 0", 60, "the worker to end")
    stack.compose("up", "--detach", "--no-build")

    report = wait_for_report(stack, task, DONE_AGAIN_S + 60)

    assert (report["outcome"], report["host"]) == ("done", stack.address)
    assert before.items() <= stored_results(stack).items()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_crashes_is_started_again(stack: ComposeHost, service: str) -> None:
    started = stack.inspect(service, "{{.State.StartedAt}}")
    os.kill(processes_of(stack, service)[0], signal.SIGKILL)  # as when memory is short

    wait_until(
        lambda: stack.inspect(service, "{{.State.StartedAt}}") > started,
        60,
        "the container to be started again",
        detail=lambda: stack.inspect(service, "{{json .State}}"),
    )
    assert stack.inspect(service, "{{.RestartCount}}") == "1"


@pytest.mark.timeout(600)
def test_a_backup_as_the_docs_say_brings_everything_back(stack: ComposeHost) -> None:
    back_up, restore = command_blocks(section(OPERATIONS, "Back up"))
    wait_for_redis(stack)
    before = stored_results(stack)
    assert before

    stack.run("sh", "-ec", f"cd {PROJECT}\n{back_up}", timeout_s=120)
    wait_for_redis(stack)
    later = prune_by_hand(stack)
    wait_for_report(stack, later, 120)
    stack.run("sh", "-ec", f"cd {PROJECT}\n{restore}", timeout_s=300)

    after = stored_results(stack)
    assert before.items() <= after.items()
    assert f"celery-task-meta-{later}" not in after


def test_a_host_is_set_up_as_the_docs_say(stack: ComposeHost) -> None:
    page = section(OPERATIONS, "A host in five minutes")
    alone, _, with_compose = page.partition("\n### ")
    make_login, _, install, _ = command_blocks(alone)
    make_gate, trust_and_check, restart = command_blocks(with_compose)
    (url,) = re.findall(r'HOLYSTONE_HOSTS="(.+?)"', page)
    stack.add_host(url, UID)

    stack.run("sh", "-ec", make_login)
    stack.on_terminal(make_gate)
    stack.run("sh", "-ec", f"cd {PROJECT}\n{install}")
    shown = stack.on_terminal(trust_and_check, "yes\n")
    assert "was added" in shown
    assert re.search(r"^ +ok +login +as holystone\b", shown, re.MULTILINE), shown
    assert re.search(r"^ +ok +gate ", shown, re.MULTILINE), shown
    assert "would reclaim" in stack.on_terminal(restart)

    def its_reports() -> list[dict[str, Any]]:
        reports = [json.loads(text)["result"] for text in stored_results(stack).values()]
        return [
            each for each in reports if each.get("host") == "build-01" and each.get("trigger") == "schedule"
        ]

    report = wait_until(its_reports, 120, "beat's first run", detail=lambda: stack.compose("logs"))[0]
    assert report["outcome"] == "done"
