"""No secret is ever shown: everything that the real processes write, serve, store or answer is searched."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urljoin

import pytest

from tests.support.celery_processes import Beat, CeleryProcess, Flower, Worker
from tests.support.client import Client, environment
from tests.support.holystone_command import Holystone
from tests.support.paths import CHECKOUT
from tests.support.ports import LOOPBACK, free_port
from tests.support.processes import clean_environment
from tests.support.redis_server import RedisServer
from tests.support.sshd import SshServer
from tests.support.stand_in_docker import StandInDocker
from tests.support.waiting import wait_until

REDIS, TOKEN, FILED, USER, FLOWER = (
    "r3dis/p@ss+w%rd:kept",
    "t0ken-of-apprise-kept",
    "t0ken-in-a-file-kept",
    "apprise-pass-kept",
    "fl0wer/p@ss-kept",
)
UNUSABLE = "redis://:n0t/us@ble-kept@127.0.0.1:1/0"
API = (
    *("workers?refresh=1", "workers?status=1", "tasks", "task/types", "queues/length"),
    *("task/info/{id}", "task/result/{id}", "task/info/{failed}", "task/result/{failed}"),
)
NODE = "the-worker@here"
ANSWER = ("--destination", NODE, "--timeout", "60")  # until it has answered
INSPECT = (
    "conf",
    "report",
    "stats",
    "registered",
    "active",
    "reserved",
    "active_queues",
    "scheduled",
    "clock",
)


class Stack:
    """A Redis with a password, a Flower with its own, and message URLs with tokens, which fail."""

    def __init__(self, redis: RedisServer, server: SshServer, tmp: Path, log_format: str) -> None:
        redis.client().config_set("requirepass", REDIS)
        self.redis, self.tmp, self.dead = redis, tmp, f"{LOOPBACK}:{free_port()}"
        self.docker = StandInDocker(tmp / "docker")
        server.stand_in("docker", self.docker.script)
        self.host, self.identity = server.name, server.identity
        self.url = redis.url.replace("//", f"//:{quote(REDIS, safe='')}@")
        self.client = Client(self.url)
        urls = tmp / "notify_urls"
        urls.write_text(f"json://{LOOPBACK}:{free_port()}/{FILED}\n")
        self.env = environment(
            self.url,
            f"{server.url} ssh://{self.dead}",
            ssh_known_hosts=server.known_hosts,
            ssh_identity=server.identity,
            prune_notify_min_gb=0.01,
            notify_urls=f"json://me:{USER}@{LOOPBACK}:{free_port()}/{TOKEN} tgram://{TOKEN}/x",
            notify_urls_file=urls,
            notify_join_s=1,
            disk_enabled="true",
            disk_alert_percent=1,
            log_format=log_format,
        )
        key = server.identity.read_text().splitlines()
        self.secrets = [REDIS, TOKEN, FILED, USER, FLOWER, *key[1:-1]]
        self.flower_env = self.env | {"FLOWER_BASIC_AUTH": f"ops:{FLOWER}"}
        self.seen: dict[str, str] = {}  # everything that anybody may look at, by where it is

    def find(self) -> list[str]:
        """Where a secret is, in any of its forms."""
        forms = {form for secret in self.secrets for form in forms_of(secret)}
        return sorted(
            f"{place}: {form}" for place, text in self.seen.items() for form in forms if form in text
        )

    def note(self, *processes: CeleryProcess) -> None:
        for process in processes:
            self.seen[f"log of {process.tmp.name}"] = process.log()


def forms_of(secret: str) -> set[str]:
    """As it is, URL-encoded, in base64 wherever it stands in what was encoded, as a repr and JSON have it."""
    encoded = set()
    for before in range(3):  # base64 takes three bytes at a time
        # What its neighbours have no part in.
        text = base64.b64encode(b"x" * before + secret.encode()).decode().rstrip("=")
        encoded.add(text[(0, 2, 3)[before] : -1])
    decoded = {secret, secret.replace("/", "\\/"), secret.replace("@", "&#64;"), secret.replace("+", "&#43;")}
    return decoded | {quote(secret), quote(secret, safe=""), quote_plus(secret)} | encoded


@pytest.fixture(params=["plain", "json"])
def stack(
    redis: RedisServer, own_ssh_server: SshServer, tmp_path: Path, request: pytest.FixtureRequest
) -> Stack:
    return Stack(redis, own_ssh_server, tmp_path, str(request.param))


def fetch(url: str, user: str | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url)
    if user:
        request.add_header("Authorization", f"Basic {base64.b64encode(user.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode(errors="replace") + str(answer.headers)
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode(errors="replace") + str(refused.headers)


def page(flower: Flower, path: str) -> tuple[int, str]:
    return fetch(flower.url + path, f"ops:{FLOWER}")


def crawl(stack: Stack, flower: Flower, starts: list[str]) -> dict[str, int]:
    """The status of every page from `starts` on along Flower's links, texts in `stack.seen`."""
    statuses: dict[str, int] = {}
    waiting = [f"{flower.url}{start}" for start in starts]
    while waiting and len(statuses) < 200:
        url = waiting.pop()
        if url in statuses or "/static/" in url or "logout" in url:
            continue
        statuses[url], text = fetch(url, f"ops:{FLOWER}")
        stack.seen[url] = text
        links = {urljoin(url, link).partition("#")[0] for link in re.findall(r'href="([^"]+)"', text)}
        waiting += [link for link in links if link.startswith(flower.url)]
    return {url.removeprefix(flower.url): status for url, status in statuses.items()}


