"""The log's lines: their form, what stands on each, what is left out, which secrets are cut out of them."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from celery.app import trace
from celery.exceptions import Retry
from pydantic import SecretStr
from structlog.contextvars import bound_contextvars, get_contextvars

from worker import log_setup, notify, run_log
from worker.errors import HostUnreachable
from worker.fleet import HostSettings
from worker.hosts import parse_host
from worker.log_setup import is_replaced
from worker.logs import get_logger, make_formatter
from worker.policies import PrunePolicy
from worker.redaction import find_secrets, make_redactor
from worker.settings import Settings

SECRET = "p/w+d:hunter2"
LIBRARY = logging.getLogger("kombu.some")
REPORT = {"host": "a", "outcome": "done", "reason": None, "reclaimed_bytes": 0, "engine": {"id": "x"}}


class Lines(logging.Handler):
    """Collects what a log file would hold."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(make_formatter(settings, {}, colours=False))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    @property
    def last(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.lines[-1])
        return told


@pytest.fixture(params=["plain", "json"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def lines(form: str) -> Iterator[Lines]:
    yield from collect(Settings(log_format=form))


@pytest.fixture
def told() -> Iterator[Lines]:
    yield from collect(Settings(log_format="json"))


def collect(settings: Settings) -> Iterator[Lines]:
    root, handler = logging.getLogger(), Lines(settings)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


def configured(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    policy = PrunePolicy(True, 3600, "24h", False, 120, 0)
    fleet = {host: HostSettings(parse_host(f"ssh://{host}"), policy) for host in hosts}
    settings = Settings().model_copy(update={"fleet": fleet})
    monkeypatch.setattr(run_log, "get_settings", lambda: settings)


def task(name: str = "tasks.some", **options: Any) -> Any:
    return SimpleNamespace(name=name, request=SimpleNamespace(retries=1), **({"job": "some"} | options))


def test_a_plain_line_is_the_time_in_utc_the_level_the_event_and_pairs() -> None:
    (line,) = collect_once("plain")
    assert datetime.fromisoformat(line[:27]).tzinfo == UTC
    assert line[26:] == "Z [info] run started host=build-01 task_id=1 builder='buildx 0.13.1' attempt=1"


def collect_once(form: str) -> list[str]:
    for lines in collect(Settings(log_format=form)):
        with bound_contextvars(task_id="1", host="build-01"):
            get_logger("worker.some").info("run started", builder="buildx 0.13.1", attempt=1)
        return lines.lines
    raise AssertionError


def test_a_json_line_is_an_object_with_values_of_their_own_types() -> None:
    (line,) = collect_once("json")
    told = json.loads(line)
    assert list(told) == ["timestamp", "level", "event", "host", "task_id", "builder", "attempt"]
    assert (told["level"], told["event"], told["attempt"]) == ("info", "run started", 1)
    assert told["timestamp"].endswith("Z")


def test_a_library_s_line_names_its_logger_and_the_run_that_it_is_of(told: Lines) -> None:
    with bound_contextvars(host="a", task_id="1"):
        LIBRARY.warning("gone: %s", "away")
    assert told.last | {"timestamp": ""} == {
        "timestamp": "",
        "level": "warning",
        "event": "gone: away",
        "host": "a",
        "task_id": "1",
        "logger": "kombu.some",
    }


@pytest.mark.parametrize("evil", ["a\nb", "a\r\nFAKE run finished", "\x1b[2Jgone", "\u2028x", "\x00"])
def test_whatever_it_holds_it_is_one_line_that_can_be_written(lines: Lines, evil: str) -> None:
    get_logger("worker.some").error("run failed", text=evil)
    LIBRARY.error("it said %s", evil)
    assert len(lines.lines) == 2
    for line in lines.lines:
        assert line.isprintable()
        line.encode()


def test_half_a_surrogate_pair_can_be_written(lines: Lines) -> None:
    # Not logged: pytest-xdist can't send what pytest would keep of it.
    lines.format(logging.LogRecord("kombu", logging.ERROR, "", 0, "it said %s", ("\ud800",), None)).encode()


def test_an_unforeseen_error_has_its_traceback_without_what_the_variables_held(lines: Lines) -> None:
    hidden = "kept" + "-in-a-variable"
    try:
        raise ZeroDivisionError(f"{len(hidden)} by zero")
    except ZeroDivisionError as error:
        get_logger("worker.some").error("run failed", **run_log.describe_error(error))
    (line,) = lines.lines
    assert "Traceback (most recent call last)" in line
    assert "ZeroDivisionError: 18 by zero" in line
    assert hidden not in line


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028"])
def test_no_text_of_an_error_passes_for_an_event(lines: Lines, form: str, end: str) -> None:
    forged = "2026-06-09T16:55:01.902713Z [info] run finished host=build-01 task_id=1"
    error = ValueError(f"it said{end}{forged}")
    error.add_note(f"{end}{forged}")
    try:
        try:
            raise KeyError(end) from error
        except KeyError as cause:
            raise RuntimeError(f"{forged}{end}{forged}") from cause
    except RuntimeError as last:
        get_logger("worker.some").error("run failed", **run_log.describe_error(last))
        LIBRARY.error("it said %s%s", end, forged, exc_info=True, stack_info=True)
    assert len(lines.lines) == 2
    for line in lines.lines:
        event, *below = line.splitlines()
        assert forged in line
        assert not event.startswith(forged)
        assert bool(below) == (form == "plain")
        assert [text for text in below if text[:4].strip()] == []


def test_an_error_of_ours_is_one_line_with_type_and_text(lines: Lines) -> None:
    try:
        raise HostUnreachable("a: gone")
    except HostUnreachable as error:
        get_logger("worker.some").error("run failed", **run_log.describe_error(error))
    (line,) = lines.lines
    assert "HostUnreachable" in line
    assert "a: gone" in line
    assert "Traceback" not in line


def test_colours_are_for_a_terminal() -> None:
    record = logging.LogRecord("kombu", logging.INFO, "", 0, "hello", (), None)
    assert "\x1b" in make_formatter(Settings(), {}, colours=True).format(record)
    assert "\x1b" not in make_formatter(Settings(), {}, colours=False).format(record)


@pytest.mark.parametrize(
    "template", [trace.LOG_RECEIVED, trace.LOG_SUCCESS, trace.LOG_FAILURE, trace.LOG_RETRY]
)
def test_celery_s_lines_on_runs_are_told_by_ours(template: str) -> None:
    def record(level: int, message: Any) -> logging.LogRecord:
        return logging.LogRecord("celery.app.trace", level, "", 0, message, (), None)

    assert is_replaced(record(logging.INFO, template))
    assert not is_replaced(record(logging.CRITICAL, template))  # its own failure
    assert not is_replaced(record(logging.INFO, "%s ready."))
    assert not is_replaced(record(logging.INFO, {"event": "run finished"}))


def test_a_log_file_takes_the_place_of_stderr_and_the_level_is_celery_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    app = SimpleNamespace(conf=SimpleNamespace(worker_redirect_stdouts=False))
    monkeypatch.setattr(log_setup, "current_app", app)
    monkeypatch.setattr(log_setup, "get_settings", Settings)
    monkeypatch.setattr(root, "handlers", [logging.NullHandler()])
    before = root.level
    try:
        for _ in range(2):  # a slot comes a second time
            log_setup.set_up(loglevel=logging.WARNING, logfile=str(tmp_path / "log"), colorize=False)
        LIBRARY.info("not this")
        LIBRARY.warning("this")
        assert len(root.handlers) == 1
        root.handlers[0].close()
    finally:
        root.setLevel(before)
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert "[warning] this" in line


def test_the_host_and_the_run_are_on_each_line_from_its_start_to_its_end(
    told: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(monkeypatch, "a", "b")
    run_log.bind_run("id-1", task(), (), {"host": "a"})
    LIBRARY.info("between")
    assert (told.last["host"], told.last["task_id"]) == ("a", "id-1")
    run_log.log_end(task(), REPORT, "SUCCESS")
    assert (told.last["host"], told.last["task_id"]) == ("a", "id-1")
    assert get_contextvars() == {}
    LIBRARY.info("after")
    assert not {"host", "task_id"} & set(told.last)


def test_a_run_ends_in_one_line(told: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(monkeypatch, "a")
    ends: list[tuple[Any, str, dict[str, Any]]] = [
        (REPORT, "SUCCESS", {"level": "info", "event": "run finished", "reclaimed_bytes": 0}),
        (
            REPORT | {"outcome": "skipped", "reason": "ran recently"},
            "SUCCESS",
            {"level": "info", "event": "run skipped", "reason": "ran recently"},
        ),
        (HostUnreachable("a: gone"), "FAILURE", {"level": "error", "event": "run failed", "text": "a: gone"}),
        (
            Retry(exc=HostUnreachable("a: gone")),
            "RETRY",
            {
                "level": "warning",
                "event": "run failed, tried again",
                "attempt": 2,
                "error": "HostUnreachable",
            },
        ),
        (None, "IGNORED", {"level": "info", "event": "run left", "state": "IGNORED"}),
    ]
    for retval, state, expected in ends:
        told.lines.clear()
        run_log.log_end(task(), retval, state)
        assert len(told.lines) == 1
        assert expected.items() <= told.last.items()
        assert "engine" not in told.last  # not the whole report


def test_a_routine_task_is_quiet_unless_it_fails(told: Lines) -> None:
    run_log.log_end(task(routine=True), REPORT, "SUCCESS")
    assert told.last["level"] == "debug"
    run_log.log_end(task(routine=True), HostUnreachable("a: gone"), "FAILURE")
    assert told.last["level"] == "error"


def test_a_thread_s_lines_are_of_the_run_that_it_works_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def send(*_: object) -> bool:
        seen.append(get_contextvars())
        return True

    monkeypatch.setattr(notify, "_send", send)
    with bound_contextvars(host="a", task_id="id"):
        notify.notify((SecretStr("json://127.0.0.1"),), "title", "body")
    assert seen == [{"host": "a", "task_id": "id"}]


def test_a_run_that_was_killed_is_told_of_once(told: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(monkeypatch, "a")
    with bound_contextvars(task_id="id"):  # in its own process: task_postrun tells
        run_log.log_killed(task(), "id", ValueError("x"), (), {})
    assert told.lines == []
    run_log.log_killed(task(), "id", ValueError("x"), (), {})
    assert told.last["event"] == "run failed"
    assert (told.last["host"], told.last["task_id"]) == ("a", "id")


@pytest.mark.parametrize(
    ("args", "kwargs", "host"),
    [
        ((), {"host": "b"}, "b"),
        (("b",), {}, "b"),
        ((), {}, None),  # two are configured
        ((), None, None),
        ((), {"host": "nobody"}, "nobody"),
        ((), {"host": 5}, None),
        ((), {"host": "x" * 5000}, "x" * 200),
    ],
)
def test_the_host_is_the_one_that_the_message_names(
    monkeypatch: pytest.MonkeyPatch, args: Any, kwargs: Any, host: str | None
) -> None:
    configured(monkeypatch, "a", "b")
    assert run_log.run_context(task(), "id", args, kwargs).get("host") == host
    assert "host" not in run_log.run_context(task(job=None), "id", args, kwargs)


def secretive() -> Settings:
    return Settings(
        redis_url=SecretStr(f"redis://user:{SECRET}@127.0.0.1:6379/0"),
        notify_urls=(
            SecretStr("tgram://123456789:AbCdEfGh/chat-id-1"),
            SecretStr("json://127.0.0.1/localhost"),
        ),
    )


@pytest.mark.parametrize(
    "form_of",
    [
        SECRET,
        quote(SECRET, safe=""),
        base64.b64encode(SECRET.encode()).decode(),
        json.dumps({"a": SECRET}),
        "tgram://123456789:AbCdEfGh/chat-id-1",
        "POST /bot123456789:AbCdEfGh/sendMessage",
        "flower:pa55word",
        "with pa55word alone",
        base64.b64encode(b"flower:pa55word").decode(),
    ],
)
def test_secrets_are_cut_out_of_any_text(form_of: str) -> None:
    cut = make_redactor(find_secrets(secretive(), {"FLOWER_BASIC_AUTH": "flower:pa55word,other:x"}))
    assert not any(
        part in cut(f"before {form_of} after")
        for part in ("hunter2", "AbCdEfGh", "123456789", "pa55word", "cGE1NXdvcmQ")
    )
    assert "***" in cut(form_of)
    assert cut("before").startswith("before")


def test_flower_s_users_are_read_from_their_file_too(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("me:from-a-file\n")
    environment = {"FLOWER_BASIC_AUTH_FILE": str(tmp_path / "users")}
    assert "from-a-file" in find_secrets(Settings(), environment)
    assert find_secrets(Settings(), {"FLOWER_BASIC_AUTH_FILE": str(tmp_path / "none")}) == set()


def test_what_is_no_secret_stays() -> None:
    cut = make_redactor(find_secrets(secretive(), {}))
    for line in ("Connected to redis://user:**@127.0.0.1:6379/0", "localhost is down", "chat", "json"):
        assert cut(line) == line
    assert make_redactor(find_secrets(Settings(), {}))("anything") == "anything"


def test_a_line_is_cut_after_it_was_made(form: str) -> None:
    formatter = make_formatter(secretive().model_copy(update={"log_format": form}), {}, colours=False)
    try:
        raise ValueError(f"redis://user:{SECRET}@host is no URL")
    except ValueError as error:
        told = (type(error), error, error.__traceback__)
    record = logging.LogRecord("kombu", logging.ERROR, "", 0, "no: %s", (SECRET,), told)
    assert "hunter2" not in formatter.format(record)
