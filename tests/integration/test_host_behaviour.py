"""What hosts print, refuse and let hang: one real worker, its hosts over ssh and `local`."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.fleet import INTERVAL_S, TIMEOUT_S, Fleet
from tests.support.processes import command_line, send_signal
from tests.support.soft_limit import strike
from tests.support.waiting import wait_until
from worker.errors import CommandFailed, CommandTimedOut, UnsupportedEngine

PRUNE = "docker builder prune --force --filter until=24h"
LOOK = {
    "info --format {{json .}}",
    "context inspect --format {{json .Endpoints.docker.Host}}",
    "builder inspect",
}
ONE_PASS = r"""
if [ -e "$folder/pruned" ]; then printf 'Total:\t0B\n'; exit; fi
touch "$folder/pruned"
"""
both_ways = pytest.mark.parametrize("host", ["one", "local"])


# What hosts print


@both_ways
def test_garbage_is_an_unknown_amount_not_zero(fleet: Fleet, host: str) -> None:
    fleet.docker.prunes("head -c 100000 /dev/urandom\n")
    report = fleet.run(host)
    assert (report["outcome"], report["reclaimed"], report["reclaimed_bytes"]) == ("done", None, None)
    assert (report["passes"], report["complete"]) == (1, False)
    assert fleet.remembered(host)["last_reclaimed_bytes"] == ""
    assert "total_reclaimed_bytes" not in fleet.remembered(host)


@both_ways
def test_fifty_megabytes_of_output_are_read_to_their_total(fleet: Fleet, host: str) -> None:
    fleet.docker.prunes(ONE_PASS + r"yes 'abc true 1kB now' | head -c 50000000; printf '\nTotal:\t5MB\n'")
    report = fleet.run(host)
    assert (report["reclaimed_bytes"], report["passes"], report["complete"]) == (5_000_000, 2, True)


def test_fifty_megabytes_of_complaints_are_a_short_error(fleet: Fleet) -> None:
    fleet.docker.prunes("yes 'no space left' | head -c 50000000 >&2; exit 1\n")
    with pytest.raises(CommandFailed, match="no space left") as failure:
        fleet.run()
    assert len(str(failure.value)) < 300


@both_ways
def test_bytes_that_are_not_utf_8_cost_neither_the_total_nor_the_run(fleet: Fleet, host: str) -> None:
    fleet.docker.prunes(ONE_PASS + r"printf '\377\376\n\200\nTotal:\t1.5kB\n'; printf '\303\050' >&2")
    assert fleet.run(host)["reclaimed_bytes"] == 1500


@both_ways
def test_a_failing_prune_tells_its_exit_status_and_first_lines(fleet: Fleet, host: str) -> None:
    fleet.docker.prunes(r"printf '1st\n2nd\n\377\033[31m\n4\n5\n6th\n' >&2; exit 7")
    with pytest.raises(CommandFailed) as failure:
        fleet.run(host)
    assert failure.value.args == (PRUNE, 7, "1st\n2nd\n\N{REPLACEMENT CHARACTER}?[31m\n4\n5")
    memory = fleet.remembered(host)
    assert memory["consecutive_failures"] == "1"
    assert memory["last_error"].startswith(f"CommandFailed: `{PRUNE}` exited with status 7: 1st")


@both_ways
def test_a_prune_that_dies_of_a_signal_has_failed(fleet: Fleet, host: str) -> None:
    fleet.docker.prunes("kill -KILL $$")
    with pytest.raises(CommandFailed, match="was killed by a signal"):
        fleet.run(host)


def test_what_earlier_passes_reclaimed_counts_when_a_later_one_fails(fleet: Fleet) -> None:
    fleet.docker.prunes(r"""
    if [ -e "$folder/pruned" ]; then exit 1; fi
    touch "$folder/pruned"
    printf 'Total:\t5MB\n'
    """)
    with pytest.raises(CommandFailed):
        fleet.run()
    assert fleet.remembered("one")["total_reclaimed_bytes"] == "5000000"


def test_a_cache_that_never_ends_is_pruned_five_times(fleet: Fleet) -> None:
    fleet.docker.prunes(r"printf 'Total:\t1MB\n'")
    report = fleet.run()
    assert (report["passes"], report["complete"], report["reclaimed_bytes"]) == (5, False, 5_000_000)
    assert fleet.docker.prunes_started == 5


# What is refused


def assert_only_looked_at(fleet: Fleet, *more: str) -> None:
    assert set(fleet.docker.calls()) == LOOK | set(more)


@both_ways
def test_a_missing_docker_is_a_failed_command(fleet: Fleet, host: str) -> None:
    # The real timeout, which then finds no docker whatever else is installed here.
    fleet.command("timeout", 'exec /usr/bin/env PATH=/nowhere /usr/bin/timeout "$@"')
    with pytest.raises(CommandFailed, match=r"docker --version` exited with status 127: .*No such file"):
        fleet.run(host)


def test_podman_s_docker_is_refused_and_sent_nothing_else(fleet: Fleet) -> None:
    fleet.docker.answers("version", "podman version 4.3.1\n")
    fleet.docker.answers("info", '{"host": {"os": "linux"}, "version": {"Version": "4.3.1"}}\n')
    with pytest.raises(UnsupportedEngine, match=r"not Docker's CLI but says 'podman version 4\.3\.1'"):
        fleet.run()
    assert_only_looked_at(fleet, "--version")


@both_ways
@pytest.mark.parametrize(
    ("builder", "match"),
    [
        (
            "Name:   other\nDriver: remote\n",
            r"builder 'other' \(driver remote\), not the engine's own; unset",
        ),
        ("Name:   second\nDriver: docker\n", r"builder 'second' \(driver docker\), not the engine's own"),
        ("Name:   default\nDriver: \nError:  no", r"does not say whose cache a prune would take: 'Name: "),
        ("\0" * 5000, "does not say whose cache a prune would take"),
        ("x" * 20_000_000, "does not say whose cache a prune would take"),
    ],
    ids=["other", "other context", "unreachable", "zeros", "long"],
)
def test_a_builder_that_is_not_the_engine_s_own_is_refused(
    fleet: Fleet, host: str, builder: str, match: str
) -> None:
    fleet.docker.answers("builder", builder)
    with pytest.raises(UnsupportedEngine, match=match) as failure:
        fleet.run(host)
    assert len(str(failure.value)) < 1000
    assert_only_looked_at(fleet)


@pytest.mark.parametrize("endpoint", ["tcp://10.0.0.1:2375", "ssh://other", "", "npipe:////./pipe/docker"])
def test_an_endpoint_that_is_not_a_socket_on_the_host_is_refused(fleet: Fleet, endpoint: str) -> None:
    fleet.docker.answers("context", f'"{endpoint}"\n')
    with pytest.raises(UnsupportedEngine, match="not a socket on that host"):
        fleet.run()
    assert_only_looked_at(fleet)


@pytest.mark.parametrize("info", ["", "null", "[]", "\0" * 5000, '{"ID": 5}', '{"ID": "', "x" * 20_000_000])
def test_an_engine_that_can_not_be_understood_is_refused(fleet: Fleet, info: str) -> None:
    fleet.docker.answers("info", info)
    with pytest.raises(UnsupportedEngine, match="does not describe a Docker engine") as failure:
        fleet.run()
    assert len(str(failure.value)) < 1000
    assert_only_looked_at(fleet, "--version")


def test_a_stopped_engine_is_a_failed_command(fleet: Fleet) -> None:
    fleet.docker.engine(ID="", ServerErrors=["Cannot connect to the Docker daemon"])
    with pytest.raises(CommandFailed, match="Cannot connect to the Docker daemon"):
        fleet.run()
    assert_only_looked_at(fleet)


# What hangs


@both_ways
def test_a_reading_command_that_hangs_does_not_stay_on_the_host(fleet: Fleet, host: str) -> None:
    bound = fleet.docker.folder / "bound"
    # The command's own bound would end it just as well, later.
    fleet.command("timeout", f'shift 3; echo $$ > {bound}-$2; exec /usr/bin/timeout -s KILL 1000 "$@"')
    (fleet.docker.folder / "info").unlink()
    os.mkfifo(fleet.docker.folder / "info")  # who reads it waits for ever
    sent = fleet.client.send(host)
    wait_until(lambda: bounded(fleet), 60, "docker info to be waiting", detail=fleet.worker.log)
    strike(fleet.client, sent)
    with pytest.raises(CommandTimedOut) as failure:
        sent.get()
    assert failure.value.args == (host, TIMEOUT_S, 0, None, False)
    if host == "one" and os.geteuid() == 0:
        # sshd passes on no signal to what root runs. Its bound is left: to `timeout` its time is over.
        send_signal(int(bound.with_name("bound-info").read_text()), signal.SIGALRM)
    wait_until(lambda: not bounded(fleet), 60, "docker info to be gone")


def bounded(fleet: Fleet) -> list[str]:
    """The processes that read what `docker info` prints."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [line for line in map(command_line, pids) if str(fleet.docker.folder / "info") in line]


