"""Pauses: which one holds a host back, and how they read."""

from __future__ import annotations

import pytest

from tasks.cli.host_arguments import check_hosts
from tasks.cli.pause import make_pause
from tasks.cli.resume import after_fleet, after_hosts
from worker.errors import UnknownHost
from worker.fleet import HostSettings
from worker.hosts import parse_host
from worker.pause import ALL, Pause, _decode, find_pause
from worker.policies import PrunePolicy
from worker.settings import Settings

NOW = 1_750_000_000.0
ENDED, SHORT, LONG = Pause("a", NOW), Pause("b", NOW + 1), Pause("c", NOW + 3600)
FOR_GOOD = Pause("d", None)


@pytest.mark.parametrize(
    ("pauses", "found"),
    [
        ({}, None),
        ({"build-02": LONG}, None),
        ({"build-01": ENDED}, None),
        ({"build-01": SHORT}, SHORT),
        ({ALL: SHORT}, SHORT),
        ({ALL: ENDED, "build-01": SHORT}, SHORT),
        ({ALL: LONG, "build-01": SHORT}, LONG),
        ({ALL: SHORT, "build-01": LONG}, LONG),
        ({ALL: LONG, "build-01": FOR_GOOD}, FOR_GOOD),
    ],
)
def test_the_pause_that_ends_last_holds_a_host_back(pauses: dict[str, Pause], found: Pause | None) -> None:
    assert find_pause(pauses, "build-01", NOW) == found


def test_a_pause_says_who_and_until_when() -> None:
    assert str(Pause("ops@bastion", 1_750_000_000)) == "paused by ops@bastion until 2025-06-15T15:06:40Z"
    assert str(FOR_GOOD) == "paused by d until resumed"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "1",
        "{}",
        '{"by": "a"}',
        '{"by": "a", "until_ts": "soon"}',
        '{"by": "a", "until_ts": NaN}',
        '{"by": "a", "until_ts": 1' + "0" * 400 + "}",
        "[" * 100_000,
    ],
    ids=lambda text: text[:40],
)
def test_an_entry_that_can_not_be_read_holds_back_until_resumed(text: str) -> None:
    assert find_pause({"build-01": _decode(text)}, "build-01", NOW) == Pause(
        "an entry that can't be read", None
    )


def test_a_pause_lasts_as_long_as_it_was_asked_to() -> None:
    assert make_pause("me", "2h", NOW) == Pause("me", NOW + 7200)
    assert make_pause("me", None, NOW) == Pause("me", None)
    assert make_pause("a\nb\x1b[31m" + "c" * 500, None, NOW).by == "a b?[31m" + "c" * 92


@pytest.mark.parametrize("length", ["0", "soon", "-1h", ""])
def test_a_length_that_is_no_time_is_refused(length: str) -> None:
    with pytest.raises(ValueError, match=f"^'{length}' is not a time such as 30m, 2h, 1d"):
        make_pause("me", length, NOW)


@pytest.mark.parametrize(
    ("before", "left", "lines"),
    [
        ({"build-01": LONG, "build-02": FOR_GOOD}, {}, ["build-01: resumed", "build-02: resumed"]),
        ({"build-01": LONG}, {ALL: ENDED}, ["build-01: resumed", "build-02: was not paused"]),
        ({"build-01": ENDED}, {}, ["build-01: was not paused", "build-02: was not paused"]),
        (
            {"build-01": LONG},
            {ALL: FOR_GOOD},
            [
                f"build-0{number}: still paused by d until resumed; `holystone resume` without HOST ends that"
                for number in (1, 2)
            ],
        ),
    ],
)
def test_a_resumed_host_is_told_of_the_fleet_s_pause_or_that_it_was_not_paused(
    before: dict[str, Pause], left: dict[str, Pause], lines: list[str]
) -> None:
    assert after_hosts(["build-01", "build-02"], before, left, NOW) == lines


@pytest.mark.parametrize(
    ("left", "lines"),
    [
        ({}, ["all hosts: resumed"]),
        ({"build-02": ENDED, "gone": FOR_GOOD}, ["all hosts: resumed"]),
        (
            {"build-02": Pause("a\nb", None)},
            [
                "build-02: still paused by a b until resumed; `holystone resume build-02` ends that",
                "all other hosts: resumed",
            ],
        ),
    ],
)
def test_a_resumed_fleet_is_told_of_the_hosts_that_have_a_pause_of_their_own(
    left: dict[str, Pause], lines: list[str]
) -> None:
    assert after_fleet(["build-01", "build-02"], left, NOW) == lines


def test_only_configured_hosts_can_be_paused() -> None:
    policy = PrunePolicy(True, 21_600, "24h", False, 120, 0)
    settings = Settings(fleet={name: HostSettings(parse_host(f"ssh://{name}"), policy) for name in "ab"})
    assert check_hosts(settings, ("b", "b", "a")) == ["b", "a"]
    with pytest.raises(UnknownHost, match="known: a, b"):
        check_hosts(settings, ("a", "*"))
