"""A prune that outlives its run, on real engines: the next visit learns what became of it and counts it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from tests.support.build_cache import cache_bytes, cache_records, wait_until_unused_for
from tests.support.chroots import SUITES
from tests.support.client import Sent
from tests.support.docker_host import DockerHost
from tests.support.processes import send_signal
from tests.support.served_host import ServedHost
from tests.support.soft_limit import strike
from tests.support.waiting import wait_until
from worker.errors import CommandTimedOut

INTERVAL_S = 21_600  # the default
PRUNING = "builder prune"
with_buildx = pytest.mark.parametrize("docker_host", SUITES[1:], indirect=True, scope="session")
BUILDX = "usr/libexec/docker/cli-plugins/docker-buildx"
# Each prune waits while there is a file of its own. Without buildx CLI 26 begins with a banner on stderr,
# which it would print while somebody still listens.
_HOLDS_BACK = """
wait_for_go() {{ touch /run/waits/$$; while [ -e /run/waits/$$ ]; do sleep 0.05; done; }}
case "$1 $2" in "builder prune")
  {how}
  exec 2>/dev/null ;;
esac
"""
_AT_THE_START = "rm /run/first 2>/dev/null || wait_for_go"
_AFTER_A_ROW = """exec 2>/dev/null
  line() { IFS= read -r line && printf '%s\\n' "$line"; }
  /usr/bin/docker "$@" > /run/rows  # not a pipe: on a busy machine the engine would still be at it
  # What follows the row is more than all on the way can hold: when it is printed, the run has read the row.
  { line; line; yes '' | head -c 8000000; wait_for_go; cat; } < /run/rows
  exit"""

_LOOK_AFTER_ITS_END = """
case "$1" in info) while pgrep -f "builder prun[e]" >/dev/null; do sleep 0.05; done ;; esac
"""


@pytest.fixture(scope="module")
def served(docker_host: DockerHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    tmp = tmp_path_factory.mktemp(docker_host.suite)
    with ServedHost(docker_host, tmp, disk_enabled=True) as served:
        yield served


@pytest.fixture
def host(served: ServedHost) -> Iterator[DockerHost]:
    """The served host with 6 MB of cache that `until=1s` takes; nothing remembered of its engine."""
    for key in served.redis.client().scan_iter("holystone:*"):
        served.redis.client().delete(key)
    served.host.docker("builder", "prune", "--force", "--all")
    fill(served.host)
    yield served.host
    assert served.worker.running()


def fill(host: DockerHost) -> None:
    host.fill_cache(megabytes=6)
    wait_until_unused_for(host, 2)  # without buildx engine 24 and later counts whole seconds


@contextmanager
def held_back(
    host: DockerHost, *, classic: bool, but_first: bool = False, how: str = _AT_THE_START
) -> Iterator[None]:
    """Prunes over ssh, maybe `but_first`, wait meanwhile, and go on at the end; `classic` hides buildx."""
    run, buildx = host.root / "run", host.root / BUILDX
    aside = buildx.with_name("aside")
    hides = classic and buildx.exists()
    (run / "waits").mkdir()
    if but_first:
        (run / "first").touch()
    if hides:
        buildx.rename(aside)
    try:
        with host.docker_is(_HOLDS_BACK.format(how=how)):
            try:
                yield
            finally:
                wait_until(lambda: let_go(host), 120, "the prunes to end by themselves")
    finally:
        (run / "first").unlink(missing_ok=True)
        rmtree(run / "waits")
        if hides:
            aside.rename(buildx)


def send(served: ServedHost) -> Sent:
    """A run whose prune waits by now."""
    before = len(waiting(served.host))
    sent = served.send(until="1s")
    wait_until(lambda: len(waiting(served.host)) > before, 60, "the prune", detail=served.worker.log)
    return sent


def leave(served: ServedHost) -> Sent:
    """A run that reaches its soft limit while a prune of it waits."""
    sent = send(served)
    strike(served.client, sent)
    with pytest.raises(CommandTimedOut) as failure:
        sent.get(60, served.worker.log)
    assert failure.value.args[-1] is True
    (key,) = notes(served)
    *_, note = json.loads(served.redis.client().get(key))
    begun_ts = note["begun_ts"]
    wait_until(lambda: time.time() > begun_ts, 60, "the time that it is noted to have begun")
    return sent


def waiting(host: DockerHost) -> list[Path]:
    """The files that prunes wait for the end of, oldest first; each is named for its process."""
    return sorted((host.root / "run/waits").iterdir(), key=lambda file: file.stat().st_mtime_ns)


def let_go(host: DockerHost) -> bool:
    """Lets all prunes go on, in turn, as if they had queued in the engine; whether they have ended."""
    for file in waiting(host):
        let_one_go(host, file)
    return not host.processes(PRUNING)


def let_one_go(host: DockerHost, file: Path) -> None:
    file.unlink()
    # By its pid: a process that becomes another program shows no command line for a moment.
    wait_until(lambda: not (host.root / "proc" / file.name).exists(), 60, "the prune to end by itself")


def run(served: ServedHost, trigger: str) -> dict[str, Any]:
    """The next run, as beat sends it an interval later, or by hand."""
    headers = {"holystone_due": time.time() + INTERVAL_S} if trigger == "schedule" else {}
    return served.run(until="1s", trigger=trigger, options={"headers": headers})


def total(served: ServedHost) -> int:
    return int(served.remembered().get("total_reclaimed_bytes", 0))


def notes(served: ServedHost) -> list[str]:
    return list(served.redis.client().scan_iter("holystone:*:prunes:*"))


@pytest.mark.parametrize("trigger", ["schedule", "manual"])
def test_the_engines_event_tells_what_a_left_prune_reclaimed_and_it_counts_once(
    served: ServedHost, host: DockerHost, trigger: str
) -> None:
    size = cache_bytes(host)
    with held_back(host, classic=True):
        left = leave(served)
        assert (total(served), len(notes(served))) == (0, 1)
    assert cache_records(host) == []
    fill(host)

    report = run(served, trigger)

    followed = report["followed"]
    assert isinstance(followed.pop("freed_bytes"), int)
    assert followed == {
        "task_ids": [left.id],
        "ended": True,
        "reclaimed_bytes": size,
        "counted_by": "event",
        "known_by": "event",
    }
    assert report["outcome"] == "done"
    assert 6_000_000 < report["reclaimed_bytes"] < 1.1 * size
    assert cache_records(host) == []
    assert total(served) == size + report["reclaimed_bytes"]
    assert notes(served) == []
    assert "followed" not in served.run(until="1s")
    assert total(served) == size + report["reclaimed_bytes"]


def test_an_earlier_pass_of_the_run_that_left_is_not_counted_again(
    served: ServedHost, host: DockerHost
) -> None:
    size = cache_bytes(host)
    with held_back(host, classic=True, but_first=True):
        leave(served)
        first = total(served)
        assert 0 < first <= 1.001 * size
    followed = run(served, "schedule")["followed"]
    assert followed["known_by"] == "event"
    assert first + followed["reclaimed_bytes"] == pytest.approx(size, rel=0.001)  # totals have four digits


@with_buildx
def test_a_prune_through_buildx_tells_no_event_and_the_next_run_prunes_what_it_left(
    served: ServedHost, host: DockerHost
) -> None:
    before = len(cache_records(host))
    with held_back(host, classic=False):
        left = leave(served)
    assert len(cache_records(host)) < before  # it ends at the first line that it can't print

    report = run(served, "schedule")

    followed = report["followed"]
    assert (followed["task_ids"], followed["ended"], followed["reclaimed_bytes"]) == ([left.id], True, None)
    assert followed["known_by"] in ("records", "process")
    assert isinstance(followed["freed_bytes"], int)
    assert (report["outcome"], cache_records(host)) == ("done", [])
    assert total(served) == report["reclaimed_bytes"]
    assert notes(served) == []


@with_buildx
@pytest.mark.parametrize("watched", [False, True])
def test_of_a_prune_through_buildx_counts_what_it_printed_or_what_cache_and_disk_lost(
    served: ServedHost, host: DockerHost, watched: bool
) -> None:
    sizes = [record["Size"] for record in cache_records(host)]
    if watched:
        watch = served.client.send("engine", task="tasks.watch_disk").get(60, served.worker.log)
        assert watch["build_cache_bytes"] == pytest.approx(sum(sizes), rel=0.001)
    with held_back(host, classic=False, how=_AFTER_A_ROW):
        leave(served)
    assert cache_records(host) == []  # it had been done before its second row could not be printed

    followed = run(served, "schedule")["followed"]

    assert (followed["ended"], followed["known_by"]) == (True, "records")
    reclaimed = followed["reclaimed_bytes"]
    assert total(served) == reclaimed
    if followed["counted_by"] == "disk":
        assert watched
        assert min(sizes) < reclaimed <= 1.001 * sum(sizes)
    else:  # others may have filled this machine's disk meanwhile
        assert followed["counted_by"] == "printed"
        assert any(reclaimed == pytest.approx(size, rel=0.001) for size in sizes)


def test_a_prune_whose_worker_was_killed_is_counted_by_the_run_done_again(
    served: ServedHost, host: DockerHost
) -> None:
    size = cache_bytes(host)
    with held_back(host, classic=True):
        sent = send(served)
        (first,) = waiting(host)
        assert len(notes(served)) == 1
        send_signal(served.client.meta(sent.id)["result"]["pid"], signal.SIGKILL)
        wait_until(lambda: len(waiting(host)) == 2, 120, "the run done again", detail=served.worker.log)
        let_one_go(host, first)  # the run's own comes second, as if it had queued in the engine
        assert cache_records(host) == []
    report = sent.get(60, served.worker.log)
    assert report["outcome"] == "done"
    followed = report["followed"]
    assert (followed["task_ids"], followed["ended"], followed["counted_by"]) == ([sent.id], True, "event")
    assert (followed["reclaimed_bytes"], report["reclaimed_bytes"], total(served)) == (size, 0, size)
    assert notes(served) == []


def test_a_prune_that_is_left_behind_another_does_not_hide_what_that_one_reclaimed(
    served: ServedHost, host: DockerHost
) -> None:
    size = cache_bytes(host)
    with held_back(host, classic=True):
        first = leave(served)
        second = leave(served)
    followed = run(served, "schedule")["followed"]
    assert (followed["task_ids"], followed["ended"]) == ([first.id, second.id], True)
    assert (followed["reclaimed_bytes"], followed["counted_by"]) == (size, "event")
    assert (total(served), notes(served)) == (size, [])


def test_a_scheduled_run_waits_while_it_runs_and_the_next_one_counts_it(
    served: ServedHost, host: DockerHost
) -> None:
    size = cache_bytes(host)
    with held_back(host, classic=True):
        left = leave(served)
        log = len(host.engine_log())

        report = run(served, "schedule")

        assert (report["outcome"], report["reason"]) == (
            "skipped",
            "an earlier prune may still run on this engine",
        )
        followed = report["followed"]
        assert (followed["task_ids"], followed["ended"], followed["known_by"]) == ([left.id], False, None)
        assert served.changes_asked_for(host.engine_log()[log:]) == []
        assert (cache_bytes(host), total(served), len(notes(served))) == (size, 0, 1)
    assert run(served, "manual")["followed"]["reclaimed_bytes"] == size
    assert total(served) == size


def test_an_event_that_the_engine_no_longer_has_is_not_known_and_not_counted(
    served: ServedHost, host: DockerHost
) -> None:
    with held_back(host, classic=True):
        leave(served)
    host.restart_engine()

    followed = run(served, "schedule")["followed"]

    assert (followed["ended"], followed["known_by"], followed["reclaimed_bytes"]) == (True, "records", None)
    assert total(served) == 0
    assert notes(served) == []


def test_a_prune_whose_connection_was_lost_is_counted_by_the_run_tried_again(
    served: ServedHost, host: DockerHost
) -> None:
    size = cache_bytes(host)
    with held_back(host, classic=True):
        sent = send(served)
        lost = f"run failed, tried again host=engine task_id={sent.id}"
        with host.docker_is(_LOOK_AFTER_ITS_END):
            for pid in host.pids("sshd: root@notty") + host.pids("sshd-session: root@notty"):
                send_signal(pid, signal.SIGKILL)
            # Not by its state, which is another once it is tried again.
            wait_until(lambda: lost in served.worker.log(), 60, "the run to fail", detail=served.worker.log)
            wait_until(lambda: let_go(host), 60, "the prune to end by itself")
    report = sent.get(60, served.worker.log)
    assert (report["outcome"], report["attempt"]) == ("done", 2)
    followed = report["followed"]
    assert (followed["task_ids"], followed["known_by"], followed["reclaimed_bytes"]) == (
        [sent.id],
        "event",
        size,
    )
    assert total(served) == size
