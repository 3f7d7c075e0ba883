"""Settings: where they come from, and that a typo costs neither the janitor nor more than was meant."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis.connection import parse_url

from worker.redaction import find_secrets, make_redactor
from worker.redis_url import UnusableUrl, check_url
from worker.secret_files import with_password
from worker.settings import TYPES, VARIABLES, Settings, load_settings
from worker.sources import describe_accepted, flatten, shown, shown_instead

Load = Callable[..., Settings]
SECRET = "hunter2"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Settings from the given variables, and from `dotenv` and `toml` as the files hold them."""

    def load(
        dotenv: str | bytes | None = None, toml: str | bytes | None = None, **variables: str
    ) -> Settings:
        for name, text in ((".env", dotenv), ("holystone.toml", toml)):
            if text is not None:
                (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        for name, value in variables.items():
            monkeypatch.setenv(f"HOLYSTONE_{name}", value)
        return load_settings(tmp_path)

    return load


def test_defaults_are_those_of_the_readme(load: Load) -> None:
    settings = load()
    assert settings.redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"
    assert settings.model_dump(exclude={"redis_url"}) == {
        "redis_password_file": None,
        "hosts": (),
        "prune_enabled": True,
        "prune_interval_s": 21_600,
        "prune_until": "24h",
        "prune_all": False,
        "prune_timeout_s": 120,
        "prune_notify_min_gb": 0,
        "disk_enabled": True,
        "disk_interval_s": 300,
        "disk_alert_percent": 85,
        "disk_prune_percent": None,
        "disk_ladder": ("24h", "6h", "1h"),
        "notify_urls": (),
        "notify_urls_file": None,
        "notify_join_s": 60,
        "ssh_config": None,
        "ssh_known_hosts": None,
        "ssh_identity": None,
        "ssh_connect_timeout_s": 10,
        "log_format": "plain",
    }
    assert (settings.fleet, settings.left_out, settings.warnings) == ({}, (), ())


@pytest.mark.parametrize(
    ("variable", "held", "expected"),
    [
        ("REDIS_URL", "rediss://:pw@redis:6380/1", "rediss://:pw@redis:6380/1"),
        ("PRUNE_ENABLED", "false", False),
        ("PRUNE_ENABLED", "off", False),
        ("PRUNE_ENABLED", "0", False),
        ("PRUNE_ENABLED", "True", True),
        ("PRUNE_INTERVAL_S", "3600", 3600),
        ("PRUNE_INTERVAL_S", " 1 ", 1),
        ("PRUNE_UNTIL", "7d", "168h"),
        ("PRUNE_UNTIL", "3600", "1h"),
        ("PRUNE_ALL", "yes", True),
        ("PRUNE_TIMEOUT_S", "7200", 7200),
        ("PRUNE_NOTIFY_MIN_GB", "0.5", 0.5),
        ("PRUNE_NOTIFY_MIN_GB", "0", 0),
        ("SSH_CONFIG", "/etc/x", Path("/etc/x")),
        ("SSH_KNOWN_HOSTS", "/etc/x", Path("/etc/x")),
        ("SSH_IDENTITY", "~/.ssh/id", Path("~/.ssh/id")),
        ("SSH_CONNECT_TIMEOUT_S", "2.5", 2.5),
    ],
)
def test_a_variable_is_read(load: Load, variable: str, held: str, expected: Any) -> None:
    settings = load(**{variable: held})
    value = getattr(settings, variable.lower())
    assert (value.get_secret_value() if variable == "REDIS_URL" else value) == expected
    assert settings.warnings == ()


def test_lists_are_read_by_commas_and_spaces(load: Load) -> None:
    settings = load(HOSTS="ssh://a, local\nssh://b:7601", NOTIFY_URLS="json://x,tgram://1/2 mailto://c")
    assert list(settings.fleet) == ["a", "local", "b:7601"]
    assert [url.get_secret_value() for url in settings.notify_urls] == [
        "json://x",
        "tgram://1/2",
        "mailto://c",
    ]


_NONSENSE = {
    "PRUNE_INTERVAL_S": [
        "0",
        "-1",
        "garbage",
        "6h",
        "1.5",
        "nan",
        "inf",
        "1e99",
        "true",
        "9" * 30,
        "9" * 5000,
        "\u0663\u0666",
    ],
    "PRUNE_TIMEOUT_S": ["0", "-120", "garbage", "2m", "604801", "nan", "None"],
    "PRUNE_UNTIL": ["0", "0h", "-24h", "garbage", "24x", "100000d", "true", "1.5h"],
    "PRUNE_NOTIFY_MIN_GB": ["-1", "garbage", "nan", "inf", "-inf", "5GB", "1e999"],
    "SSH_CONNECT_TIMEOUT_S": ["0", "-5", "garbage", "nan", "inf", "601"],
    "LOG_FORMAT": ["xml", "JSON", "1", "plain,json"],
}


@pytest.mark.parametrize(
    ("variable", "held"),
    [(variable, held) for variable, values in _NONSENSE.items() for held in values],
    ids=lambda value: value[:24],
)
def test_nonsense_falls_back_to_the_default_with_a_warning(load: Load, variable: str, held: str) -> None:
    field = variable.lower()
    settings = load(**{variable: held})
    default = getattr(Settings(), field)
    assert getattr(settings, field) == default
    assert settings.warnings == (
        f"HOLYSTONE_{variable} (the environment) holds {shown(field, held)}, but takes "
        f"{describe_accepted(field, TYPES[field])}; used instead: {shown_instead(field, default)}",
    )


@pytest.mark.parametrize("held", ["garbage", "flase", "2", "-1", "nein", "None", "\x7f"])
def test_a_kill_switch_that_cannot_be_read_means_off(load: Load, held: str) -> None:
    settings = load(HOSTS="local", PRUNE_ENABLED=held)
    assert settings.prune_enabled is False
    assert settings.fleet["local"].prune.enabled is False
    (warning,) = settings.warnings
    assert warning == (
        f"HOLYSTONE_PRUNE_ENABLED (the environment) holds {held!r}, but takes true or false; "
        "used instead: off"
    )


@pytest.mark.parametrize("source", ["toml", "dotenv"])
def test_all_that_cannot_be_read_means_false_even_over_a_true_below(load: Load, source: str) -> None:
    held = "'treu'" if source == "toml" else "true"
    settings = load(
        toml=f"hosts = ['local']\n[prune]\nall = {held}\n",
        dotenv="HOLYSTONE_PRUNE_ALL=treu\n" if source == "dotenv" else "",
    )
    assert settings.prune_all is False
    assert settings.fleet["local"].prune.all is False
    assert "'treu', but takes true or false; used instead: off" in settings.warnings[0]


_WARNED = "{} (holystone.toml) holds {}, but takes {}; used instead: {}"


@pytest.mark.parametrize(
    ("toml", "variable", "held", "takes", "instead"),
    [
        ("disk.interval_s = 5", "DISK_INTERVAL_S", "5", "whole seconds from 10 to 31622400", "300"),
        ("disk.alert_percent = 101", "DISK_ALERT_PERCENT", "101", "a whole number from 1 to 100", "85"),
        ("disk.prune_percent = 0", "DISK_PRUNE_PERCENT", "0", "a whole number from 1 to 100", "off"),
        ("disk.ladder = ['x']", "DISK_LADDER", "['x']", "at most 10 ages, such as 24h,6h,1h", "none"),
        ("disk.enabled = 'on!'", "DISK_ENABLED", "'on!'", "true or false", "off"),
        (
            "prune.until = 'x'",
            "PRUNE_UNTIL",
            "'x'",
            "an age above zero, such as 30m, 24h, 7d, 1w or 3600 (seconds)",
            "24h",
        ),
        ("prune.notify_min_gb = -1", "PRUNE_NOTIFY_MIN_GB", "-1", "a number from 0", "0"),
        ("ssh.connect_timeout_s = 0", "SSH_CONNECT_TIMEOUT_S", "0", "seconds above 0 to 600", "10"),
        ("ssh.config = 5", "SSH_CONFIG", "5", "a path", "the default"),
        ("log_format = 'xml'", "LOG_FORMAT", "'xml'", "plain or json", "plain"),
        ("notify_urls = 5", "NOTIFY_URLS", "(not shown: it may hold a secret)", "a list of URLs", "none"),
        ("notify_urls_file = 5", "NOTIFY_URLS_FILE", "(not shown: it may hold a secret)", "a path", "none"),
    ],
)
def test_a_warning_says_what_is_taken_and_what_is_used_in_plain_words(
    load: Load, toml: str, variable: str, held: str, takes: str, instead: str
) -> None:
    assert load(toml=toml).warnings == (_WARNED.format(f"HOLYSTONE_{variable}", held, takes, instead),)


def test_a_warning_does_not_call_another_source_s_secret_the_default(load: Load) -> None:
    (warning,) = load(toml="notify_urls = 5\n", NOTIFY_URLS=f"json://{SECRET}").warnings
    assert warning.endswith("; used instead: what is set elsewhere")


@pytest.mark.parametrize("toml", ["", "redis_url = 'redis://elsewhere'\n"])
@pytest.mark.parametrize("url", ["redis", "http://redis", "redis://redis/abc", "redis://:hush\udcff@redis"])
def test_no_other_redis_takes_the_place_of_one_that_is_not_understood(
    load: Load, tmp_path: Path, toml: str, url: str
) -> None:
    (tmp_path / "password").write_text(SECRET)
    for more in ({}, {"REDIS_PASSWORD_FILE": str(tmp_path / "password")}):
        settings = load(toml=toml, REDIS_URL=url, **more)
        make_redactor(find_secrets(settings, {}))  # which needs text that can be encoded
        with pytest.raises(UnusableUrl, match="HOLYSTONE_REDIS_URL"):
            check_url(settings.redis_url.get_secret_value())
    with pytest.raises(UnusableUrl):
        check_url(load(toml="redis_url = 5").redis_url.get_secret_value())


def test_a_warning_of_a_host_s_table_says_what_is_taken(load: Load) -> None:
    settings = load(
        toml="[hosts.a]\nurl = 'ssh://a'\n[hosts.a.disk]\nladder = ['x']\n"
        "[hosts.b]\nurl = 'ssh://b'\n[hosts.b.disk]\ninterval_s = 5\nprune_percent = 'x'\n"
    )
    where = "holystone.toml [hosts.{}]: disk."
    assert settings.warnings == (
        f"{where.format('a')}ladder holds ['x'], but takes at most 10 ages, such as 24h,6h,1h; "
        "used instead: none",
        f"{where.format('b')}interval_s holds 5, but takes whole seconds from 10 to 31622400; "
        "used instead: 300",
        f"{where.format('b')}prune_percent holds 'x', but takes a whole number from 1 to 100; "
        "used instead: off",
    )


def test_nonsense_above_leaves_the_sense_below(load: Load) -> None:
    settings = load(toml="[prune]\nuntil = '7d'\n", PRUNE_UNTIL="garbage")
    assert settings.prune_until == "168h"
    assert settings.warnings[0].endswith("used instead: 168h")


def test_the_environment_wins_over_dotenv_over_toml_over_the_default(load: Load) -> None:
    settings = load(
        toml="[prune]\nuntil = '1h'\ninterval_s = 100\ntimeout_s = 100\n",
        dotenv="HOLYSTONE_PRUNE_UNTIL=2h\nexport HOLYSTONE_PRUNE_INTERVAL_S='200'\n",
        PRUNE_UNTIL="3h",
    )
    assert (settings.prune_until, settings.prune_interval_s, settings.prune_timeout_s) == ("3h", 200, 100)
    assert settings.warnings == ()


def test_an_empty_variable_is_no_variable(load: Load) -> None:
    """Compose files pass unset variables on as empty ones."""
    empty = dict.fromkeys((name.removeprefix("HOLYSTONE_") for name in VARIABLES), "")
    settings = load(
        toml="[prune]\nenabled = false\nuntil = '7d'\n", dotenv="HOLYSTONE_PRUNE_UNTIL=\n", **empty
    )
    assert (settings.prune_enabled, settings.prune_until, settings.warnings) == (False, "168h", ())


def test_dotenv_belongs_to_other_programs_too(load: Load) -> None:
    settings = load(dotenv="POSTGRES=1\n# note\n\nthis is no line\nHOLYSTONE_PRUNE_UNTIL=$HOME\n")
    assert settings.prune_enabled
    (warning,) = settings.warnings
    assert warning.startswith("HOLYSTONE_PRUNE_UNTIL (.env) holds '$HOME'")


@pytest.mark.parametrize("name", ["PRUNE_ENABLED", "prune_enabled", "export PRUNE_ENABLED"])
def test_a_setting_without_its_prefix_in_dotenv_is_warned_of(load: Load, name: str) -> None:
    settings = load(dotenv=f"{name}={SECRET}\nREDIS_URL=\nPOSTGRES_URL=x\nWARNINGS=x\n")
    bare = name.removeprefix("export ")
    assert settings.warnings == (f"{bare} in .env is not read: did you mean HOLYSTONE_PRUNE_ENABLED?",)
    assert settings.prune_enabled


def test_the_environment_s_other_variables_are_other_programs(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://other")
    assert load().warnings == ()


@pytest.mark.parametrize(
    ("variable", "named"),
    [
        ("PRUNE_ENBLED", "HOLYSTONE_PRUNE_ENBLED"),
        ("UNTIL", "HOLYSTONE_UNTIL"),
        ("FLEET", "HOLYSTONE_FLEET"),  # the loader's own fields are no variables
        ("WARNINGS", "HOLYSTONE_WARNINGS"),
        ("LEFT_OUT", "HOLYSTONE_LEFT_OUT"),
    ],
)
def test_an_unknown_variable_is_warned_of(load: Load, variable: str, named: str) -> None:
    settings = load(**{variable: SECRET})
    assert settings.warnings == (f"the environment: unknown setting {named}, ignored",)
    assert settings.model_copy(update={"warnings": ()}) == Settings()


@pytest.mark.parametrize("name", ["holystone_prune_until", "HOLYSTONE_prune_until"])
def test_a_variables_case_does_not_matter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setitem(os.environ, name, "7d")
    settings = load_settings(tmp_path)
    assert (settings.prune_until, settings.warnings) == ("168h", ())


def test_unknown_settings_in_files_are_warned_of(load: Load) -> None:
    settings = load(
        toml="pruning = true\n[prune]\nuntill = '7d'\n"
        "[hosts.a]\nurl = 'ssh://a'\nport = 1\nprune.untl = '7d'\n",
        dotenv="HOLYSTONE_PRUNE_UNTILL=7d\n",
    )
    assert settings.warnings == (
        "holystone.toml: unknown setting pruning, ignored",
        "holystone.toml: unknown setting prune_untill, ignored",
        ".env: unknown setting HOLYSTONE_PRUNE_UNTILL, ignored",
        "holystone.toml [hosts.a]: unknown setting 'port', ignored",
        "holystone.toml [hosts.a]: unknown setting 'prune.untl', ignored",
    )


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("toml", "[prune\nenabled = false\n"),
        ("toml", "[prune]\nenabled = False\n"),
        ("toml", "[prune]\nuntil = '7d'\nuntil = '8d'\n"),
        ("toml", b"\xff\xfe"),
        ("toml", "\x00"),
        pytest.param("toml", "x = " + "[" * 5000, id="too deep"),
        pytest.param("toml", "[prune]\ninterval_s = " + "1" * 5000, id="too long a number"),
        ("dotenv", b"HOLYSTONE_PRUNE_UNTIL=7d\n\xff\n"),
        ("dotenv", "HOLYSTONE_PRUNE_ENABLED='false\nHOLYSTONE_PRUNE_UNTIL=7d\n"),
        ("dotenv", "HOLYSTONE_PRUNE_ENABLED = 'false' # 'x\nHOLYSTONE_PRUNE_UNTIL='7d\n"),
    ],
)
def test_a_broken_file_turns_pruning_off_loudly(load: Load, file: str, content: str | bytes) -> None:
    """What can't be read may have said "off"."""
    settings = load(HOSTS="local", PRUNE_ENABLED="true", **{file: content})
    assert settings.prune_enabled is False
    assert settings.fleet["local"].prune.enabled is False
    name = "holystone.toml" if file == "toml" else ".env"
    assert any(
        warning.startswith(f"{name} can't be read (")
        and warning.endswith("): pruning is off until it can be read")
        for warning in settings.warnings
    )


