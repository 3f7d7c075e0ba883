"""The `holystone` command as such: help, version, bad usage; nothing here reaches Redis."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import redis
from click.testing import CliRunner, Result

from tasks.cli import VERBS, main
from tasks.cli.host_arguments import NAME_A_HOST
from tests.support.paths import CHECKOUT
from worker.settings import get_settings


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def holystone(*args: str, **env: str) -> Result:
    variables: dict[str, Any] = {f"HOLYSTONE_{name.upper()}": value for name, value in env.items()}
    return CliRunner().invoke(main, args, env=variables)


def python(code: str) -> str:
    """What `code` prints in a process of its own."""
    argv = [sys.executable, "-c", code]
    return subprocess.run(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True).stdout


def test_help_lists_the_verbs_and_imports_none_of_them() -> None:
    code = (
        "import sys; from tasks.cli import main; main(['--help'], standalone_mode=False); "
        "print('loaded', sorted(name for name in sys.modules if name.startswith("
        "('tasks.cli.', 'worker', 'celery', 'rich', 'redis', 'pydantic'))))"
    )
    told = python(code)
    assert re.search(r"prune +Prune build caches now", told)
    assert re.search(r"hosts +Show each host", told)
    assert told.endswith("loaded []\n")


@pytest.mark.parametrize("verb", ["prune", "hosts"])
def test_a_verb_is_imported_without_celery(verb: str) -> None:
    heavy = "('celery', 'asyncssh', 'rich')"
    assert python(f"import sys, tasks.cli.{verb}; print([n for n in {heavy} if n in sys.modules])") == "[]\n"


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_a_help_of_its_own(verb: str) -> None:
    result = holystone(verb, "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: main {verb} ")


def test_a_verb_that_is_not_known_is_bad_usage() -> None:
    result = holystone("scrub")
    assert (result.exit_code, result.output) == (2, "No such command 'scrub'. See `main --help`.\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            "up --flower-port abc",
            "Invalid value for '--flower-port': 'abc' is not a valid port from 1 to 65535.",
        ),
        ("up --flower-port 0", "Invalid value for '--flower-port': 0 is not in the range 1<=x<=65535."),
        ("prune --until 7x", "Invalid value for '--until': '7x' is not an age; "),
        ("gate --job x", "Invalid value for '--job': 'x' is not one of 'prune_build_cache', 'watch_disk'."),
        ("trust", "Missing argument 'HOST'. See `main trust --help`."),
        ("hosts x", "Got unexpected extra argument (x). See `main hosts --help`."),
        ("--x", "No such option"),
        ("hosts --jso", "No such option"),
    ],
)
def test_bad_usage_is_one_line_that_names_the_field_or_the_help(arguments: str, told: str) -> None:
    result = holystone(*arguments.split())
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(told)
    assert line.endswith("--help`.") == (not told.startswith("Invalid value"))


def test_without_a_verb_the_help_is_shown() -> None:
    result = holystone()
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: main ")
    assert len(result.stderr.splitlines()) > len(VERBS)


def test_a_caller_that_handles_errors_itself_gets_them() -> None:
    with pytest.raises(click.UsageError):
        main(["scrub"], standalone_mode=False)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "demo"])  # which reads no settings
def test_each_verb_tells_what_was_set_aside_in_the_settings(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise redis.ConnectionError("refused")

    async def check_all(hosts: list[Any], _: object) -> list[list[Any]]:
        return [[] for _ in hosts]

    monkeypatch.setattr(redis.connection.AbstractConnection, "connect", refuse)
    monkeypatch.setattr("tasks.check_on_host.check_all", check_all)
    monkeypatch.setattr("tasks.cli.up.is_listening", lambda *_: True)  # it is not to start
    (tmp_path / ".env").mkdir()
    env = {
        "hosts": "local ssh://build-01:70000",
        "redis_url": "redis://127.0.0.1:1/0",
        "disk_interval_s": "x",
    }
    result = holystone(verb, *(["local"] if verb == "trust" else []), **env)
    for told in (
        ".env can't be read (",
        "HOLYSTONE_DISK_INTERVAL_S (the environment) holds 'x'",
        "'ssh://build-01:70000'",
    ):
        assert len([line for line in result.output.splitlines() if told in line]) == 1


def test_version_names_the_command() -> None:
    result = holystone("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("holystone ")


def in_shell(arguments: str, cwd: Path, before: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """`holystone` in a shell of its own, with the shell's redirections."""
    closed = {"HOLYSTONE_REDIS_URL": "redis://127.0.0.1:1/0", "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        ["/bin/sh", "-c", f'{before}"$0" -m tasks.cli {arguments}', sys.executable],
        cwd=cwd,
        env=os.environ | closed | env,
        capture_output=True,
        encoding="latin-1",
        check=False,
    )


