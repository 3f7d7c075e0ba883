"""The look at a host: its commands, and in which order its answers count."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.captured import BUILDX_013, BUILDX_029, CLASSIC, inspected, read
from tests.unit.fakes import RecordingShell
from worker.docker import FileSystem
from worker.errors import CommandFailed, HostUnreachable, UnsupportedEngine
from worker.look import BUILDER, CLI_VERSION, CONTEXT, INFO, bounded, disk, disk_argv, look
from worker.shell import Completed

BOUNDED = ("timeout", "-s", "KILL", "60")
PODMAN: dict[str, Any] = {
    "version": read("podman-4.3.1", "version.txt"),
    "info": '{"host": {"os": "linux"}, "version": {"Version": "4.3.1"}}',
}


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
    assert (*BOUNDED, "docker", "builder", "inspect") == BUILDER
    assert bounded(("true",), 7) == ("timeout", "-s", "KILL", "7", "true")


def test_a_path_is_no_option_of_df() -> None:
    assert disk_argv("--help") == (*BOUNDED, "df", "-Pk", "--", "--help")


@pytest.mark.parametrize(("cli", "builder"), [(BUILDX_013, "buildx 0.13.1"), (BUILDX_029, "buildx 0.29.1")])
def test_look_asks_three_things_and_knows_the_engine(cli: str, builder: str) -> None:
    shell = RecordingShell(cli)
    assert asyncio.run(look(shell)).builder == builder
    assert shell.sent == [INFO, CONTEXT, BUILDER]
    assert shell.left_to_finish == []


def test_look_asks_for_the_clis_version_where_docker_info_does_not_name_it() -> None:
    shell = RecordingShell(CLASSIC)
    engine = asyncio.run(look(shell))
    assert (engine.client, engine.builder) == ("20.10.24", "classic")
    assert shell.sent == [INFO, CONTEXT, BUILDER, CLI_VERSION]


def test_look_names_another_endpoint_even_where_its_engine_does_not_answer() -> None:
    shell = RecordingShell(BUILDX_013, context='"ssh://root@elsewhere"', info=1, builder=1)
    with pytest.raises(UnsupportedEngine, match="ssh://root@elsewhere"):
        asyncio.run(look(shell))


@pytest.mark.parametrize("answers", [{}, {"info": 125, "context": 125, "builder": 125}])
def test_look_names_podman_even_where_its_commands_fail(answers: dict[str, Any]) -> None:
    shell = RecordingShell(BUILDX_013, **PODMAN | answers)
    with pytest.raises(UnsupportedEngine, match=r"'podman version 4\.3\.1'; install docker-cli"):
        asyncio.run(look(shell))


@pytest.mark.parametrize("failing", ["version", "info", "context"])
def test_look_passes_a_failed_command_on(failing: str) -> None:
    answers: dict[str, Any] = {failing: 126}
    shell = RecordingShell(CLASSIC, **answers)
    with pytest.raises(CommandFailed) as caught:
        asyncio.run(look(shell))
    assert failing in caught.value.args[0]
    assert caught.value.args[1] == 126


def test_look_says_that_docker_is_missing_not_that_its_builder_is_unknown() -> None:
    with pytest.raises(CommandFailed, match=r"docker --version` exited with status 127"):
        asyncio.run(look(RecordingShell(BUILDX_013, info=127, context=127, builder=127, version=127)))


@pytest.mark.parametrize("cli", [BUILDX_013, BUILDX_029])
def test_look_says_that_the_engine_is_stopped_not_that_its_builder_is_unknown(cli: str) -> None:
    """buildx then names no driver, and exits with 0."""
    complaint = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."
    stopped = read(cli, "info_stopped.json")
    info = Completed(("docker", "info"), 0 if cli == BUILDX_013 else 1, stopped, complaint)
    shell = RecordingShell(cli, info=info, builder=f"Name:   default\nDriver: \nError:  {complaint}\n")
    with pytest.raises(CommandFailed, match=r"docker info.*Cannot connect to the Docker daemon"):
        asyncio.run(look(shell))


def test_look_reads_only_what_docker_builder_printed_to_the_end() -> None:
    """What a failed or killed command printed is not believed."""
    killed = Completed(BUILDER, None, inspected(BUILDX_013).stdout, "")
    with pytest.raises(UnsupportedEngine, match="does not say whose cache"):
        asyncio.run(look(RecordingShell(BUILDX_013, builder=killed)))


def test_look_finds_the_classic_builder_where_buildkit_is_switched_off() -> None:
    usage = Completed(BUILDER, 1, "", read(BUILDX_013, "builder_classic.stderr.txt"))
    assert asyncio.run(look(RecordingShell(BUILDX_013, builder=usage))).builder == "classic"


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