def test_a_folder_in_place_of_a_file_turns_pruning_off(load: Load, tmp_path: Path) -> None:
    (tmp_path / "holystone.toml").mkdir()
    settings = load()
    assert settings.prune_enabled is False
    assert "holystone.toml can't be read" in settings.warnings[0]


@pytest.mark.parametrize(
    ("toml", "until"),
    [
        ("[prune]\nuntil = 7200\n", "2h"),
        ("[prune]\nuntil = '2h'\n", "2h"),
        ("prune_until = '2h'\n", "2h"),
        ("[prune]\nuntil = true\n", "24h"),
        ("[prune]\nuntil = 1.5\n", "24h"),
        ("[prune]\nuntil = ['2h']\n", "24h"),
        ("[prune]\nuntil = 2026-01-01\n", "24h"),
        ("prune = 5\n", "24h"),
    ],
)
def test_toml_values_of_any_type_are_read_or_warned_of(load: Load, toml: str, until: str) -> None:
    settings = load(toml=toml)
    assert settings.prune_until == until
    assert len(settings.warnings) == (until == "24h")


@pytest.mark.parametrize("value", ["true", "'6 hours'", "[1]", "{}", "nan"])
@pytest.mark.parametrize("field", ["interval_s", "timeout_s", "notify_min_gb"])
def test_numbers_in_toml_are_numbers(load: Load, field: str, value: str) -> None:
    settings = load(toml=f"[prune]\n{field} = {value}\n")
    assert getattr(settings, f"prune_{field}") == Settings.model_fields[f"prune_{field}"].default
    assert f"HOLYSTONE_PRUNE_{field.upper()} (holystone.toml) holds" in settings.warnings[0]