@pytest.mark.parametrize("verb", ["--help", "check", "check --json", "hosts"])
def test_output_that_can_not_be_written_is_one_line(verb: str, tmp_path: Path) -> None:
    done = in_shell(f"{verb} >/dev/full", tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1:] == ["standard output: No space left on device"]
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_neither_can_be_written(tmp_path: Path) -> None:
    assert in_shell("gate >/dev/full 2>&1", tmp_path).returncode == 1


@pytest.mark.parametrize(
    ("verb", "hosts"), [("check", "ssh://build-01:70000"), ("trust build-01", "ssh://build-01")]
)
def test_what_is_closed_is_no_traceback(verb: str, hosts: str, tmp_path: Path) -> None:
    usual = in_shell(f"{verb} </dev/null", tmp_path, HOLYSTONE_HOSTS=hosts)
    for closed in ("<&-", ">&- </dev/null", "2>&- </dev/null", "<&- >&- 2>&-"):
        done = in_shell(f"{verb} {closed}", tmp_path, HOLYSTONE_HOSTS=hosts)
        assert done.returncode == usual.returncode
        assert done.stdout == ("" if ">&- " in closed.replace("2>", "") else usual.stdout)
        assert done.stderr == ("" if "2>" in closed else usual.stderr)


@pytest.mark.parametrize("verb", ["hosts", "pause", "gate", "up", "check"])
def test_a_folder_that_is_gone_is_one_line(verb: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = in_shell(f"{verb}", gone, before=f"rmdir '{gone}'; ")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "the current folder is gone: go to the one that holds your settings\n"


@pytest.mark.parametrize("module", ["click", "pydantic", "tasks.cli.hosts"])
def test_ctrl_c_while_it_loads_is_quiet(module: str, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from tasks.cli import main\n"
        "sys.exit(main(['hosts']))\n"
    )
    env = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")


def test_a_reader_that_leaves_early_is_told_nothing(tmp_path: Path) -> None:
    done = in_shell("gate | true", tmp_path)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_letter_that_the_output_can_not_show_is_a_question_mark(encoding: str, tmp_path: Path) -> None:
    done = in_shell("check", tmp_path, HOLYSTONE_HOSTS="ssh://Київ:70000", PYTHONIOENCODING=encoding)
    assert done.returncode == 1
    assert "ssh://????:70000: error: settings: " in done.stdout
    assert "Traceback" not in done.stderr


def test_each_help_names_the_plain_celery_call() -> None:
    command = """celery -A worker call tasks.prune_build_cache --kwargs '{"host": "build-01"}'"""
    assert command in holystone("prune", "--help").output
    assert "celery -A worker inspect active" in holystone("hosts", "--help").output


def test_prune_of_an_unknown_host_names_the_known_and_exits_with_2() -> None:
    result = holystone("prune", "build-9", hosts="local ssh://build-01")
    assert result.exit_code == 2
    assert result.stderr == "'build-9' is not a configured host; known: local, build-01\n"


def test_prune_of_a_host_that_was_left_out_says_why() -> None:
    result = holystone("prune", "build-01", hosts="local ssh://build-01:70000")
    assert result.exit_code == 2
    assert "the port is a number from 1 to 65535" in result.stderr


@pytest.mark.parametrize("age", ["never", "0", "-1h", "7x"])
def test_prune_with_a_bad_age_names_the_forms_and_exits_with_2(age: str) -> None:
    result = holystone("prune", f"--until={age}", hosts="local")
    assert result.exit_code == 2
    assert "--until" in result.stderr
    assert "an age" in result.stderr


def test_prune_without_any_host_says_how_to_name_one() -> None:
    result = holystone("prune")
    assert result.exit_code == 0
    assert "No host is configured" in result.stdout
    assert "HOLYSTONE_HOSTS=" in result.stdout


@pytest.mark.parametrize("verb", ["prune", "check", "trust", "pause", "resume"])
def test_a_host_where_none_is_configured_is_told_how_to_name_one(verb: str) -> None:
    named = holystone(verb, "build-01")
    assert (named.exit_code, named.stdout) == (2, "")
    assert named.stderr == f"{NAME_A_HOST}\n"


def test_prune_with_pruning_off_everywhere_says_which_hosts_and_sends_nothing() -> None:
    result = holystone("prune", hosts="local ssh://build-01", prune_enabled="false")
    assert result.exit_code == 0
    assert result.stdout == "Left out, pruning is off there: local, build-01\n"


def test_prune_shows_the_first_warnings_and_counts_the_others() -> None:
    bad = " ".join(f"ssh://build-{n}:70000" for n in range(8))
    result = holystone("prune", "nobody", hosts=f"local {bad}")
    shown = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert len(shown) == 6
    assert shown[-1] == "warning: and 3 more; `holystone hosts` shows all"