def leave_a_prune(fleet: Fleet, host: str) -> None:
    """A run that reclaims 5 MB in its first pass, and reaches its soft limit in the second."""
    fleet.docker.prunes(r"""
    if [ -e "$folder/pruned" ]; then
        echo $$ > "$folder/left.new"; mv "$folder/left.new" "$folder/left"
        while [ ! -e "$folder/go" ]; do sleep 0.05; done
        touch "$folder/ended"
        exit
    fi
    touch "$folder/pruned"
    printf 'Total:\t5MB\n'
    """)
    sent = fleet.client.send(host)
    fleet.wait_for_prune(2)
    wait_until((fleet.docker.folder / "left").exists, 60, "the second pass")
    strike(fleet.client, sent)
    with pytest.raises(CommandTimedOut, match=r"raise HOLYSTONE_PRUNE_TIMEOUT_S") as failure:
        sent.get()
    assert failure.value.args == (host, TIMEOUT_S, 1, 5_000_000, True)
    assert "may_still_run=true" in str(failure.value)


@both_ways
def test_a_prune_at_the_soft_limit_goes_on_and_what_was_reclaimed_counts(fleet: Fleet, host: str) -> None:
    leave_a_prune(fleet, host)
    assert fleet.remembered(host)["total_reclaimed_bytes"] == "5000000"
    assert "CommandTimedOut" in fleet.remembered(host)["last_error"]
    left = int((fleet.docker.folder / "left").read_text())
    assert "builder prune" in command_line(left)
    fleet.docker.go()
    wait_until((fleet.docker.folder / "ended").exists, 60, "the prune to end by itself")


