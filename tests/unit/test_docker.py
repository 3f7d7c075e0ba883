"""docker's and df's output, captured from real engines, and anything else that a host may print."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.captured import BUILDX_013, BUILDX_029, CLASSIC, CLIS, facts, inspected, read
from worker.docker import (
    CacheRecord,
    FileSystem,
    Pruned,
    PruneEvent,
    parse_cache_records,
    parse_df,
    parse_prune,
    parse_prune_events,
    parse_pruned_rows,
    parse_time,
)
from worker.engine import Engine, client_in_info, is_socket, parse_cli_version, parse_engine
from worker.errors import CommandFailed, UnsupportedEngine

SOCKET = '"unix:///var/run/docker.sock"\n'
BUILDER = "Name:   default\nDriver: docker\n"


def _engine(info: str, endpoint: str = SOCKET, builder: str = BUILDER) -> Engine:
    return parse_engine("26.1.5", info, endpoint, builder)


# Engines


@pytest.mark.parametrize(
    ("cli", "version", "builder"),
    [
        (CLASSIC, "20.10.24", "classic"),
        (BUILDX_013, "26.1.5", "buildx 0.13.1"),
        (BUILDX_029, "28.5.2", "buildx 0.29.1"),
    ],
)
def test_parse_engine_reads_real_engines(cli: str, version: str, builder: str) -> None:
    said = inspected(cli).stdout or inspected(cli).stderr
    client = parse_cli_version(read(cli, "version.txt"))
    engine = parse_engine(client, read(cli, "info.json"), read(cli, "context.json"), said)
    assert (engine.client, engine.server, engine.builder) == (version, version, builder)
    assert engine.id == facts(cli)["ID"]
    assert engine.root == "/var/lib/docker"
    assert engine.now is not None
    assert engine.now.isoformat().startswith("2026-11-21T04:37:")


@pytest.mark.parametrize(
    ("cli", "version"), [(CLASSIC, None), (BUILDX_013, "26.1.5"), (BUILDX_029, "28.5.2")]
)
@pytest.mark.parametrize("file", ["info.json", "info_stopped.json"])
def test_client_in_info_is_the_clis_version_from_23_on(cli: str, version: str | None, file: str) -> None:
    assert client_in_info(read(cli, file)) == version


@pytest.mark.parametrize(
    "client", [None, "x", [], {}, {"Version": None}, {"Version": "dev"}, {"Version": ["26"]}, {"Version": ""}]
)
def test_client_in_info_is_none_where_it_is_no_version(client: Any) -> None:
    assert client_in_info(json.dumps({"ClientInfo": client})) is None


@pytest.mark.parametrize(
    "info", ["", "null", "[]", "garbage", "[" * 100_000, '{"version": {"Version": "4.3.1"}}']
)
def test_client_in_info_is_none_where_no_docker_cli_printed_it(info: str) -> None:
    assert client_in_info(info) is None


def test_parse_cli_version_refuses_podman() -> None:
    with pytest.raises(UnsupportedEngine, match=r"'podman version 4\.3\.1'.*install docker-cli"):
        parse_cli_version(read("podman-4.3.1", "version.txt"))


def test_parse_engine_refuses_docker_cli_on_podmans_socket() -> None:
    info = json.dumps({**facts(BUILDX_013), "DockerRootDir": "/var/lib/containers/storage"})
    with pytest.raises(UnsupportedEngine, match="the engine is Podman"):
        _engine(info)


@pytest.mark.parametrize(
    "version", ["", "docker version 26.1.5", "Emulate Docker CLI using podman.\npodman", "\x00"]
)
def test_parse_cli_version_refuses_any_other_cli(version: str) -> None:
    with pytest.raises(UnsupportedEngine, match="not Docker's CLI"):
        parse_cli_version(version)


@pytest.mark.parametrize(
    "endpoint",
    [
        '"tcp://10.0.0.7:2375"',
        '"ssh://root@elsewhere"',  # what DOCKER_HOST=ssh://root@elsewhere gives
        '"npipe:////./pipe/docker_engine"',
        '"http+unix:///run/docker.sock"',
        "unix:///var/run/docker.sock",  # not JSON
        '""',
        "",
        "null",
        '["unix:///var/run/docker.sock"]',
        '{"Host": "unix:///var/run/docker.sock"}',
        "1",
    ],
)
def test_parse_engine_refuses_an_endpoint_that_is_not_a_socket_there(endpoint: str) -> None:
    assert not is_socket(endpoint)
    with pytest.raises(UnsupportedEngine, match="not a socket on that host; unset DOCKER_HOST"):
        _engine(read(BUILDX_013, "info.json"), endpoint)


def test_parse_engine_takes_a_rootless_engines_socket() -> None:
    assert is_socket('"unix:///run/user/1000/docker.sock"')
    _engine(read(BUILDX_013, "info.json"), '"unix:///run/user/1000/docker.sock"')


@pytest.mark.parametrize("cli", [CLASSIC, BUILDX_013])
def test_parse_engine_says_that_the_engine_is_stopped(cli: str) -> None:
    """Up to CLI 26 `docker info --format` exits with 0 where no engine answers."""
    with pytest.raises(
        CommandFailed, match=r"`docker info`.*Cannot connect to the Docker daemon at unix:///"
    ):
        _engine(read(cli, "info_stopped.json"))


@pytest.mark.parametrize(
    "info",
    [
        "",
        "null",
        "[]",
        "{}",
        "garbage \ufffd",
        '{"ID": "short", "ServerVersion": "26", "DockerRootDir": "/"}',
        '{"ID": null, "ServerVersion": "26", "DockerRootDir": "/"}',
        '{"ID": "a b c d e f g", "ServerVersion": "26", "DockerRootDir": "/"}',
        '{"ID": "engine-id\\n", "ServerVersion": "26", "DockerRootDir": "/"}',
        '{"ID": "engine-id-1", "ServerVersion": "", "DockerRootDir": "/"}',
        '{"ID": "engine-id-1", "ServerVersion": "26", "DockerRootDir": ""}',
        '{"ID": "engine-id-1", "ServerVersion": "26", "DockerRootDir": "--help"}',
        '{"ID": "engine-id-1", "ServerVersion": "26", "DockerRootDir": "/a\\u0000b"}',
        '{"ID": "engine-id-1", "ServerVersion": "26", "DockerRootDir": "/a\\ud800"}',
        '{"ID": "engine-id-1", "ServerVersion": "26", "DockerRootDir": ["/"]}',
        '{"ID": "' + "x" * 129 + '", "ServerVersion": "26", "DockerRootDir": "/"}',
        "[" * 100_000,
        "9" * 5000,
        '{"ID": ' + "9" * 5000 + "}",
    ],
    ids=lambda info: info[:60] or "empty",
)
def test_parse_engine_refuses_info_that_describes_no_engine(info: str) -> None:
    with pytest.raises(UnsupportedEngine, match="does not describe a Docker engine") as caught:
        _engine(info)
    assert len(str(caught.value)) < 1000


# Builders


@pytest.mark.parametrize(
    ("plugins", "builder"),
    [
        ([{"Name": "buildx", "Version": "v0.10.2"}], "buildx 0.10.2"),
        ([{"Name": "compose", "Version": "v2.26"}, {"Name": "buildx", "Version": "v1"}], "buildx 1"),
        ([{"Name": "buildx", "Err": "failed to fetch metadata"}], "buildx unknown"),
        ([{"Name": "buildx", "Version": {"a": 1}}], "buildx {'a': 1}"),
        ("buildx", "buildx unknown"),
        (["buildx", None, 1], "buildx unknown"),
        (None, "buildx unknown"),
    ],
)
def test_parse_engine_reads_buildxs_version_among_the_plugins(plugins: Any, builder: str) -> None:
    info = json.dumps(facts(BUILDX_013) | {"ClientInfo": {"Context": "default", "Plugins": plugins}})
    assert _engine(info).builder == builder


@pytest.mark.parametrize(
    ("cli", "file"),
    [
        (CLASSIC, "builder.stderr.txt"),
        (BUILDX_013, "builder_classic.stderr.txt"),
        (BUILDX_029, "builder_classic.stderr.txt"),
    ],
)
def test_parse_engine_knows_the_classic_builder_by_its_usage_whatever_is_installed(
    cli: str, file: str
) -> None:
    for info in (read(CLASSIC, "info.json"), read(BUILDX_013, "info.json")):
        assert _engine(info, builder=read(cli, file)).builder == "classic"


REMEDY = "unset BUILDX_BUILDER there, `docker buildx use default` or `docker buildx uninstall`"


@pytest.mark.parametrize("cli", CLIS)
@pytest.mark.parametrize("other", [BUILDX_013, BUILDX_029])
def test_parse_engine_refuses_another_builder_whatever_the_cli(cli: str, other: str) -> None:
    """20.10 too: there an alias in config.json hands `docker builder` to buildx."""
    with pytest.raises(UnsupportedEngine) as caught:
        _engine(read(cli, "info.json"), builder=read(other, "builder_other.txt"))
    assert str(caught.value) == (
        "`docker builder prune` would take the cache of builder 'other' (driver docker-container), "
        f"not the engine's own; {REMEDY}"
    )


@pytest.mark.parametrize("driver", ["docker-container", "kubernetes", "remote", "cloud", "Docker", "docker2"])
def test_parse_engine_refuses_every_driver_but_docker(driver: str) -> None:
    with pytest.raises(UnsupportedEngine, match=rf"'other' \(driver {driver}\)"):
        _engine(read(BUILDX_013, "info.json"), builder=f"Name: other\nDriver: {driver}\n")


def test_parse_engine_refuses_another_contexts_builder() -> None:
    with pytest.raises(UnsupportedEngine, match=r"'second' \(driver docker\)"):
        _engine(read(BUILDX_013, "info.json"), builder="Name: second\nDriver: docker\n")
    info = json.dumps(facts(BUILDX_013) | {"ClientInfo": {"Context": "second"}})
    with pytest.raises(UnsupportedEngine, match=r"'default' \(driver docker\)"):
        _engine(info)
    assert _engine(info, builder="Name: second\nDriver: docker\n").builder == "buildx unknown"


def test_parse_engine_refuses_a_builder_that_has_taken_the_contexts_name() -> None:
    info = json.dumps(facts(BUILDX_013) | {"ClientInfo": {"Context": "third"}})
    with pytest.raises(UnsupportedEngine, match="`docker buildx rm third` there"):
        _engine(info, builder="Name: third\nDriver: docker-container\n")


@pytest.mark.parametrize("client", [None, "x", [], {}, {"Context": None}, {"Context": ["default"]}])
def test_parse_engine_refuses_a_builder_where_the_context_is_unknown(client: Any) -> None:
    info = json.dumps(facts(BUILDX_013) | {"ClientInfo": client})
    with pytest.raises(UnsupportedEngine, match="not the engine's own"):
        _engine(info)


@pytest.mark.parametrize(
    "builder",
    [
        "",
        "garbage",
        'ERROR: no builder "missing" found\n',
        "Name:   default\nDriver: \nError:  Cannot connect to the Docker daemon\n",
        "Driver: docker\nName:   default\n",
        "Nodes:\nName: default\nDriver: docker\n",
        "\nName: default\nDriver: docker\n",
        "Name: default\nLast Activity: now\nDriver: docker\n",
        "Name: default\nDriver: docker container\n",
        "Name: default\nDriver: " + "docker" * 100,
        "Usage:  docker buildx inspect [NAME]\n",
        "Usage:  docker build\n",
        "see Usage:  docker builder\n",
        "\ufffd" * 1000,
    ],
    ids=lambda text: repr(text)[:40],
)
@pytest.mark.parametrize("cli", CLIS)
def test_parse_engine_refuses_a_builder_that_it_can_not_read(cli: str, builder: str) -> None:
    with pytest.raises(UnsupportedEngine, match="does not say whose cache a prune would take") as caught:
        _engine(read(cli, "info.json"), builder=builder)
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "filler", [" ", "\t", "\n", "Name: ", "Usage: ", "Name: x\nDriver: ", "Usage: docker "]
)
def test_parse_engine_is_quick_on_megabytes_of_builder(filler: str) -> None:
    begin = time.process_time()
    with pytest.raises(UnsupportedEngine):
        _engine(read(BUILDX_013, "info.json"), builder=filler * (2_000_000 // len(filler)))
    assert time.process_time() - begin < 3


def test_parse_engine_keeps_no_more_of_a_version_than_a_report_should_hold() -> None:
    long = "9" * 1_000_000
    client = {"Version": long, "Context": "default", "Plugins": [{"Name": "buildx", "Version": long}]}
    info = json.dumps(facts(BUILDX_013) | {"ServerVersion": long, "ClientInfo": client})
    versions = (client_in_info(info), parse_cli_version(f"Docker version {long}, build 1"))
    engine = _engine(info)
    assert all(version is not None and len(version) < 65 for version in versions)
    assert len(engine.server + engine.builder) < 200


def test_parse_cli_version_reads_a_cli_that_gives_no_version() -> None:
    assert parse_cli_version("Docker version unknown") is None


@pytest.mark.parametrize("system_time", [None, "", 1, "0001-01-01T00:00:00Z", "yesterday"])
def test_parse_engine_knows_no_time_where_the_engine_says_none(system_time: Any) -> None:
    info = json.dumps(facts(BUILDX_013) | {"SystemTime": system_time})
    assert _engine(info).now is None


# Prunes


@pytest.mark.parametrize(
    ("file", "pruned"),
    [
        ("prune.txt", Pruned(8_170_000, 5)),
        ("prune_seven.txt", Pruned(36_260_000, 7)),
        ("prune_shared.txt", Pruned(11_110_000, 3)),
        ("prune_nothing.txt", Pruned(0, 0)),
    ],
)
@pytest.mark.parametrize("cli", CLIS)
def test_parse_prune_reads_both_forms(cli: str, file: str, pruned: Pruned) -> None:
    assert parse_prune(read(cli, file)) == pruned


@pytest.mark.parametrize("cli", CLIS)
def test_parse_prune_knows_no_total_in_an_error(cli: str) -> None:
    assert parse_prune(read(cli, "prune_until_7d.stderr.txt")) == Pruned(None, 0)


@pytest.mark.parametrize(
    ("total", "size"),
    [
        ("Total:\t49.21MB", 49_210_000),
        ("Total reclaimed space: 49.21MB", 49_210_000),
        ("Total:   1.5GiB  ", 1_610_612_736),
        ("Total:\t2PB", 2 * 10**15),
        ("Total:\t5MB\r", 5_000_000),
        ("Total:5MB", 5_000_000),
    ],
)
def test_parse_prune_reads_the_total(total: str, size: int) -> None:
    assert parse_prune(f"ID\tRECLAIMABLE\tSIZE\nabc\ttrue\t1MB\n{total}\n") == Pruned(size, 1)


@pytest.mark.parametrize(
    "stdout",
    [
        "",
        "\n",
        "garbage",
        "Total",
        "Total:",
        "Total:\t",
        "Total:\tunknown",
        "Total:\t-5MB",
        "Total:\tNaN",
        "Total:\t1e99PB",
        "Total:\t" + "9" * 400 + "PB",
        "Total:\t5",
        "Total:\t5MB 3MB",
        "Total:\t\u0663MB",
        "total: 5MB",
        "  Total: 5MB",
        "Subtotal: 5MB",
        "Total reclaimed space\n5MB",
        "Total:\n5MB",
        "Reclaimable:\t5MB",
        "\ufffd\ufffd\x00",
        "Total:\t5MB\nTotal:\tgarbage",
        "Total:\t5MB\nTotal:",
    ],
    ids=lambda stdout: repr(stdout)[:40],
)
def test_parse_prune_takes_an_unread_total_for_unknown_never_zero(stdout: str) -> None:
    assert parse_prune(stdout).reclaimed_bytes is None


def test_parse_prune_counts_the_last_total() -> None:
    """Descriptions come first, and may hold anything."""
    assert parse_prune("Total:\t1GB\nTotal:\t5MB\n").reclaimed_bytes == 5_000_000


@pytest.mark.parametrize(
    "filler", [" ", "\t", "\n", "x", "9", "Total:\t", "Total: \n", "Total:\t1MB\n", "x \t", "\x85"]
)
def test_parse_prune_is_quick_on_megabytes(filler: str) -> None:
    stdout = "Total:\t1MB" + filler * (2_000_000 // len(filler)) + "x"
    begin = time.process_time()
    parse_prune(stdout)
    assert time.process_time() - begin < 3


# Records


@pytest.mark.parametrize("cli", CLIS)
def test_parse_cache_records_reads_a_chain(cli: str) -> None:
    records = parse_cache_records(read(cli, "system_df.json"))
    assert records is not None
    assert sorted(record.size for record in records) == [
        1_000_000,
        1_050_000,
        2_000_000,
        2_020_000,
        2_100_000,
    ]
    assert {record.kind for record in records} == {"regular"}
    ids = {record.id for record in records}
    assert sorted(len(record.parents) for record in records) == [0, 1, 1, 1, 1]
    assert {parent for record in records for parent in record.parents} < ids
    assert not any(record.shared or record.in_use for record in records)
    assert all(record.used is not None and record.used.year == 2026 for record in records)


@pytest.mark.parametrize("cli", CLIS)
def test_parse_cache_records_sees_which_are_shared(cli: str) -> None:
    records = parse_cache_records(read(cli, "system_df_shared.json"))
    assert records is not None
    assert [record.shared for record in records].count(True) == 5
    assert len(records) == 8


def test_parse_cache_records_knows_several_parents_a_star_and_a_missing_use() -> None:
    """A record that is in use has a star, a merge has several parents, one never used again has no time."""
    record = {
        "CacheType": "regular",
        "CreatedAt": "2026-11-21 04:00:00 +0000 UTC",
        "ID": "merged*",
        "InUse": "true",
        "LastUsedAt": "",
        "Parent": "aaa, bbb",
        "Shared": "false",
        "Size": "5B",
    }
    assert parse_cache_records(json.dumps({"BuildCache": [record]})) == [
        CacheRecord(
            id="merged*",
            parents=("aaa", "bbb"),
            kind="regular",
            size=5,
            used=datetime(2026, 11, 21, 4, tzinfo=UTC),
            in_use=True,
            shared=False,
        )
    ]


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"ID": None, "Size": [], "InUse": 0, "Shared": "maybe", "LastUsedAt": {}},
        {"InUse": "", "Size": "9" * 400},
    ],
)
def test_a_record_without_a_readable_state_counts_as_used_and_shared(record: dict[str, Any]) -> None:
    records = parse_cache_records(json.dumps({"BuildCache": [record]}))
    assert records is not None
    assert [(found.in_use, found.shared, found.size, found.used) for found in records] == [
        (True, True, 0, None)
    ]


@pytest.mark.parametrize(
    "stdout",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"BuildCache": null}',
        '{"BuildCache": {}}',
        "[" * 100_000,
        "9" * 5000,
        "\ufffd",
    ],
)
def test_parse_cache_records_knows_none_where_there_is_no_list(stdout: str) -> None:
    assert parse_cache_records(stdout) is None


def test_parse_cache_records_passes_over_what_is_no_record() -> None:
    assert parse_cache_records('{"BuildCache": [null, 1, "x", []]}') == []


# Times


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T03:59:13.871234567Z", datetime(2026, 11, 21, 3, 59, 13, 871_234, UTC)),
        ("2026-11-21T03:59:13Z", datetime(2026, 11, 21, 3, 59, 13, 0, UTC)),
        ("2026-11-21T05:59:13.8+02:00", datetime(2026, 11, 21, 3, 59, 13, 800_000, UTC)),
        ("2026-11-21 04:08:29.16 +0000 UTC", datetime(2026, 11, 21, 4, 8, 29, 160_000, UTC)),
        ("2026-11-20 23:08:29.160123456 -0500 EST", datetime(2026, 11, 21, 4, 8, 29, 160_123, UTC)),
    ],
)
def test_parse_time_reads_dockers_forms(text: str, moment: datetime) -> None:
    parsed = parse_time(text)
    assert parsed == moment
    assert parsed.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "N/A",
        "3 seconds ago",
        "2026-11-21",
        "2026-11-21T03:59:13",
        "2026-13-41T99:99:99Z",
        "2026-11-21T03:59:13+99:99",
        "\u0662\u0660\u0662\u0666-11-21T03:59:13Z",
        "0001-01-01T00:00:00Z",  # Go's zero time
        "0001-01-01 00:00:00 +0000 UTC",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "0000-00-00T00:00:00Z",
        "9" * 1_000_000,
    ],
    ids=lambda text: text[:32],
)
def test_parse_time_knows_none_for_anything_else(text: str) -> None:
    assert parse_time(text) is None


# File systems


@pytest.mark.parametrize(
    ("file", "path"), [("coreutils-9.txt", "/var/lib/docker"), ("busybox-1.37.txt", "/")]
)
def test_parse_df_reads_coreutils_and_busybox(file: str, path: str) -> None:
    stdout = read("df", file)
    size, _, free = map(int, stdout.splitlines()[1].split()[1:4])
    assert parse_df(stdout, path) == FileSystem(path, size * 1024, free * 1024)
    assert size == 264_212_084


@pytest.mark.parametrize(
    ("line", "file_system"),
    [
        ("/dev/sda1 100 60 40 60% /", (102_400, 40_960)),
        ("//nas/my share 1 2 100 60 -5 60% /mnt/a b", (102_400, -5120)),  # reserved blocks used up
        ("tmpfs 100 0 100 0% /run\t", (102_400, 102_400)),
    ],
)
def test_parse_df_reads_odd_names_and_overfull_disks(line: str, file_system: tuple[int, int]) -> None:
    assert parse_df(
        f"Filesystem 1024-blocks Used Available Capacity Mounted on\n{line}\n", "/x"
    ) == FileSystem("/x", *file_system)


@pytest.mark.parametrize(
    "stdout",
    [
        "",
        "\n\n",
        "Filesystem 1024-blocks Used Available Capacity Mounted on\n",
        "h\n/dev/sda1 100 60 40 60% /\n/dev/sdb1 1 1 1 1% /b\n",
        "h\n/dev/sda1 a b c 60% /\n",
        "h\n/dev/sda1 \u0661\u0660\u0660 60 40 60% /\n",
        "h\n/dev/sda1 " + "9" * 5000 + " 60 40 60% /\n",
        "h\n/dev/sda1 100 60 40 / \n",
        "\ufffd\x00",
    ],
    ids=lambda stdout: repr(stdout)[:40],
)
def test_parse_df_knows_none_for_anything_else(stdout: str) -> None:
    assert parse_df(stdout, "/") is None


def test_parse_df_knows_none_for_a_file_system_without_a_size() -> None:
    assert parse_df(read("df", "without-size.txt"), "/proc") is None


@pytest.mark.parametrize("filler", [" ", "9", " 9", " 9 ", "9 %"])
def test_parse_df_is_quick_on_megabytes(filler: str) -> None:
    stdout = "h\n/dev/sda1 " + filler * (2_000_000 // len(filler))
    begin = time.process_time()
    assert parse_df(stdout, "/") is None
    assert time.process_time() - begin < 3


# What was printed so far


@pytest.mark.parametrize("cli", [BUILDX_013, BUILDX_029])
@pytest.mark.parametrize("file", ["prune.txt", "prune_seven.txt", "prune_shared.txt"])
def test_the_rows_of_a_whole_table_are_its_total(cli: str, file: str) -> None:
    text = read(cli, file)
    assert parse_pruned_rows(text) == pytest.approx(parse_prune(text).reclaimed_bytes, rel=0.001)


@pytest.mark.parametrize("cli", [BUILDX_013, BUILDX_029])
def test_the_rows_so_far_count_wherever_it_was_cut_and_half_a_row_does_not(cli: str) -> None:
    text, sums = read(cli, "prune.txt"), []
    for end in range(len(text)):
        whole = text[:end].rpartition("\n")[0]
        assert parse_pruned_rows(text[:end]) == parse_pruned_rows(whole + "\n" if whole else "")
        sums.append(parse_pruned_rows(text[:end]) or 0)
    assert sorted(set(sums)) == [0, 2_097_000, 3_146_000, 5_146_000, 6_146_000, 8_171_000]
    assert sums == sorted(sums)


@pytest.mark.parametrize(
    "text", ["", "garbage\n", "Total:\t8MB\n", "ID\tRECLAIMABLE\tSIZE\n", "id true much \n", "\ufffd\n"]
)
def test_where_there_is_no_row_nothing_is_known(text: str) -> None:
    assert parse_pruned_rows(text) is None


def test_without_buildx_no_row_is_printed() -> None:
    assert parse_pruned_rows(read(CLASSIC, "prune.txt")) is None


# Its events


EVENT_TS = 1_795_246_000.5


def _event(ts: float, reclaimed: Any = "5000000", **changes: Any) -> str:
    event = {
        "Type": "builder",
        "Action": "prune",
        "Actor": {"ID": "", "Attributes": {"reclaimed": reclaimed}},
    }
    return json.dumps(event | {"time": int(ts), "timeNano": int(ts * 1e9)} | changes) + "\n"


@pytest.mark.parametrize("cli", CLIS)
def test_events_are_read_as_each_engine_printed_them(cli: str) -> None:
    (event,) = parse_prune_events(read(cli, "builder_events.json"))
    assert 1_795_246_000 < event.ts < 1_795_247_000
    assert 6_000_000 < event.reclaimed_bytes < 11_000_000


@pytest.mark.parametrize(
    "line",
    [
        "",
        "garbage",
        "[]",
        "{}",
        "[" * 100_000,
        _event(EVENT_TS, Type="image"),
        _event(EVENT_TS, Action="create"),
        _event(EVENT_TS, Actor=None),
        _event(EVENT_TS, Actor={"Attributes": ["reclaimed"]}),
        _event(EVENT_TS, Actor={}),
        _event(EVENT_TS, None),
        _event(EVENT_TS, 5_000_000),
        _event(EVENT_TS, "-5"),
        _event(EVENT_TS, "5MB"),
        _event(EVENT_TS, "\u0665"),
        _event(EVENT_TS, "9" * 17),
        _event(EVENT_TS, timeNano=str(EVENT_TS)),
        _event(EVENT_TS, timeNano=True),
        _event(EVENT_TS, timeNano=1e400),
        _event(EVENT_TS, timeNano=-1),
        _event(EVENT_TS, timeNano=10**30),
        _event(EVENT_TS)[:-5],
    ],
    ids=lambda line: line[-70:],
)
def test_a_line_that_is_no_prune_s_event_is_left_out(line: str) -> None:
    good = _event(EVENT_TS, "7")
    assert parse_prune_events(f"{line}\n{good}{line}") == [PruneEvent(int(EVENT_TS * 1e9) / 1e9, 7)]
