"""Other buildx builders: who they are, and what their caches hold, from what docker printed."""

from __future__ import annotations

import json
import time

import pytest

from tests.unit.captured import BUILDX_013, BUILDX_029, CLASSIC, CLIS, read
from worker.builders import Builder, OtherCache, other_caches, parse_builders, parse_state_volumes

EXTRA = Builder("extra", "docker-container", (("extra0", "unix:///var/run/docker.sock"),))
DEFAULT = Builder("default", "docker", (("default", "default"),))
TABLE_0_9 = """\
NAME/NODE    DRIVER/ENDPOINT             STATUS   BUILDKIT PLATFORMS
ci *         docker-container
  ci0        unix:///var/run/docker.sock running  v0.10.6  linux/amd64, linux/386
  ci1        ssh://build-02              inactive
default      docker
  default    default                     running  20.10.24 linux/amd64
"""


@pytest.mark.parametrize(
    ("folder", "file"),
    [(BUILDX_013, "buildx_ls.json"), (BUILDX_013, "buildx_ls.txt"), (BUILDX_029, "buildx_ls.json")],
)
def test_parse_builders_reads_each_builder_once_whatever_the_form(folder: str, file: str) -> None:
    assert parse_builders(read(folder, file)) == [EXTRA, DEFAULT]


def test_parse_builders_reads_the_table_of_older_buildx() -> None:
    nodes = (("ci0", "unix:///var/run/docker.sock"), ("ci1", "ssh://build-02"))
    assert parse_builders(TABLE_0_9) == [Builder("ci", "docker-container", nodes), DEFAULT]


@pytest.mark.parametrize(
    "text", ["", "\n", "nonsense", "{", "{}", '{"Nodes": 7}', "a\n b\n", "a\n*\n", "  x\n  y\n"]
)
def test_parse_builders_of_anything_else_does_not_fail(text: str) -> None:
    assert all(isinstance(builder, Builder) for builder in parse_builders(text))


@pytest.mark.parametrize("line", [" x\n", "x docker\n", '{"Name": "x"}\n', " " + "x" * 99 + "\n"])
def test_parse_builders_of_a_flood_ends_at_once_with_little(line: str) -> None:
    text = ("{}\n" if line.startswith("{") else "NAME\na docker\n") + line * (8_000_000 // len(line))
    started = time.process_time()
    found = parse_builders(text)
    assert time.process_time() - started < 5
    assert len(found) <= 1000
    assert sum(len(builder.nodes) for builder in found) <= 100


def test_parse_builders_keeps_the_first_thousand_lines() -> None:
    assert len(parse_builders("NAME\n" + "".join(f"b{n} docker\n" for n in range(5000)))) == 999
    assert len(parse_builders("".join(f'{{"Name": "b{n}"}}\n' for n in range(5000)))) == 1000


def test_parse_builders_keeps_little_of_a_name() -> None:
    nodes = [{"Name": "n" * 999, "Endpoint": "e" * 999}] * 999
    (builder,) = parse_builders(json.dumps({"Name": "b" * 999, "Driver": ["d"] * 999, "Nodes": nodes}))
    assert (len(builder.name), builder.driver, len(builder.nodes)) == (200, "?", 100)
    assert max(len(part) for node in builder.nodes for part in node) == 200
    _, builder = parse_builders(f"NAME\nx\n{'b' * 999} {'d' * 999}\n {'n' * 999}\n")
    assert (len(builder.name), len(builder.driver), len(builder.nodes[0][0])) == (200, 200, 200)


def test_parse_state_volumes_reads_the_size_of_a_builder_s_volume() -> None:
    assert parse_state_volumes(read(BUILDX_013, "system_df_builders.json")) == {"ci0": 3_146_000}
    assert parse_state_volumes(read(CLASSIC, "system_df_builders.json")) == {"ci0": 0}


@pytest.mark.parametrize("cli", CLIS)
def test_parse_state_volumes_without_such_a_volume_is_empty(cli: str) -> None:
    assert parse_state_volumes(read(cli, "system_df.json")) == {}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"Volumes": null}'])
def test_parse_state_volumes_of_anything_else_is_unknown_not_none(text: str) -> None:
    assert parse_state_volumes(text) is None


def test_parse_state_volumes_keeps_a_size_that_can_not_be_read_as_unknown() -> None:
    volumes = {"Volumes": [{"Name": "buildx_buildkit_ci0_state", "Size": "N/A"}, {"Name": "data"}, 7]}
    assert parse_state_volumes(json.dumps(volumes)) == {"ci0": None}


def test_other_caches_adds_a_builder_s_nodes_and_names_those_of_other_logins_by_node() -> None:
    mine = Builder("mine", "docker-container", (("mine0", "unix:"), ("mine1", "unix:")))
    volumes = {"mine0": 5, "mine1": 7, "theirs0": 3}
    assert other_caches([DEFAULT, mine], volumes) == (
        [OtherCache("mine", 12), OtherCache("theirs0", 3)],
        [],
    )


def test_other_caches_tells_a_builder_without_a_volume_from_one_whose_size_was_not_read() -> None:
    assert other_caches([EXTRA], {}) == ([], ["extra"])
    assert other_caches([EXTRA], None) == ([OtherCache("extra", None)], [])
    assert other_caches([EXTRA], {"extra0": None}) == ([OtherCache("extra", None)], [])


def test_other_caches_counts_a_buildkitd_of_this_host_and_none_elsewhere() -> None:
    here = Builder("here", "remote", (("here0", "unix:///run/buildkit/buildkitd.sock"),))
    there = Builder("there", "remote", (("there0", "tcp://10.0.0.5:1234"),))
    cluster = Builder("cluster", "kubernetes", (("cluster0", "kubernetes:///cluster"),))
    assert other_caches([here, there, cluster], {}) == ([OtherCache("here", None)], [])
