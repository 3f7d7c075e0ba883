"""`holystone prune` before anything is sent: which hosts, with which arguments and limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.cli.prune import MARGIN_S, choose_hosts, longest_silence_s, message
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
