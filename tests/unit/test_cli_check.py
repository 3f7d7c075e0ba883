"""`holystone check` and `holystone trust` as commands: what they print and refuse, with no host contacted."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from click.testing import CliRunner, Result
from kombu.exceptions import OperationalError
from rich.console import Console

import tasks.cli.check as check_verb
import tasks.cli.check_services as services
from tasks import check_on_host
from tasks.check_findings import Check
from tasks.cli import celery_calls, main
from tasks.cli.check_rows import Checked, has_error, make_table, plain_lines, summary, to_json
from tasks.cli.check_services import check_left_out, check_services
from tasks.cli.trust import decide_refusal
from tests.support.paths import CHECKOUT
from tests.unit.test_check_way import KEY
from worker.known_hosts import KeyStatus
from worker.settings import Settings, get_settings

OK, WARNING, ERROR = (
    Check("disk", "ok", "fine"),
    Check("host_key", "warning", "two\nlines\x1b[31m", "do this"),
    Check("login", "error", "no", "do that"),
)


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def holystone(*args: str, **env: str) -> Result:
    variables: dict[str, Any] = {f"HOLYSTONE_{name.upper()}": value for name, value in env.items()}
    return CliRunner().invoke(main, args, env=variables)


@pytest.mark.parametrize("verb", ["check", "trust"])
def test_the_verb_is_imported_without_what_is_slow(verb: str) -> None:
    slow = ("apprise", "asyncssh", "celery", "rich")
    code = f"import sys, tasks.cli.{verb}; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_plain_lines_are_one_per_check_with_the_host_first_and_nothing_that_steers_a_terminal() -> None:
    checked = [Checked(None, [OK]), Checked("build-01", [WARNING, ERROR])]
    assert plain_lines(checked) == [
        "services: ok: disk: fine",
        "build-01: warning: host key: two lines?[31m -> do this",
        "build-01: error: login: no -> do that",
    ]


def test_a_host_s_own_arrow_does_not_look_like_a_remedy() -> None:
    evil = Check("login", "error", "gone -> as root here: curl x | sh", "check again")
    (line,) = plain_lines([Checked("build-01", [evil])])
    assert line == "build-01: error: login: gone => as root here: curl x | sh -> check again"
    shown = io.StringIO()
    Console(file=shown, width=100).print(make_table([evil]))
    assert shown.getvalue().count("->") == 1


def test_a_terminal_s_table_holds_nothing_that_steers_it() -> None:
    shown = io.StringIO()
    checks = [replace(WARNING, remedy="do\x1b[2J this"), ERROR]
    Console(file=shown, width=100).print(make_table(checks))
    assert "\x1b" not in shown.getvalue()
    assert "two lines?[31m" in shown.getvalue()
    assert "-> do?[2J this" in shown.getvalue()


def test_json_has_every_field_and_null_for_what_is_no_host() -> None:
    assert json.loads(json.dumps(to_json([Checked(None, []), Checked("build-01", [ERROR])]))) == [
        {"host": None, "checks": []},
        {
            "host": "build-01",
            "checks": [{"name": "login", "status": "error", "text": "no", "remedy": "do that"}],
        },
    ]


def test_only_an_error_is_a_failure_wherever_it_stands() -> None:
    assert not has_error([Checked(None, [OK]), Checked("build-01", [OK, WARNING])])
    assert has_error([Checked(None, [OK]), Checked("build-01", [OK, ERROR])])
    assert has_error([Checked(None, [ERROR])])


def test_summary_counts_hosts_by_their_worst_check() -> None:
    hosts = [Checked("a", [OK]), Checked("b", [ERROR, WARNING]), Checked("c", [OK, WARNING])]
    assert summary([Checked(None, [ERROR]), *hosts]) == (
        "1 host ok, 1 host with warnings, 1 host with errors"
    )
    assert summary([Checked("a", [OK]), Checked("b", [OK])]) == "2 hosts ok"


@pytest.mark.parametrize("verb", ["check", "trust"])
def test_a_host_that_is_not_configured_is_one_line_with_the_known(verb: str) -> None:
    result = holystone(verb, "build-9", hosts="local ssh://build-01")
    assert result.exit_code == 2
    assert result.stderr == "'build-9' is not a configured host; known: local, build-01\n"
    assert result.stdout == ""


@pytest.mark.parametrize("verb", ["check", "trust"])
def test_a_host_that_was_left_out_says_why(verb: str) -> None:
    result = holystone(verb, "build-01", hosts="local ssh://build-01:70000")
    assert result.exit_code == 2
    assert "the port is a number from 1 to 65535" in result.stderr


@pytest.mark.parametrize("others", ["", "local "])
def test_a_host_that_was_left_out_is_an_error_of_its_settings(
    others: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fine(hosts: list[Any], _: Settings) -> list[list[Check]]:
        return [[OK] for _ in hosts]

    monkeypatch.setattr(check_on_host, "check_all", fine)
    monkeypatch.setattr(check_verb, "check_services", lambda _: [OK])
    env = {"hosts": f"{others}ssh://build-01:70000"}
    told = holystone("check", "--json", **env)
    assert told.exit_code == 1
    *_, left_out = json.loads(told.stdout)
    assert left_out["host"] == "ssh://build-01:70000"
    (check,) = left_out["checks"]
    assert (check["name"], check["status"]) == ("settings", "error")
    assert "the port is a number from 1 to 65535" in check["text"]
    assert "HOLYSTONE_HOSTS" in check["remedy"]
    get_settings.cache_clear()
    plain = holystone("check", **env)
    assert plain.exit_code == 1
    assert "ssh://build-01:70000: error: settings: " in plain.stdout
    assert plain.stdout.splitlines()[-1].endswith("1 host with errors")
    if others:  # what was not asked for is not judged
        named = holystone("check", "local", "--json", **env)
        assert [each["host"] for each in json.loads(named.stdout)] == [None, "local"]


@pytest.mark.parametrize(
    ("dotenv", "toml", "variable", "text", "status"),
    [
        (None, "", "", ".env can't be read (", "error"),
        ("HOLYSTONE_HOSTS='x", "", "", ".env can't be read (line 1): pruning is off until", "error"),
        ("", "[prune", "", "holystone.toml can't be read (", "error"),
        ("", "", "yess", "HOLYSTONE_PRUNE_ENABLED (the environment) holds 'yess', but ", "error"),
        (
            "",
            "[hosts.a]\nurl = 'local'\nprune.enabled = 'x'",
            "",
            "holystone.toml [hosts.a]: prune.enab",
            "error",
        ),
        (
            "",
            "[hosts.a]\nurl = 'local'\nprune = 'x'",
            "",
            "holystone.toml [hosts.a]: prune is a table",
            "error",
        ),
        ("", "prune.until = 'x'", "", "HOLYSTONE_PRUNE_UNTIL (holystone.toml) holds 'x', but ", "warning"),
        ("", "disk.enabled = 'x'", "", "HOLYSTONE_DISK_ENABLED (holystone.toml) holds 'x', but ", "warning"),
        ("", "prune.all = 'x'", "", "HOLYSTONE_PRUNE_ALL (holystone.toml) holds 'x', but ", "warning"),
        ("", "nonsense = 1", "", "holystone.toml: unknown setting nonsense, ignored", "warning"),
    ],
)
def test_what_was_set_aside_in_the_settings_is_a_check_and_an_error_where_it_stops_pruning(
    dotenv: str | None,
    toml: str,
    variable: str,
    text: str,
    status: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fine(hosts: list[Any], _: Settings) -> list[list[Check]]:
        return [[OK] for _ in hosts]

    monkeypatch.setattr(check_on_host, "check_all", fine)
    monkeypatch.setattr(check_verb, "check_services", lambda _: [OK])
    if dotenv is None:
        (tmp_path / ".env").mkdir()
    else:
        (tmp_path / ".env").write_text(dotenv)
    (tmp_path / "holystone.toml").write_text(toml)
    told = holystone("check", "--json", prune_enabled=variable)
    services, *_ = json.loads(told.stdout)
    assert services["host"] is None
    (check,) = [check for check in services["checks"] if check["name"] == "settings"]
    assert check["text"].startswith(text)
    assert (check["status"], told.exit_code) == (status, int(status == "error"))
    assert check["remedy"] == "correct it, then restart beat, the workers and Flower"
    assert told.stderr == ""
    get_settings.cache_clear()
    plain = holystone("check", prune_enabled=variable)
    assert plain.output.count(text) == 1
    assert plain.stdout.startswith(f"services: {status}: settings: {text}")


def test_a_host_that_is_named_twice_is_a_warning_because_it_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOLYSTONE_HOSTS", "ssh://build-01 ssh://Build-01 ssh://:")
    twice, unreadable = check_left_out(get_settings())
    assert [check.status for check in twice.checks] == ["warning"]
    assert [check.status for check in unreadable.checks] == ["error"]


@pytest.mark.parametrize(
    ("urls", "exit_code", "line"),
    [
        ("json://127.0.0.1", 0, "services: ok: notifications: 1 URL"),
        (
            "foo://bar:secret@x nonsense",
            1,
            "services: error: notifications: number 1 (foo://…) and number 2 are no Apprise URLs -> "
            "correct HOLYSTONE_NOTIFY_URLS, or the file of them",
        ),
        ("", 0, None),
    ],
)
def test_message_urls_that_apprise_does_not_take_are_an_error(
    urls: str, exit_code: int, line: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fine(hosts: list[Any], _: Settings) -> list[list[Check]]:
        return [[OK] for _ in hosts]

    monkeypatch.setattr(check_on_host, "check_all", fine)
    monkeypatch.setattr(check_verb, "check_services", lambda _: [OK])
    told = holystone("check", hosts="local", notify_urls=urls)
    assert told.exit_code == exit_code
    assert [found for found in told.stdout.splitlines() if "notifications" in found] == [line] * bool(line)
    assert "secret" not in told.output
    assert "nonsense" not in told.output


@pytest.mark.parametrize(
    ("answers", "status"), [(True, "ok"), (False, "warning"), (None, "error")], ids=["yes", "no", "unknown"]
)
def test_a_worker_that_could_not_be_asked_is_not_said_to_answer(
    answers: bool | None, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "worker_answers", lambda: answers)
    monkeypatch.setattr(services, "use_redis", MagicMock())
    checks = {check.name: check for check in check_services(Settings())}
    assert checks["worker"].status == status
    assert status == "ok" or checks["worker"].remedy


def test_a_broker_that_is_away_leaves_it_unknown_whether_a_worker_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ping = MagicMock(side_effect=OperationalError("away"))
    monkeypatch.setattr("worker.celery.app.control.ping", ping)
    assert celery_calls.worker_answers() is None
    assert celery_calls.has_worker()
    ping.side_effect = None
    ping.return_value = []
    assert celery_calls.worker_answers() is False
    assert not celery_calls.has_worker()


def test_trust_of_this_machine_makes_no_sense() -> None:
    result = holystone("trust", "local", hosts="local")
    assert result.exit_code == 2
    assert "reached without ssh" in result.stderr


def test_trust_without_a_terminal_or_fingerprint_is_refused_before_anything_is_contacted() -> None:
    result = holystone("trust", "build-01", hosts="ssh://build-01")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "--fingerprint SHA256:..." in result.stderr


def test_trust_with_a_fingerprint_of_another_form_is_bad_usage() -> None:
    result = holystone("trust", "build-01", "--fingerprint", "aa:bb:cc", hosts="ssh://build-01")
    assert result.exit_code == 2
    assert "--fingerprint" in result.stderr
    assert "ssh-keygen -lf" in result.stderr


def test_a_new_key_is_refused_only_where_its_fingerprint_is_another() -> None:
    assert decide_refusal("build-01", KEY, None) is None
    assert decide_refusal("build-01", KEY, KEY.fingerprint) is None
    refusal = str(decide_refusal("build-01", KEY, "SHA256:other"))
    assert "shows ED25519 SHA256:abc, not SHA256:other: nothing was added" in refusal


def test_a_key_in_the_place_of_another_and_a_revoked_one_are_refused_whatever_was_given() -> None:
    other = replace(KEY, status=KeyStatus.CHANGED)
    for fingerprint in (None, KEY.fingerprint):
        refusal = str(decide_refusal("build-01", other, fingerprint))
        assert "known by another key: nothing was added" in refusal
        assert "ssh-keygen -f /home/ci/.ssh/known_hosts -R '[build-01]:2222'" in refusal
        revoked = replace(KEY, status=KeyStatus.REVOKED)
        assert "revoked" in str(decide_refusal("build-01", revoked, fingerprint))


def test_a_known_key_is_no_refusal_but_another_fingerprint_is() -> None:
    known = replace(KEY, status=KeyStatus.KNOWN)
    assert decide_refusal("build-01", known, None) is None
    assert "not SHA256:other" in str(decide_refusal("build-01", known, "SHA256:other"))


def test_without_a_file_to_add_to_the_setting_is_named() -> None:
    assert "HOLYSTONE_SSH_KNOWN_HOSTS" in str(decide_refusal("build-01", replace(KEY, file=None), None))
