"""`holystone prune` before anything is sent: which hosts, with which arguments and limits."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from kombu.exceptions import OperationalError

from tasks.cli import prune
from tasks.cli.prune import MARGIN_S, choose_hosts, longest_silence_s, message
from tasks.cli.run_rows import Sent
from worker.errors import UnknownHost
from worker.limits import GRACE_S
from worker.settings import Settings, load_settings

TOML = """
[hosts.build-01]
url = "ssh://build-01"
[hosts.build-02]
url = "ssh://build-02"
prune.enabled = false
prune.timeout_s = 900
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "holystone.toml").write_text(TOML)
    return load_settings(tmp_path)


def test_without_names_all_hosts_whose_pruning_is_on_are_chosen(settings: Settings) -> None:
    assert choose_hosts(settings, ()) == (["build-01"], ["build-02"])


def test_a_host_named_is_chosen_once_even_if_it_is_off(settings: Settings) -> None:
    assert choose_hosts(settings, ("build-02", "build-02")) == (["build-02"], [])


def test_one_unknown_name_is_an_error_that_lists_the_known(settings: Settings) -> None:
    with pytest.raises(UnknownHost, match="'b' is not a configured host; known: build-01, build-02"):
        choose_hosts(settings, ("build-01", "b"))


def test_a_message_carries_the_hosts_own_limits_and_only_what_was_given(settings: Settings) -> None:
    assert message(settings, "build-02", None, False, False) == {
        "kwargs": {"host": "build-02"},
        "soft_time_limit": 900,
        "time_limit": 900 + GRACE_S,
    }
    assert message(settings, "build-01", "7d", True, True)["kwargs"] == {
        "host": "build-01",
        "until": "7d",
        "all": True,
        "dry_run": True,
    }


def test_the_slowest_host_says_how_long_to_wait(settings: Settings) -> None:
    assert longest_silence_s(settings, ["build-01", "build-02"]) == 900 + GRACE_S + MARGIN_S
    assert longest_silence_s(settings, ["build-01"]) == 120 + GRACE_S + MARGIN_S


@pytest.mark.parametrize("error", [OperationalError("gone"), redis.ConnectionError("gone")])
@pytest.mark.parametrize(("sent", "told"), [(0, "nothing was sent"), (1, "sent to 1 of 2 hosts")])
def test_a_broker_that_goes_away_is_a_line_that_says_how_many_were_sent(
    settings: Settings,
    error: Exception,
    sent: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def send(messages: object, runs: list[Sent]) -> None:
        runs += [Sent("build-01", "id")] * sent
        raise error

    monkeypatch.setattr(redis.Redis, "ping", lambda client: True)
    monkeypatch.setattr(prune, "send", send)
    with pytest.raises(SystemExit) as ended:
        prune._send(settings, {"build-01": {}, "build-02": {}}, [])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Redis at 127.0.0.1:6379 (HOLYSTONE_REDIS_URL) can't be used: ")
    assert line.endswith(f"; {told}")
