"""The health checks of beat and the worker, on real processes: alive when they can work, and only then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.test_beat import start_beat
from tests.support.celery_processes import Beat, Worker
from tests.support.client import Client, environment
from tests.support.network import SilentServer
from tests.support.paths import CHECKOUT
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from worker import liveness
from worker.settings import get_settings

COMPOSE = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
PATIENCE_S = liveness.PATIENCE_S
SLOTS = 16
LOCK = "redbeat::lock"
WORKER = "holystone-health"


@pytest.fixture
def heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis: RedisServer) -> Iterator[Path]:
    """The file that beats started now touch, and that the check looks at."""
    path = tmp_path / "heartbeat"
    monkeypatch.setenv(liveness.VARIABLE, str(path))
    monkeypatch.setenv("HOLYSTONE_REDIS_URL", redis.url)
    monkeypatch.setattr(liveness, "MAX_AGE_S", 8)  # longer than a loop of 5 s
    monkeypatch.setattr(liveness, "PATIENCE_S", 60)  # a busy machine's Redis is not away
    get_settings.cache_clear()
    yield path
    get_settings.cache_clear()


def beat_with(heartbeat: Path, redis: RedisServer, tmp: Path) -> Beat:
    env = environment(redis.url, "ssh://a", prune_interval_s=3600)
    beat = Beat({**env, liveness.VARIABLE: str(heartbeat)}, tmp=tmp)
    beat.wait_ready(90)
    return beat


def test_a_beat_that_hangs_is_dead_until_it_goes_on(
    redis: RedisServer, tmp_path: Path, heartbeat: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert liveness.main() == 1
    assert capsys.readouterr().out == "beat had no tick yet\n"
    with beat_with(heartbeat, redis, tmp_path) as beat:
        wait_until(lambda: liveness.main() == 0, 60, "the first tick", detail=beat.log)
        beat.signal(signal.SIGSTOP)
        wait_until(lambda: liveness.main() == 1, 60, "the check to fail", detail=beat.log)
        assert "beat's last tick was" in capsys.readouterr().out
        beat.signal(signal.SIGCONT)
        wait_until(lambda: liveness.main() == 0, 60, "a tick", detail=beat.log)


def test_a_beat_that_stands_by_for_another_lives(redis: RedisServer, tmp_path: Path, heartbeat: Path) -> None:
    with start_beat(redis, tmp_path) as first:
        wait_until(lambda: redis.client().exists(LOCK), 60, "the lock to be taken", detail=first.log)
        holder = redis.client().get(LOCK)
        with beat_with(heartbeat, redis, tmp_path) as standby:
            wait_until(lambda: liveness.main() == 0, 60, "the first tick", detail=standby.log)
            begun = heartbeat.stat().st_mtime
            wait_until(
                lambda: heartbeat.stat().st_mtime > begun + 8, 60, "more than a tick", detail=standby.log
            )
            wait_until(lambda: liveness.main() == 0, 60, "another tick", detail=standby.log)
            assert redis.client().get(LOCK) == holder


def test_a_beat_whose_redis_goes_away_lives(redis: RedisServer, tmp_path: Path, heartbeat: Path) -> None:
    with beat_with(heartbeat, redis, tmp_path) as beat:
        wait_until(lambda: liveness.main() == 0, 60, "the first tick", detail=beat.log)
        redis.stop()
        end = time.monotonic() + liveness.MAX_AGE_S + 4
        wait_until(lambda: liveness.main() == 1 or time.monotonic() > end, 60, "the outage to last")
        assert liveness.main() == 0
        redis.start()
        away_until = time.time()
        wait_until(lambda: heartbeat.stat().st_mtime > away_until, 60, "a tick", detail=beat.log)


def test_a_beat_that_starts_before_redis_lives(redis: RedisServer, tmp_path: Path, heartbeat: Path) -> None:
    redis.stop()
    with Beat({**environment(redis.url), liveness.VARIABLE: str(heartbeat)}, tmp=tmp_path) as beat:
        beat.wait_for_log("Retrying Redis connection", 90)  # before its first tick, for as long as it takes
        assert not heartbeat.exists()
        assert liveness.main() == 0
        redis.start()
        wait_until(heartbeat.exists, 60, "the first tick", detail=beat.log)


def test_a_redis_that_refuses_the_password_is_no_excuse(
    redis: RedisServer,
    heartbeat: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    redis.client().config_set("requirepass", "long")
    for url in (redis.url, redis.url.replace("://", "://:wrong@")):
        monkeypatch.setenv("HOLYSTONE_REDIS_URL", url)
        get_settings.cache_clear()
        assert liveness.main() == 1
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith("beat had no tick yet; Redis refuses: ")
        assert "wrong" not in line.replace("WRONGPASS", "")


@pytest.mark.parametrize("refusal", ["MISCONF", "no permissions"])
def test_a_redis_that_refuses_what_beat_needs_is_told_in_one_line(
    redis: RedisServer, heartbeat: Path, capsys: pytest.CaptureFixture[str], refusal: str
) -> None:
    client = redis.client()
    if refusal == "MISCONF":
        (redis.tmp / "data" / "dump.rdb").mkdir()  # no snapshot can take its place
        client.set("anything", 1)
        client.config_set("save", "3600 1")
        client.bgsave()
        wait_until(lambda: client.info()["rdb_last_bgsave_status"] == "err", 60, "the snapshot to fail")
    else:
        client.execute_command("ACL", "SETUSER", "default", "-ping")
    assert liveness.main() == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("beat had no tick yet; Redis refuses: ")
    assert refusal in line


def test_a_redis_that_hangs_is_away_in_less_time_than_the_check_has(
    redis: RedisServer, heartbeat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "PATIENCE_S", PATIENCE_S)
    limit_s = int(COMPOSE["services"]["beat"]["healthcheck"]["timeout"].removesuffix("s"))
    os.kill(redis.pid, signal.SIGSTOP)

    def seconds() -> float:
        begun = time.monotonic()
        assert liveness.main() == 0
        return time.monotonic() - begun

    # A start of Python comes on top. The best of some: what a busy machine adds is not the check's.
    wait_until(lambda: seconds() < limit_s - 2, 60, "an answer in time")
    os.kill(redis.pid, signal.SIGCONT)


def test_the_check_is_a_command(redis: RedisServer, tmp_path: Path, heartbeat: Path) -> None:
    command = COMPOSE["services"]["beat"]["healthcheck"]["test"]
    assert command == ["CMD", "python", "-m", "worker.liveness"]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command[2:]], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )

    assert (run().returncode, run().stdout) == (1, "beat had no tick yet\n")
    heartbeat.touch()
    assert (run().returncode, run().stdout) == (0, "")


def worker_is_healthy(env: dict[str, str]) -> bool:
    """What compose's check says of the worker called WORKER."""
    check = COMPOSE["services"]["worker"]["healthcheck"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", check["test"].replace("$$", "$")],
        cwd=CHECKOUT,
        env={**os.environ, **env, "HOSTNAME": WORKER, "PATH": path},
        capture_output=True,
        timeout=120,
        check=False,
    )
    return done.returncode == 0


