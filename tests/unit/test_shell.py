"""The local shell, and what is kept of a command's output. (Commands over ssh: tests/integration.)"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import wait_until
from worker.errors import CommandFailed
from worker.hosts import parse_host
from worker.settings import Settings
from worker.shell import MAX_OUTPUT, TAIL, Completed, LocalShell, connect, first_lines
from worker.ssh_shell import _read


def _run(*argv: str) -> Completed:
    return asyncio.run(LocalShell().run(argv))


def test_a_local_command_gets_its_arguments_as_they_are() -> None:
    completed = _run(sys.executable, "-c", "import sys; print(sys.argv[1:])", "a b", "$(id)", "'", "")
    assert completed.stdout == "['a b', '$(id)', \"'\", '']\n"
    assert (completed.exit_status, completed.stderr, completed.cut) == (0, "", False)


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("echo no >&2; exit 3", 3), ("kill -9 $$", None)]
)
def test_a_local_commands_end_is_told(script: str, status: int | None) -> None:
    completed = _run("sh", "-c", script)
    assert completed.exit_status == status
    assert completed.stderr == ("no\n" if status == 3 else "")


def test_a_command_that_is_missing_is_127_as_in_a_shell() -> None:
    completed = _run("/nonexistent/docker")
    assert (completed.exit_status, completed.stderr) == (
        127,
        "/nonexistent/docker: No such file or directory",
    )


def test_a_local_command_has_no_input() -> None:
    assert _run("cat").exit_status == 0


def test_invalid_utf8_is_replaced() -> None:
    assert _run("printf", r"a\377b").stdout == "a\ufffdb"


def test_of_long_output_the_start_and_the_end_are_kept() -> None:
    size = MAX_OUTPUT + 2 * TAIL
    completed = _run(
        "sh", "-c", f"echo start; head -c {size} /dev/zero | tr '\\0' x; echo; printf 'Total:\\t5MB'"
    )
    assert completed.cut
    assert completed.stdout.startswith("start\nxxx")
    assert completed.stdout.endswith("xxx\nTotal:\t5MB")
    assert len(completed.stdout) == MAX_OUTPUT + TAIL


@pytest.mark.parametrize(
    ("size", "cut"), [(0, False), (1, False), (MAX_OUTPUT + TAIL, False), (MAX_OUTPUT + 10 * TAIL, True)]
)
def test_of_a_long_stream_the_start_and_the_end_are_kept(size: int, cut: bool) -> None:
    class Stream:
        left = b"a" * (size - size // 2) + b"b" * (size // 2)

        async def read(self, most: int) -> bytes:
            chunk, self.left = self.left[:most], self.left[most:]
            return chunk

    async def read() -> Any:
        return await _read(Stream())

    kept = asyncio.run(read())
    assert kept.cut is cut
    assert len(kept.text) == size if not cut else MAX_OUTPUT < len(kept.text) <= MAX_OUTPUT + 2 * TAIL
    assert kept.text[-1:] == ("b" if size > 1 else "a" * size)


def _is_gone(pid: int) -> bool:
    """Ended, or a zombie that nobody has waited for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("let_finish", [False, True])
def test_cancelled_a_local_command_is_killed_with_its_children_or_left_to_finish(
    tmp_path: Path, let_finish: bool
) -> None:
    go, done, pids = tmp_path / "go", tmp_path / "done", tmp_path / "pids"
    script = f"(while [ ! -e {go} ]; do sleep 0.01; done; echo word; touch {done}) & echo $! >{pids}; wait"

    async def cancel() -> None:
        task = asyncio.create_task(LocalShell().run(["sh", "-c", script], let_finish=let_finish))
        while not (pids.exists() and pids.read_text().strip()):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(cancel(), 60))
    child = int(pids.read_text())
    if let_finish:
        assert not _is_gone(child)
        go.touch()
        wait_until(done.exists, 60, "the command that was left to itself")
    wait_until(lambda: _is_gone(child), 60, "the end of the child")
    assert done.exists() is let_finish


def test_what_a_command_that_is_left_printed_so_far_is_known(tmp_path: Path) -> None:
    go, printed = tmp_path / "go", bytearray()
    script = f"echo first; touch {tmp_path}/said; while [ ! -e {go} ]; do sleep 0.01; done; echo second"

    async def leave() -> None:
        running = LocalShell().run(["sh", "-c", script], let_finish=True, printed=printed)
        task = asyncio.create_task(running)
        while not (tmp_path / "said").exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(leave(), 60))
    go.touch()
    assert printed == b"first\n"


def test_connect_to_this_machine_needs_no_ssh() -> None:
    async def run() -> Completed:
        async with connect(parse_host("local"), Settings()) as shell:
            return await shell.run(["echo", "here"])

    assert asyncio.run(run()).stdout == "here\n"


def test_check_gives_back_a_success_and_raises_for_anything_else() -> None:
    good = Completed(("true",), 0, "out", "warning")
    assert good.check() is good
    for status in (1, 255, None):
        with pytest.raises(CommandFailed) as caught:
            Completed(("docker", "info", "{{json .}}"), status, "", "no\nreally").check()
        assert caught.value.args == ("docker info '{{json .}}'", status, "no\nreally")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        ("\n\n  one  \ntwo\n", "one\ntwo"),
        ("1\n2\n3\n4\n5\n6", "1\n2\n3\n4\n5"),
        ("x" * 1000, "x" * 300),
        ("\x1b[31mred\x1b[0m\x00", "?[31mred?[0m?"),  # it ends on someone's terminal
        ("naïve \ufffd", "naïve \ufffd"),
    ],
)
def test_first_lines_are_short_and_printable(text: str, kept: str) -> None:
    assert first_lines(text) == kept


def test_first_lines_of_megabytes_are_short() -> None:
    assert len(first_lines("x\n" * 2_000_000 + "x" * 2_000_000)) < 2000
