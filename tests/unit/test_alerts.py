"""Alerts: when they are sent, and how one message tells of many."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from worker.alerts import (
    BACK,
    DISK_FULL,
    FAILING,
    MOST_LINES,
    Alert,
    _decode,
    compose,
    decide_wait_s,
)

NOW = 1_750_000_000.0
JOIN_S = 60


def _failing(host: str = "build-01", ago_s: float = 0) -> Alert:
    return Alert(FAILING, host, "failed 3 times in a row. HostUnreachable: refused", NOW - ago_s)


@pytest.mark.parametrize(
    ("ages_s", "wait_s"),
    [
        ([], 0),
        ([0], 60),
        ([59], 1),
        ([60], 0),
        ([3600], 0),
        ([100, 30], 30),  # another one came meanwhile
        ([899, 30], 1),
        ([900, 0], 0),  # but not for ever
        ([-3600], 0),  # a clock that was wrong
        ([3600, -1], 0),
    ],
)
def test_alerts_wait_until_nothing_new_comes_but_not_for_ever(ages_s: list[float], wait_s: float) -> None:
    assert decide_wait_s([_failing(ago_s=age) for age in ages_s], NOW, JOIN_S) == wait_s


def test_one_failing_host_is_named_in_the_title() -> None:
    assert compose([_failing()]) == (
        "Holystone: build-01 failing",
        "build-01: failed 3 times in a row. HostUnreachable: refused",
    )


def test_an_outage_and_who_is_back_are_one_message_the_worst_first() -> None:
    alerts = [Alert(BACK, "c", "prune_build_cache works again.", NOW), _failing("a"), _failing("b")]
    alerts += [Alert(DISK_FULL, "d", "91.5 % in use.", NOW)]
    title, body = compose(alerts)
    assert title == "Holystone: 2 hosts failing, d disk full, c back"
    assert [line[:2] for line in body.splitlines()] == ["a:", "b:", "d:", "c:"]
    assert body.splitlines()[2:] == ["d: 91.5 % in use.", "c: prune_build_cache works again."]


def test_a_fleet_does_not_fill_the_screen() -> None:
    title, body = compose([_failing(f"build-{n}") for n in range(1000)])
    assert title == "Holystone: 1000 hosts failing"
    assert len(body.splitlines()) == MOST_LINES + 1
    assert body.endswith("and 990 more")
    assert len(body) < 2000


def test_a_host_s_own_words_are_one_short_line_and_said_once() -> None:
    long = Alert(FAILING, "a", "CommandFailed: 1st\n2nd " + "x" * 1000, NOW)
    _, body = compose([long, long])
    assert body.startswith("a: CommandFailed: 1st 2nd xxx")
    assert (len(body), body[-1]) == (161, "…")


def test_what_another_version_wrote_costs_no_other_alert() -> None:
    good = json.dumps(asdict(_failing()))
    assert _decode(["", "[]", '{"kind": "failing"}', good, '{"new": 1}']) == [_failing()]