def test_a_scheduled_run_is_not_queued_behind_a_prune_that_may_still_run(fleet: Fleet) -> None:
    leave_a_prune(fleet, "one")
    pruned = fleet.docker.prunes_started
    # `two` is the same engine, and was never pruned by that name.
    assert fleet.run("two", trigger="schedule")["reason"] == "an earlier prune may still run on this engine"
    assert fleet.docker.prunes_started == pruned
    key = f"holystone:prune_build_cache:prunes:{fleet.engine_id}"
    ttl_s = 2 * INTERVAL_S + TIMEOUT_S
    assert ttl_s - 200 < fleet.redis.client().ttl(key) <= ttl_s
    fleet.docker.go()
    assert fleet.run("one")["outcome"] == "done"  # by hand it goes through, and ends the doubt
    fleet.redis.client().hdel("holystone:prune_build_cache:host:two", "last_run_ts")
    assert fleet.run("two", trigger="schedule")["outcome"] == "done"


def test_a_link_that_goes_silent_during_a_prune_ends_at_the_soft_limit(fleet: Fleet) -> None:
    fleet.docker.prunes_on_go()
    sent = fleet.client.send("proxied")
    fleet.wait_for_prune()
    fleet.proxy.swallow()
    strike(fleet.client, sent)
    try:
        with pytest.raises(CommandTimedOut) as failure:
            sent.get()
        assert failure.value.args == ("proxied", TIMEOUT_S, 0, None, True)
    finally:
        fleet.proxy.restore()
        fleet.proxy.cut()