def store_of(redis: RedisServer) -> str:
    """Every key of Redis and what it holds."""
    client = redis.client()
    client.auth(REDIS)
    readers: dict[str, Any] = {
        "string": client.get,
        "hash": client.hgetall,
        "set": client.smembers,
        "list": lambda key: client.lrange(key, 0, -1),
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    return "\n".join(f"{key} {readers[client.type(key)](key)}" for key in client.scan_iter())


def celery(stack: Stack, *args: str) -> str:
    """What a celery command prints, both streams."""
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", *args],
        env=clean_environment(stack.tmp, {**stack.env, "PYTHONPATH": str(CHECKOUT)}),
        cwd=stack.tmp,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.timeout(900)  # each of its many commands takes seconds to start, and longer on a busy machine
def test_no_secret_is_in_a_log_a_page_an_answer_or_redis(stack: Stack) -> None:
    with (
        Worker(
            stack.env, "--concurrency=3", "--loglevel=DEBUG", f"--hostname={NODE}", tmp=stack.tmp
        ) as worker,
        Flower(stack.flower_env, free_port(), "--logging=debug", tmp=stack.tmp) as flower,
        ExitStack() as later,
    ):
        worker.wait_ready(90)
        flower.wait_ready(90)
        flower.wait_for_worker(f"ops:{FLOWER}")
        done = stack.client.send(stack.host)
        assert done.get(120)["outcome"] == "done"
        # Of what it has not heard it has a page as well.
        wait_until(lambda: page(flower, f"/task/{done.id}")[0] == 200, 60, "Flower to hear of the run")
        # Not before: its first run of the host would come between.
        beat = later.enter_context(Beat(stack.env, "--loglevel=DEBUG", tmp=stack.tmp))
        failed = stack.client.send(f"{stack.dead}", options={"retries": 3})
        wait_until(failed.ready, 90, "the run to fail", detail=worker.log)
        worker.wait_for_log("notification not delivered", 90)
        # The message of the disk that is fuller than 1 %.
        again = re.compile("run failed, tried again.*tasks.send_alerts")
        wait_until(lambda: again.search(worker.log()), 90, "the alert to fail", detail=worker.log)
        beat.wait_for_log("run sent", 90)

        starts = [
            "/",
            "/tasks",
            f"/task/{done.id}",
            f"/task/{failed.id}",
            "/broker",
            "/metrics",
            "/healthcheck",
        ]
        starts += [f"/api/{path.format(id=done.id, failed=failed.id)}" for path in API]
        starts += ["/login", "/no-such-page", "/tasks/datatable?draw=1&start=0&length=50&search[value]="]
        pages = crawl(stack, flower, starts)
        worker_page = next(page for page in pages if page.startswith("/worker/"))
        assert "broker_url" in stack.seen[flower.url + worker_page]  # the page with the worker's settings
        assert {pages[page] for page in ("/", "/broker", "/metrics", f"/task/{done.id}", worker_page)} == {
            200
        }
        assert LOOPBACK in stack.seen[f"{flower.url}/broker"]
        status, stack.seen["Flower without a password"] = fetch(f"{flower.url}/workers")
        assert status == 401

        for what in INSPECT:
            stack.seen[f"celery inspect {what}"] = celery(stack, "inspect", *ANSWER, what)
        stack.seen["celery inspect conf, all"] = celery(stack, "inspect", *ANSWER, "conf", "true")
        assert "broker_url" in stack.seen["celery inspect conf"]
        stack.seen["celery report"] = celery(stack, "report")
        stack.seen["celery call"] = celery(stack, "call", "tasks.send_alerts")
        stack.seen["celery result"] = celery(stack, "result", failed.id)
        commands = (["hosts", "--json"], ["hosts"], ["prune", stack.host], ["check"], ["check", "--json"])
        for args in commands:
            with Holystone(stack.env, *args, tmp=stack.tmp) as command:
                command.wait(120)
            stack.seen[f"holystone {' '.join(args)}"] = command.output() + command.log()
        assert stack.host in stack.seen["holystone hosts --json"]
        stack.note(worker, flower, beat)
    stack.seen["Redis"] = store_of(stack.redis)
    assert done.id in stack.seen["Redis"]
    assert stack.find() == []


@pytest.mark.parametrize("trouble", ["nobody listens", "the password is wrong", "the URL is none"])
def test_no_secret_is_told_where_redis_can_not_be_used(stack: Stack, trouble: str) -> None:
    url = stack.url
    if trouble == "nobody listens":
        stack.redis.stop()
    elif trouble == "the password is wrong":
        stack.redis.client().execute_command("AUTH", REDIS)
        url = stack.url.replace(quote(REDIS, safe=""), quote(REDIS + "-not", safe=""))
    else:
        url = UNUSABLE
        stack.secrets += [
            "n0t/us@ble-kept",
            "us@ble-kept",
            "n0t",
        ]  # the last is what urllib takes for the port
    for env in (stack.env, stack.flower_env):
        env["HOLYSTONE_REDIS_URL"] = url
    with (
        Worker(stack.env, "--loglevel=DEBUG", tmp=stack.tmp) as worker,
        Flower(stack.flower_env, free_port(), "--logging=debug", tmp=stack.tmp) as flower,
        Beat(stack.env, "--loglevel=DEBUG", tmp=stack.tmp) as beat,
    ):
        for process in (worker, flower, beat):

            def said_so(process: CeleryProcess = process) -> bool:
                told = re.search(
                    r"Cannot connect|Retrying|refused|invalid.*password|WRONGPASS|raised|Error",
                    process.log(),
                )
                return not process.running() or (told is not None and url != UNUSABLE)

            wait_until(said_so, 90, f"{process.command} to miss Redis", detail=process.log)
        for what in ("inspect", "report"):
            stack.seen[f"celery {what}"] = celery(stack, what, *(["ping"] if what == "inspect" else []))
        for args in (["hosts"], ["hosts", "--json"], ["prune"], ["check"]):
            with Holystone(stack.env, *args, tmp=stack.tmp) as command:
                command.wait(120)
            stack.seen[f"holystone {' '.join(args)}"] = command.output() + command.log()
        stack.note(worker, flower, beat)
    assert stack.find() == []
    if url == UNUSABLE:
        assert "HOLYSTONE_REDIS_URL can't be read; it is written" in worker.log()
        assert "Traceback" not in worker.log() + beat.log() + flower.log()


def test_a_key_where_its_file_should_be_named_is_told_of_and_not_shown(stack: Stack) -> None:
    stack.env["HOLYSTONE_SSH_IDENTITY"] = stack.identity.read_text()
    with Worker(stack.env, "--loglevel=DEBUG", tmp=stack.tmp) as worker:
        worker.wait_ready(90)
        failed = stack.client.send(stack.host)
        wait_until(failed.ready, 90, "the run to fail", detail=worker.log)
        for args in (["hosts", "--json"], ["hosts"], ["prune", stack.host], ["check"]):
            with Holystone(stack.env, *args, tmp=stack.tmp) as command:
                command.wait(120)
            stack.seen[f"holystone {' '.join(args)}"] = command.output() + command.log()
        stack.note(worker)
    stack.seen["Redis"] = store_of(stack.redis)
    assert "none of the worker's keys was accepted" in stack.seen["Redis"]
    for told in (worker.log(), stack.seen["holystone check"], stack.seen["holystone hosts"]):
        assert "HOLYSTONE_SSH_IDENTITY holds (not shown" in told
    assert stack.find() == []