def test_a_worker_answers_its_check_while_every_slot_is_busy(redis: RedisServer, tmp_path: Path) -> None:
    with SilentServer() as silent:
        env = environment(redis.url, silent.url, ssh_connect_timeout_s=300, prune_timeout_s=300)
        with Worker(env, "--hostname", f"celery@{WORKER}", tmp=tmp_path) as worker:
            worker.wait_ready(90)
            for _ in range(SLOTS + 1):
                Client(redis.url).send(silent.name)
            wait_until(lambda: silent.connections == SLOTS, 90, "every slot to be busy", detail=worker.log)
            wait_until(lambda: worker_is_healthy(env), 90, "the worker to answer", detail=worker.log)
            worker.signal(signal.SIGSTOP)
            assert not worker_is_healthy(env)
            worker.signal(signal.SIGCONT)


def test_a_worker_is_unhealthy_until_redis_is_back(redis: RedisServer, tmp_path: Path) -> None:
    env = environment(redis.url)
    with Worker(env, "--hostname", f"celery@{WORKER}", "--concurrency=1", tmp=tmp_path) as worker:
        worker.wait_ready(90)
        wait_until(lambda: worker_is_healthy(env), 90, "the worker to answer", detail=worker.log)
        redis.stop()
        assert not worker_is_healthy(env)
        redis.start()
        wait_until(lambda: worker_is_healthy(env), 90, "the worker to be back", detail=worker.log)
        assert worker.running()
