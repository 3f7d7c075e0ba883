"""Hosts that can't be reached, and links that break on the way: one real worker survives them all."""

from __future__ import annotations

import pytest

from tests.support.fleet import CONNECT_TIMEOUT_S, DEAD, Fleet
from tests.support.ssh_keys import make_key, public_key
from tests.support.waiting import wait_until
from worker.errors import AuthenticationFailed, HolystoneError, HostKeyRejected, HostUnreachable

RECLAIMED = 49_210_000
STEPS = 40


def test_dead_hosts_are_unreachable_in_time_and_delay_no_other(fleet: Fleet) -> None:
    in_time = f"no ssh login within {CONNECT_TIMEOUT_S} s"
    sent = {host: fleet.client.send(host, options={"retries": 3}) for host in DEAD}
    wait_until(lambda: all(run.state != "PENDING" for run in sent.values()), 60, "all to be on their way")
    assert fleet.run("one")["outcome"] == "done"
    assert not sent["silent"].ready()
    for host, run in sent.items():
        why = "" if host == "refused" else in_time
        with pytest.raises(HostUnreachable, match=f"^{host}: {why}"):
            run.get()
        assert fleet.remembered(host)["last_error"].startswith(f"HostUnreachable: {host}: ")
        assert fleet.remembered(host)["consecutive_failures"] == "1"


def test_an_unreachable_host_is_tried_again_and_served_when_it_is_back(fleet: Fleet) -> None:
    fleet.proxy.refuse(times=1)
    report = fleet.client.send("proxied").get(120, fleet.worker.log)
    assert (report["outcome"], report["attempt"], report["reclaimed_bytes"]) == ("done", 2, RECLAIMED)
    assert fleet.remembered("proxied")["consecutive_failures"] == "0"


@pytest.mark.parametrize(
    ("file", "error"), [("sshd/authorized_keys", AuthenticationFailed), ("known_hosts", HostKeyRejected)]
)
def test_what_another_try_can_not_cure_is_not_tried_again(
    fleet: Fleet, file: str, error: type[HolystoneError]
) -> None:
    path = fleet.tmp / file
    right = path.read_text()
    wrong = public_key(make_key(path.with_suffix(".other")))
    path.write_text(right.replace(" ".join(right.split()[-2:]), wrong))
    try:
        sent = fleet.client.send("one")
        with pytest.raises(error, match=r"^one: "):
            sent.get()
    finally:
        path.write_text(right)
    assert fleet.client.meta(sent.id)["retries"] == 0
    assert fleet.docker.calls() == []
    assert error.__name__ in fleet.remembered("one")["last_error"]
    assert fleet.run("one")["outcome"] == "done"
    assert fleet.remembered("one")["last_error"] == ""
    assert fleet.remembered("one")["consecutive_failures"] == "0"


def bytes_of_a_run(fleet: Fleet) -> int:
    """How many bytes come from the host in a whole run."""
    before = fleet.proxy.bytes_from_upstream
    assert fleet.run("proxied")["outcome"] == "done"
    return fleet.proxy.bytes_from_upstream - before


def test_a_connection_that_closes_at_any_step_is_unreachable_and_loses_no_count(fleet: Fleet) -> None:
    whole = bytes_of_a_run(fleet)
    pruned_before = set()
    for step in range(STEPS):
        fleet.begin()
        fleet.proxy.after_bytes = whole * step // STEPS
        with pytest.raises(HostUnreachable):
            fleet.run("proxied")
        fleet.end()
        total = int(fleet.remembered("proxied").get("total_reclaimed_bytes", 0))
        # The second pass is sent when the first one's total has been read.
        assert total in {0: (0,), 1: (0, RECLAIMED), 2: (RECLAIMED,)}[fleet.docker.prunes_started], step
        pruned_before.add(fleet.docker.prunes_started)
    assert pruned_before == {0, 1, 2}
    fleet.begin()
    assert fleet.run("proxied")["outcome"] == "done"


def test_a_link_cut_during_a_prune_is_unreachable_and_the_prune_may_still_run(fleet: Fleet) -> None:
    fleet.docker.prunes_on_go()
    sent = fleet.client.send("proxied", options={"retries": 3})
    fleet.wait_for_prune()
    fleet.proxy.cut()
    with pytest.raises(HostUnreachable, match="connection lost during `docker`"):
        sent.get()
    reason = "an earlier prune may still run on this engine"
    assert fleet.run("one", trigger="schedule")["reason"] == reason


def test_an_sshd_that_dies_during_a_prune_is_unreachable(fleet: Fleet) -> None:
    fleet.docker.prunes_on_go()
    sent = fleet.client.send("one", options={"retries": 3})
    fleet.wait_for_prune()
    assert fleet.server.cut_sessions() > 0
    with pytest.raises(HostUnreachable, match="connection lost during `docker`"):
        sent.get()
