"""The look at a host: its commands, and in which order its answers count."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.captured import BUILDX_013, read
from tests.unit.fakes import RecordingShell
from worker.docker import FileSystem
from worker.errors import CommandFailed, HostUnreachable, UnsupportedEngine
from worker.look import CLI_VERSION, CONTEXT, INFO, bounded, disk, disk_argv, look

BOUNDED = ("timeout", "-s", "KILL", "60")


def test_the_commands_are_bounded_on_the_host_itself() -> None:
    """They must not linger there when the connection is gone."""
    assert (*BOUNDED, "docker", "--version") == CLI_VERSION
    assert (*BOUNDED, "docker", "info", "--format", "{{json .}}") == INFO
    assert (
        *BOUNDED,
        "docker",
        "context",
        "inspect",
        "--format",
        "{{json .Endpoints.docker.Host}}",
    ) == CONTEXT
    assert bounded(("true",), 7) == ("timeout", "-s", "KILL", "7", "true")


def test_a_path_is_no_option_of_df() -> None:
    assert disk_argv("--help") == (*BOUNDED, "df", "-Pk", "--", "--help")


def test_look_asks_three_things_and_knows_the_engine() -> None:
    shell = RecordingShell(BUILDX_013)
    assert asyncio.run(look(shell)).builder == "buildx 0.13.1"
    assert shell.sent == [CLI_VERSION, INFO, CONTEXT]
    assert shell.left_to_finish == []


def test_look_names_another_endpoint_even_where_its_engine_does_not_answer() -> None:
    shell = RecordingShell(BUILDX_013, context='"ssh://root@elsewhere"', info=1)
    with pytest.raises(UnsupportedEngine, match="ssh://root@elsewhere"):
        asyncio.run(look(shell))


def test_look_names_podman_even_where_its_commands_fail() -> None:
    shell = RecordingShell(BUILDX_013, version=read("podman-4.3.1", "version.txt"), context=125, info=125)
    with pytest.raises(UnsupportedEngine, match="podman"):
        asyncio.run(look(shell))


@pytest.mark.parametrize("failing", ["version", "info", "context"])
def test_look_passes_a_failed_command_on(failing: str) -> None:
    answers: dict[str, Any] = {failing: 126}
    shell = RecordingShell(BUILDX_013, **answers)
    with pytest.raises(CommandFailed) as caught:
        asyncio.run(look(shell))
    assert failing in caught.value.args[0]
    assert caught.value.args[1] == 126


def test_look_passes_a_lost_connection_on() -> None:
    with pytest.raises(HostUnreachable):
        asyncio.run(look(RecordingShell(BUILDX_013, info=HostUnreachable("lost"))))


def test_disk_reads_df() -> None:
    stdout = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 100 60 40 60% /\n"
    assert asyncio.run(disk(RecordingShell(BUILDX_013, df=stdout), "/data")) == FileSystem(
        "/data", 102_400, 40_960
    )


@pytest.mark.parametrize("answer", [1, "", "garbage"])
def test_disk_is_none_where_df_can_not_say(answer: int | str) -> None:
    assert asyncio.run(disk(RecordingShell(BUILDX_013, df=answer), "/data")) is None
