"""Celery's settings, as they come out of ours."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import celeryconfig
from tasks.send_alerts import send_alerts
from tasks.watch_disk import watch_disk
from worker.limits import GRACE_S, LONGEST_BACKOFF_S
from worker.settings import get_settings

Load = Callable[..., ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """A fresh celeryconfig for the given variables."""

    def load(toml: str = "", **variables: str) -> ModuleType:
        (tmp_path / "holystone.toml").write_text(toml)
        monkeypatch.chdir(tmp_path)
        for name, value in variables.items():
            monkeypatch.setenv(f"HOLYSTONE_{name}", value)
        spec = importlib.util.spec_from_file_location("fresh_celeryconfig", str(celeryconfig.__file__))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        get_settings.cache_clear()
        try:
            spec.loader.exec_module(module)
        finally:
            get_settings.cache_clear()
        return module

    return load


def test_json_only(load: Load) -> None:
    config = load()
    assert (config.accept_content, config.task_serializer, config.result_serializer) == (
        ["json"],
        "json",
        "json",
    )


@pytest.mark.parametrize(
    ("toml", "longest_s"),
    [
        ("", 120),
        ("prune.timeout_s = 7200\n", 7200),
        ("hosts = ['local']\nprune.timeout_s = 61\n", 61),
        ("hosts = ['local']\nprune.timeout_s = 1\n", 60),  # a look, and sending alerts, may take that long
        ("prune.timeout_s = 60\n[hosts.a]\nurl = 'ssh://a'\nprune.timeout_s = 9000\n", 9000),
    ],
)
def test_the_visibility_timeout_is_longer_than_any_run_and_its_wait_and_no_longer_than_a_minute_more(
    load: Load, toml: str, longest_s: int
) -> None:
    """Shorter, and a run would be started twice; longer, and a killed worker's run would wait."""
    config = load(toml)
    hard_limit_s = longest_s + GRACE_S
    timeout_s = config.broker_transport_options["visibility_timeout"]
    assert hard_limit_s + LONGEST_BACKOFF_S < timeout_s <= hard_limit_s + 60
    assert config.worker_soft_shutdown_timeout >= hard_limit_s
    limits = [entry["options"]["time_limit"] for entry in config.beat_schedule.values()]
    assert max([*limits, watch_disk.time_limit, send_alerts.time_limit]) <= hard_limit_s


def test_a_killed_workers_run_is_done_again(load: Load) -> None:
    config = load()
    assert config.task_acks_late
    assert config.task_reject_on_worker_lost
    assert config.worker_prefetch_multiplier == 1
    assert config.worker_cancel_long_running_tasks_on_connection_loss is False


def test_a_half_open_connection_is_left_within_a_minute(load: Load) -> None:
    config = load()
    assert 0 < config.broker_transport_options["socket_timeout"] < 30
    assert 0 < config.redis_socket_timeout < 30
    assert 0 < config.redbeat_redis_options["socket_timeout"] < 30


def test_nobody_gives_up_on_redis(load: Load) -> None:
    config = load()
    assert config.broker_connection_max_retries is None
    assert config.broker_connection_retry_on_startup
    assert config.result_backend_always_retry
    assert config.redbeat_redis_options["retry_period"] == -1


def test_flower_sees_arguments_start_and_events(load: Load) -> None:
    config = load()
    assert config.result_extended
    assert config.task_track_started
    assert config.worker_send_task_events
    assert config.task_send_sent_event


def test_everything_lives_in_the_one_redis(load: Load) -> None:
    config = load(REDIS_URL="redis://:pw@redis:6379/5")
    assert {config.broker_url, config.result_backend} == {"redis://:pw@redis:6379/5"}


@pytest.mark.parametrize(
    "password", ["hun/ter2", "1/hun@ter2", "hunter2#", "hunter2?x", "[hunter2", "12?hunter2", "hunter2/3"]
)
def test_a_url_with_a_bare_password_that_can_not_be_read_is_one_line_without_it(
    load: Load, password: str
) -> None:
    for user in ("", "user"):
        with pytest.raises(SystemExit) as ended:
            load(REDIS_URL=f"redis://{user}:{password}@redis:6379/0")
        (line,) = str(ended.value).splitlines()
        assert line.startswith("HOLYSTONE_REDIS_URL can't be read; it is written redis://")
        assert "ter2" not in line
        assert ended.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis",
        "redis:///0",
        "redis://:hun%2Fter@[::1]:6379/0",
        "rediss://u:p@h:1/0?ssl_cert_reqs=none",
    ],
)
def test_any_other_url_is_celery_s(load: Load, url: str) -> None:
    assert load(REDIS_URL=url).broker_url == url


def test_no_setting_holds_the_password_under_a_name_that_celery_would_show(load: Load) -> None:
    """`celery inspect conf` and Flower mask these two alone."""
    config = load(REDIS_URL="redis://:hunter2@redis:6379/5")
    holding = {
        name
        for name in dir(config)
        if name.islower() and name[0] != "_" and "hunter2" in repr(getattr(config, name))
    }
    assert holding == {"broker_url", "result_backend"}


def test_the_schedule_is_that_of_the_settings(load: Load) -> None:
    config = load(HOSTS="ssh://a local", PRUNE_INTERVAL_S="60", DISK_INTERVAL_S="30")
    assert {name: entry["schedule"] for name, entry in config.beat_schedule.items()} == {
        "prune-build-cache:a": 60.0,
        "prune-build-cache:local": 60.0,
        "watch-disk:a": 30.0,
        "watch-disk:local": 30.0,
    }
    assert {entry["task"].rpartition(".")[0] for entry in config.beat_schedule.values()} == {"tasks"}
    assert config.imports == ("tasks.prune_build_cache", "tasks.watch_disk", "tasks.send_alerts")
    assert config.beat_scheduler == "worker.beat:Scheduler"


@pytest.mark.parametrize("off", ["false", "garbage"])
def test_with_the_kill_switches_off_nothing_is_scheduled(load: Load, off: str) -> None:
    assert list(load(HOSTS="ssh://a", PRUNE_ENABLED=off).beat_schedule) == ["watch-disk:a"]
    assert load(HOSTS="ssh://a", PRUNE_ENABLED=off, DISK_ENABLED=off).beat_schedule == {}


def test_a_killed_beat_is_succeeded_within_a_minute(load: Load) -> None:
    config = load()
    assert config.redbeat_lock_timeout + 2 * config.beat_max_loop_interval <= 60
    assert (
        config.redbeat_lock_timeout > 3 * config.beat_max_loop_interval
    )  # or a live one would lose its lock


def test_warnings_are_logged(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    load(PRUNE_UNTIL="garbage", HOSTS="ssh://root:hunter2@a")
    assert "HOLYSTONE_PRUNE_UNTIL (the environment) holds 'garbage'" in caplog.text
    assert "host left out: 'ssh://root:***@a'" in caplog.text
    assert "hunter2" not in caplog.text
