"""The example files that users copy: complete, true, and accepted as they stand."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from tests.support.compose_stack import UNHEALTHY_WITHIN_S
from tests.support.paths import CHECKOUT
from worker.limits import GRACE_S
from worker.liveness import MAX_AGE_S
from worker.policies import POLICIES
from worker.settings import TABLES, VARIABLES, Settings, load_settings
from worker.sources import flatten

DOTENV = (CHECKOUT / ".env.example").read_text()
TOML = (CHECKOUT / "holystone.example.toml").read_text()
COMPOSE = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())

# Examples where the default is empty, or OpenSSH's own.
NO_DEFAULT = {
    "redis_url",  # which the password is put into
    "redis_password_file",
    "hosts",
    "notify_urls",
    "notify_urls_file",
    "disk_prune_percent",
    "ssh_config",
    "ssh_known_hosts",
    "ssh_identity",
}


@pytest.fixture(autouse=True)
def _secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of secrets that the examples name, from the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/redis_password").write_text("long\n")
    (tmp_path / "secrets/notify_urls").write_text("json://a/b\n")


def dotenv_lines() -> dict[str, str]:
    """The variables of .env.example, each with its example value."""
    return dict(re.findall(r"^#([A-Z_]+)=(.*)$", DOTENV, re.MULTILINE))


def test_env_example_lists_every_variable_commented_out() -> None:
    listed = [name for name in dotenv_lines() if name.startswith("HOLYSTONE_")]

    assert listed == list(VARIABLES)
    assert all(line.startswith("#") for line in DOTENV.splitlines() if line)


def test_env_example_says_something_about_each_variable() -> None:
    lines = DOTENV.splitlines()
    variables = [number for number, line in enumerate(lines) if re.match(r"#[A-Z_]+=", line)]

    assert all(re.match(r"# .{20,}\.$", lines[number - 1]) for number in variables)


def test_env_example_loads_without_a_warning_once_uncommented(tmp_path: Path) -> None:
    uncommented = re.sub(r"^#(?=[A-Z_]+=)", "", DOTENV, flags=re.MULTILINE)
    (tmp_path / ".env").write_text(uncommented)

    settings = load_settings(tmp_path)

    assert settings.warnings == ()
    assert list(settings.fleet) == ["build-01", "build-02:2222"]
    assert settings.ssh_identity == Path("~/.ssh/id_ed25519")


def test_env_example_shows_the_defaults(tmp_path: Path) -> None:
    uncommented = re.sub(r"^#(?=[A-Z_]+=)", "", DOTENV, flags=re.MULTILINE)
    (tmp_path / ".env").write_text(uncommented)

    assert differing(load_settings(tmp_path), Settings()) == NO_DEFAULT


def test_toml_example_lists_every_setting() -> None:
    listed = flatten(tomllib.loads(TOML), TABLES)

    assert set(listed) == set(VARIABLES.values())


def test_toml_example_loads_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "holystone.toml").write_text(TOML)

    settings = load_settings(tmp_path)

    assert settings.warnings == ()
    assert list(settings.fleet) == ["build-01", "build-02", "release.example.net", "local"]
    assert settings.fleet["build-02"].prune.until == "168h"
    assert not settings.fleet["release.example.net"].prune.enabled
    assert differing(settings, Settings()) == NO_DEFAULT - {"hosts"}


def test_toml_example_shows_every_field_that_a_host_may_have_of_its_own() -> None:
    hosts = tomllib.loads(TOML)["hosts"].values()

    for table, policy in POLICIES.items():
        shown = {field for host in hosts for field in host.get(table, {})}
        assert shown == {field.name for field in fields(policy)}


@pytest.mark.parametrize("service", ["beat", "worker", "flower"])
def test_compose_passes_every_variable_on(service: str) -> None:
    environment = COMPOSE["services"][service]["environment"]

    # The worker's ~/.ssh is a mount: paths of the machine outside mean nothing in there.
    paths = {"HOLYSTONE_SSH_CONFIG", "HOLYSTONE_SSH_KNOWN_HOSTS", "HOLYSTONE_SSH_IDENTITY"}
    assert set(VARIABLES) - paths == {name for name in environment if name.startswith("HOLYSTONE_")}
    # Without a value of its own: one that is not set stays unset, and the settings file counts.
    assert [name for name, value in environment.items() if value is not None and name in VARIABLES] == [
        "HOLYSTONE_REDIS_URL",
        "HOLYSTONE_REDIS_PASSWORD_FILE",
        "HOLYSTONE_NOTIFY_URLS_FILE",  # its path in there, where one is set
    ]


def test_env_example_lists_every_variable_of_the_compose_file() -> None:
    text = (CHECKOUT / "docker-compose.yml").read_text()
    used = set(re.findall(r"\$\{([A-Z_]+)", text))

    own = {name for name in dotenv_lines() if not name.startswith("HOLYSTONE_")}
    assert used == {*own, "HOLYSTONE_NOTIFY_URLS_FILE", "HOLYSTONE_PRUNE_TIMEOUT_S"}


def test_the_compose_file_shows_the_defaults_that_the_example_names() -> None:
    text = (CHECKOUT / "docker-compose.yml").read_text()
    stop = f"${{STOP_GRACE_PERIOD:-1m${{HOLYSTONE_PRUNE_TIMEOUT_S:-{Settings().prune_timeout_s}}}s}}"
    assert text.count(stop) == 1
    assert GRACE_S < 60
    defaults = dict(re.findall(r"\$\{([A-Z_]+):-([^}]+)\}", text.replace(stop, "${STOP_GRACE_PERIOD:-3m}")))

    assert defaults.pop("SETTINGS_FILE") == defaults.pop("HOLYSTONE_NOTIFY_URLS_FILE") == "/dev/null"
    assert defaults == {name: dotenv_lines()[name] for name in defaults}
    assert set(defaults) == {"SSH_FOLDER", "SECRETS_FOLDER", "RUN_AS", "STOP_GRACE_PERIOD"}


@pytest.mark.parametrize("service", UNHEALTHY_WITHIN_S)
def test_health_checks_find_in_time_what_hangs(service: str) -> None:
    check = COMPOSE["services"][service]["healthcheck"]
    interval_s, timeout_s = (int(check[name].removesuffix("s")) for name in ("interval", "timeout"))
    unseen_s = MAX_AGE_S if service == "beat" else 0

    assert unseen_s + check["retries"] * (interval_s + timeout_s) <= UNHEALTHY_WITHIN_S[service]


def differing(one: Settings, other: Settings) -> set[str]:
    return {field for field in VARIABLES.values() if getattr(one, field) != getattr(other, field)}
