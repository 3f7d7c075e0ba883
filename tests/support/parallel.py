"""Which tests stay together, and in which order they go out, where pytest-xdist runs them in parallel.

Read by `--dist=loadgroup --no-loadscope-reorder`. A serial run keeps pytest's own order.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.chroots import SUITES

# Their tests mostly wait, and share nothing that is costly to start: each goes where there is room.
SPREAD = ("test_survival", "test_beat", "test_up", "test_demo", "test_cli_with_worker")

# What takes more than half a minute, longest first: groups, or tests of the files above. A long one that
# starts late is waited for by all.
LONGEST = (
    "test_a_run_whose_worker_was_killed_is_done_again_within_the_hard_limit_plus_three_minutes",
    "end_to_end/test_compose",
    "engine-trixie",
    "engine-forky",
    "test_a_run_that_keeps_killing_its_worker_is_given_up_after_three_deliveries",
    "engine-bookworm",
    "test_demo_reclaims_cache_and_removes_all_it_made",
    "test_two_beats_send_one_message_and_the_second_succeeds_a_killed_one_within_a_minute",
    "test_demo_keeps_everything_up_until_ctrl_c",
    "test_a_half_open_connection_to_redis_is_left_within_a_minute",
    "test_the_hard_limit_ends_a_run_that_ignores_the_soft_one_and_a_dead_ones_lock_expires",
    "integration/test_alert_rules",
    "integration/test_lost_links",
    "integration/test_host_behaviour",
    "integration/test_turns",
)


def arrange(items: list[pytest.Item]) -> None:
    """Mark each test with its group, and sort them, in place."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    group = _group(item)
    if group in LONGEST[:2]:
        return LONGEST.index(group)
    # A worker holds two groups: what waits behind one of these two for minutes should be short.
    if item.get_closest_marker("unit"):
        return 2
    return 3 + (LONGEST.index(group) if group in LONGEST else len(LONGEST))


def _group(item: pytest.Item) -> str:
    suite = _suite(item)
    if suite:
        return f"engine-{suite}"
    return item.name if item.path.stem in SPREAD else f"{item.path.parent.name}/{item.path.stem}"


def _suite(item: pytest.Item) -> str | None:
    """The Docker host that a test asks for: each is started by one process alone."""
    callspec = getattr(item, "callspec", None)
    if callspec and "docker_host" in callspec.params:
        return str(callspec.params["docker_host"])
    names: Sequence[str] = getattr(item, "fixturenames", ())
    return next((suite for suite in SUITES if f"{suite}_host" in names), None)