# Secrets


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REDIS_URL", f"redis://:{SECRET}@redis:6379/0"),
        ("REDIS_URL", f"http://:{SECRET}@redis:6379/0"),
        ("NOTIFY_URLS", f"tgram://{SECRET}/chat"),
        ("HOSTS", f"ssh://root:{SECRET}@build-01"),
        ("HOSTS", f"root:{SECRET}@build-01"),
        ("HOSTS", f"ssh://root:{SECRET}"),
    ],
)
@pytest.mark.parametrize("source", ["environment", "dotenv", "toml"])
def test_no_secret_is_shown(load: Load, source: str, variable: str, value: str) -> None:
    if source == "environment":
        settings = load(**{variable: value})
    elif source == "dotenv":
        settings = load(dotenv=f"HOLYSTONE_{variable}='{value}'\n")
    else:
        settings = load(toml=f"{variable.lower()} = '{value}'\n")
    everything = repr(settings) + str(settings) + " ".join(settings.warnings) + repr(settings.left_out)
    assert SECRET not in everything
    if variable == "HOSTS":
        assert settings.warnings


def test_the_password_of_redis_is_read_from_a_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{SECRET}\n")
    settings = load(REDIS_URL="redis://redis:6379/3", REDIS_PASSWORD_FILE=str(tmp_path / "password"))
    assert settings.redis_url.get_secret_value() == f"redis://:{SECRET}@redis:6379/3"
    assert settings.warnings == ()
    assert SECRET not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://redis:6379/0", "redis://:p%40%2F%3A%25%20%22%27%5C%C3%A9@redis:6379/0"),
        ("rediss://user@redis", "rediss://user:p%40%2F%3A%25%20%22%27%5C%C3%A9@redis"),
        ("redis://redis?db=1", "redis://:p%40%2F%3A%25%20%22%27%5C%C3%A9@redis?db=1"),
        ("redis://[::1]:6379/0#@", "redis://:p%40%2F%3A%25%20%22%27%5C%C3%A9@[::1]:6379/0#@"),
        ("redis://:own@redis/0", "redis://:own@redis/0"),
        ("redis://user:own@redis/0", "redis://user:own@redis/0"),
        ("redis://[::1", "redis://:p%40%2F%3A%25%20%22%27%5C%C3%A9@[::1"),
    ],
)
def test_a_password_is_put_into_a_url_that_has_none(url: str, expected: str) -> None:
    password = "p@/:% \"'\\é"
    assert with_password(url, password) == expected
    if "own" not in url and url.startswith("redis://redis"):
        assert parse_url(url=expected)["password"] == password  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ("tgram://1/2", ["tgram://1/2"]),
        ("tgram://1/2\njson://c\n", ["tgram://1/2", "json://c"]),
        ("# my urls\ntgram://1/2\n  #json://x\njson://c/#d\n", ["tgram://1/2", "json://c/#d"]),
        ("\ufefftgram://1/2\r\n", ["tgram://1/2"]),
        ("\ufeff# my urls\r\ntgram://1/2\r\n", ["tgram://1/2"]),
        ("\r\n tgram://1/2 ,\r\n\njson://c mailto://d\r\n", ["tgram://1/2", "json://c", "mailto://d"]),
    ],
)
def test_message_urls_are_read_from_a_file(
    load: Load, tmp_path: Path, held: str, expected: list[str]
) -> None:
    (tmp_path / "urls").write_bytes(held.encode())
    settings = load(NOTIFY_URLS_FILE=str(tmp_path / "urls"))
    assert [url.get_secret_value() for url in settings.notify_urls] == expected
    assert settings.warnings == ()


def test_message_urls_of_the_variable_and_of_the_file_are_used_each_once(load: Load, tmp_path: Path) -> None:
    (tmp_path / "urls").write_text(f"json://{SECRET}\ntgram://1/2\n")
    settings = load(
        toml="notify_urls = ['tgram://1/2', 'json://b']\n", NOTIFY_URLS_FILE=str(tmp_path / "urls")
    )
    urls = [url.get_secret_value() for url in settings.notify_urls]
    assert urls == ["tgram://1/2", "json://b", f"json://{SECRET}"]
    assert SECRET not in repr(settings) + str(settings)
    assert any(SECRET in secret for secret in find_secrets(settings, {}))  # so that no log holds it


SECRET_FILES = {
    "REDIS_PASSWORD_FILE": "Redis is asked without a password",
    "NOTIFY_URLS_FILE": "no message goes to the URLs in it",
}


@pytest.mark.parametrize("variable", SECRET_FILES)
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "can't be read (No such file or directory)"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (SECRET.encode() + b"\xff", "is no UTF-8 text"),
    ],
)
def test_a_file_of_a_secret_that_is_no_use_is_told_in_one_line_without_its_content(
    load: Load, tmp_path: Path, variable: str, content: bytes | None, says: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    settings = load(NOTIFY_URLS="json://b", **{variable: str(path)})
    assert settings.warnings == (f"HOLYSTONE_{variable}: {str(path)!r} {says}; {SECRET_FILES[variable]}",)
    assert settings.redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"
    assert [url.get_secret_value() for url in settings.notify_urls] == ["json://b"]
    assert SECRET not in repr(settings)


@pytest.mark.parametrize("variable", SECRET_FILES)
def test_a_file_of_a_secret_that_may_not_be_read_is_told_in_one_line(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    def refuse(_: Path) -> bytes:  # root may read anything
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    (warning,) = load(toml="", **{variable: str(tmp_path / "secret")}).warnings
    assert "/secret' can't be read (Permission denied); " in warning


@pytest.mark.parametrize("variable", SECRET_FILES)
@pytest.mark.parametrize("held", ["a\\u0000b", "/", "~nobody-here/x", "x" * 5000, "/tmp"])
def test_what_can_not_be_a_file_of_a_secret_is_told(load: Load, variable: str, held: str) -> None:
    (warning,) = load(toml=f'{variable.lower()} = "{held}"\n').warnings
    assert warning.startswith(f"HOLYSTONE_{variable}: ")
    assert "can't be read (" in warning
    assert len(warning) < 200


@pytest.mark.parametrize("variable", SECRET_FILES)
@pytest.mark.parametrize(
    "held", [SECRET, f"pre/{SECRET}", f"/{SECRET}", f"tgram://{SECRET}/chat", f"~{SECRET}/x", f"{SECRET}/x=="]
)
def test_a_secret_that_stands_where_its_file_is_named_is_not_shown(
    load: Load, variable: str, held: str
) -> None:
    in_file = load(toml=f"{variable.lower()} = '{held}'\n")
    as_list = load(toml=f"{variable.lower()} = ['{held}']\n")
    in_environment = load(toml="", **{variable: held})
    for settings in (in_file, as_list, in_environment):
        (warning,) = settings.warnings
        assert variable in warning
        assert SECRET not in warning + repr(settings) + str(settings)


@pytest.mark.parametrize(
    "toml",
    [
        f"hosts = [1, 'ssh://root:{SECRET}@build-01', 'ssh://build-02']\n",
        f"hosts = [['ssh://root:{SECRET}@build-01'], 'ssh://build-02']\n",
        f"hosts = [{{url = 'ssh://root:{SECRET}@build-01'}}, 'ssh://build-02']\n",
    ],
)
def test_an_odd_list_of_hosts_costs_no_other_host_and_shows_no_password(load: Load, toml: str) -> None:
    settings = load(toml=toml)
    assert list(settings.fleet) == ["build-02"]
    assert settings.left_out
    assert SECRET not in repr(settings) + " ".join(settings.warnings)


@pytest.mark.parametrize("field", ["redis_url", "notify_urls"])
def test_shown_keeps_secrets_back(field: str) -> None:
    assert SECRET not in shown(field, SECRET)


def test_shown_cuts_a_screenful() -> None:
    assert shown("prune_until", "7d") == "'7d'"
    assert len(shown("prune_until", "x" * 10_000)) == 80


def test_a_number_too_long_to_show_is_warned_of(load: Load) -> None:
    settings = load(toml="[prune]\ninterval_s = 0x" + "f" * 5000)
    (warning,) = settings.warnings
    assert "holds (a number too long to show), but takes whole seconds" in warning
    assert settings.prune_interval_s == 21_600


def test_settings_can_not_be_changed(load: Load) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().prune_enabled = False  # type: ignore[misc]


def test_flatten_joins_the_named_tables_only() -> None:
    tables = {
        "prune": {"until": "7d"},
        "ssh": {"config": "x"},
        "hosts": {"a": {"url": "local"}},
        "redis_url": "r",
    }
    assert flatten(tables, ("prune", "ssh")) == {
        "prune_until": "7d",
        "ssh_config": "x",
        "hosts": {"a": {"url": "local"}},
        "redis_url": "r",
    }


@pytest.mark.parametrize("text", ["pw\n", "pw", "pw\nmore\n"])
def test_a_password_is_its_file_s_first_line(load: Load, tmp_path: Path, text: str) -> None:
    (tmp_path / "password").write_text(text)
    settings = load(REDIS_PASSWORD_FILE=str(tmp_path / "password"))
    assert settings.redis_url.get_secret_value() == "redis://:pw@127.0.0.1:6379/0"
