"""The fleet: which hosts are served, each with which policy, and which are left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from worker.policies import DiskPolicy, PrunePolicy
from worker.settings import Settings, load_settings

DEFAULT = PrunePolicy(enabled=True, interval_s=21_600, until="24h", all=False, timeout_s=120, notify_min_gb=0)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def load(toml: str = "", **variables: str) -> Settings:
        (tmp_path / "holystone.toml").write_text(toml)
        for name, value in variables.items():
            monkeypatch.setenv(f"HOLYSTONE_{name}", value)
        return load_settings(tmp_path)

    return load


def test_every_host_has_the_policy_of_all(load: Any) -> None:
    settings = load(HOSTS="ssh://a,local", PRUNE_UNTIL="7d", PRUNE_ALL="true", PRUNE_INTERVAL_S="60")
    expected = replace(DEFAULT, until="168h", all=True, interval_s=60)
    assert {name: host.prune for name, host in settings.fleet.items()} == {"a": expected, "local": expected}


def test_a_host_differs_where_its_table_says_so(load: Any) -> None:
    settings = load(
        """
        [prune]
        until = "48h"
        [hosts.build-01]
        url = "ssh://ci.bot@10.0.0.7:2222"
        prune.until = "7d"
        prune.interval_s = 3600
        prune.all = true
        prune.timeout_s = 7200
        prune.notify_min_gb = 1.5
        [hosts.build-02]
        url = "local"
        """
    )
    assert settings.warnings == ()
    assert settings.fleet["build-01"].host.url == "ssh://ci.bot@10.0.0.7:2222"
    assert settings.fleet["build-01"].prune == PrunePolicy(True, 3600, "168h", True, 7200, 1.5)
    assert settings.fleet["build-02"].host.is_local
    assert settings.fleet["build-02"].prune == replace(DEFAULT, until="48h")


def test_the_environment_wins_over_a_hosts_table(load: Any) -> None:
    toml = "[hosts.a]\nurl = 'ssh://a'\nprune.until = '7d'\nprune.interval_s = 60\n"
    settings = load(toml, PRUNE_UNTIL="1h")
    assert settings.fleet["a"].prune == replace(DEFAULT, until="1h", interval_s=60)


def test_an_unreadable_variable_does_not_win_over_a_hosts_table(load: Any) -> None:
    settings = load("[hosts.a]\nurl = 'ssh://a'\nprune.until = '7d'\n", PRUNE_UNTIL="garbage")
    assert settings.fleet["a"].prune.until == "168h"


def test_hosts_in_the_environment_say_which_there_are_and_the_table_how_they_differ(load: Any) -> None:
    toml = "[hosts.a]\nurl = 'ssh://10.0.0.1'\nprune.until = '7d'\n[hosts.b]\nurl = 'ssh://b'\n"
    settings = load(toml, HOSTS="ssh://a")
    assert list(settings.fleet) == ["a"]
    assert settings.fleet["a"].host.address == "a"
    assert settings.fleet["a"].prune.until == "168h"


@pytest.mark.parametrize(
    ("fleet", "host", "enabled"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
@pytest.mark.parametrize("where", ["toml", "environment"])
def test_a_host_is_pruned_where_both_switches_are_on(
    load: Any, where: str, fleet: bool, host: bool, enabled: bool
) -> None:
    toml = f"[hosts.a]\nurl = 'ssh://a'\nprune.enabled = {str(host).lower()}\n"
    if where == "toml":
        settings = load(f"prune.enabled = {str(fleet).lower()}\n{toml}")
    else:
        settings = load(toml, PRUNE_ENABLED=str(fleet))
    assert settings.fleet["a"].prune.enabled is enabled


@pytest.mark.parametrize(
    ("line", "policy", "held"),
    [
        ("prune.enabled = 'of'", replace(DEFAULT, enabled=False, until="48h"), "prune.enabled holds 'of'"),
        ("prune.all = 'treu'", replace(DEFAULT, until="48h"), "prune.all holds 'treu'"),
        ("prune.until = 'garbage'", replace(DEFAULT, until="48h"), "prune.until holds 'garbage'"),
        ("prune.until = 0", replace(DEFAULT, until="48h"), "prune.until holds 0"),
        ("prune.interval_s = 0", replace(DEFAULT, until="48h"), "prune.interval_s holds 0"),
        ("prune.interval_s = true", replace(DEFAULT, until="48h"), "prune.interval_s holds True"),
        ("prune.timeout_s = -1", replace(DEFAULT, until="48h"), "prune.timeout_s holds -1"),
        ("prune.notify_min_gb = nan", replace(DEFAULT, until="48h"), "prune.notify_min_gb holds nan"),
        ("prune = 'off'", replace(DEFAULT, enabled=False, until="48h"), "prune is a table"),
    ],
)
def test_nonsense_in_a_hosts_table_falls_back_to_the_fleets_policy(
    load: Any, line: str, policy: PrunePolicy, held: str
) -> None:
    settings = load(
        f"[prune]\nuntil = '48h'\n[hosts.a]\nurl = 'ssh://a'\n{line}\n[hosts.b]\nurl = 'ssh://b'\n"
    )
    assert settings.fleet["a"].prune == policy
    assert settings.fleet["b"].prune == replace(DEFAULT, until="48h")
    (warning,) = settings.warnings
    assert warning.startswith("holystone.toml [hosts.a]: ")
    assert held in warning


def test_an_unreadable_all_of_a_host_is_false_though_the_fleets_is_true(load: Any) -> None:
    settings = load("[prune]\nall = true\n[hosts.a]\nurl = 'ssh://a'\nprune.all = 'treu'\n")
    assert settings.fleet["a"].prune.all is False


@pytest.mark.parametrize(
    "bad",
    ["ssh://-oProxyCommand=x", "ssh://root:hunter2@c", "ssh://c;id", "ssh://c:70000", "c", "ssh://$(id)@c"],
)
def test_a_host_that_makes_no_sense_is_left_out_loudly_and_the_others_are_served(load: Any, bad: str) -> None:
    settings = load(HOSTS=f"ssh://a {bad} ssh://b")
    assert list(settings.fleet) == ["a", "b"]
    (gone,) = settings.left_out
    (warning,) = settings.warnings
    assert warning == f"host left out: {gone.reason}"
    assert gone.reason.startswith(repr(gone.host)) or repr(gone.host)[1:-1] in gone.reason
    assert "hunter2" not in repr(gone) + warning


@pytest.mark.parametrize(
    ("hosts", "twice"),
    [
        ("ssh://a ssh://a", "a"),
        ("ssh://a ssh://root@a", "a"),
        ("ssh://a ssh://a:22", "a"),
        ("ssh://a ssh://A", "A"),
        ("local local", "local"),
        ("ssh://a:7601 ssh://u@a:7601", "a:7601"),
    ],
)
def test_the_first_of_two_hosts_with_one_name_is_served(load: Any, hosts: str, twice: str) -> None:
    settings = load(HOSTS=hosts)
    assert [host.host.url for host in settings.fleet.values()] == [hosts.split()[0]]
    assert [gone.host for gone in settings.left_out] == [twice]
    assert "is named twice; the first one is served" in settings.warnings[0]


def test_one_address_with_two_ports_is_two_hosts(load: Any) -> None:
    assert list(load(HOSTS="ssh://127.0.0.1 ssh://127.0.0.1:7601 ssh://127.0.0.1:7602").fleet) == [
        "127.0.0.1",
        "127.0.0.1:7601",
        "127.0.0.1:7602",
    ]


@pytest.mark.parametrize(
    ("toml", "reason"),
    [
        ("[hosts.a]\n", "[hosts.a] needs url"),
        ("[hosts.a]\nurl = 5\n", "[hosts.a] needs url"),
        ("[hosts]\na = 'ssh://a'\n", "[hosts.a] needs url"),
        ("[hosts.'-oX']\nurl = 'ssh://a'\n", "'-oX'"),
        ("[hosts.'a;id']\nurl = 'ssh://a'\n", "'a;id'"),
        ("[hosts.'a b']\nurl = 'ssh://a'\n", "'a b'"),
        ("[hosts.'']\nurl = 'ssh://a'\n", "''"),
        ("[hosts.'root@a']\nurl = 'ssh://a'\n", "'***@a'"),
        ("[hosts.'a/']\nurl = 'ssh://a'\n", "'a/'"),
        ("[hosts.'a:0x1']\nurl = 'ssh://a'\n", "'a:***'"),
        ("[hosts.a]\nurl = 'ssh://root:hunter2@a'\n", "'ssh://root:***@a'"),
    ],
)
def test_a_table_that_names_no_host_is_left_out(load: Any, toml: str, reason: str) -> None:
    settings = load(
        f"{toml}[hosts.b]\nurl = 'ssh://b'\n" if "[hosts]\n" not in toml else f"{toml}b.url = 'local'\n"
    )
    assert list(settings.fleet) == ["b"]
    (gone,) = settings.left_out
    assert gone.reason.startswith(reason)
    assert "hunter2" not in repr(settings) + " ".join(settings.warnings)


def test_hosts_may_be_a_list_in_the_file(load: Any) -> None:
    assert list(load("hosts = ['ssh://a', 'local']\n").fleet) == ["a", "local"]


def test_hosts_of_another_kind_are_warned_of(load: Any) -> None:
    settings = load("hosts = 5\n")
    assert settings.fleet == {}
    assert "hosts is a list of URLs or a table" in settings.warnings[0]


def test_a_table_is_found_by_its_name_in_any_case_or_else_by_its_url(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLYSTONE_HOSTS", "ssh://root@10.0.0.5 ssh://web ssh://other")
    settings = load(
        "[hosts.build-01]\nurl = 'ssh://root@10.0.0.5:22'\nprune.enabled = false\n"
        "[hosts.Web]\nurl = 'ssh://10.0.0.6'\nprune.until = '30d'\n"
        "[hosts.gone]\nurl = 'ssh://gone'\nprune.until = '30d'\n"
    )
    policies = {name: (host.prune.enabled, host.prune.until) for name, host in settings.fleet.items()}
    assert policies == {"10.0.0.5": (False, "24h"), "web": (True, "720h"), "other": (True, "24h")}
    assert any("[hosts.gone]" in warning and "is not one of them" in warning for warning in settings.warnings)


# The disk's policy


DISK = DiskPolicy(
    enabled=True, interval_s=300, alert_percent=85, prune_percent=None, ladder=("24h", "6h", "1h")
)


def test_disks_are_watched_and_not_pruned_unless_asked_for(load: Any) -> None:
    assert load(HOSTS="local").fleet["local"].disk == DISK


def test_a_host_s_disk_differs_where_its_table_says_so(load: Any) -> None:
    settings = load(
        "[hosts.a]\nurl = 'ssh://a'\ndisk.prune_percent = 80\ndisk.ladder = ['6h', '7d']\n", DISK_LADDER=""
    )
    assert settings.warnings == ()
    assert settings.fleet["a"].disk == replace(DISK, prune_percent=80, ladder=("168h", "6h"))


@pytest.mark.parametrize(
    ("variable", "held", "field", "used"),
    [
        ("DISK_ALERT_PERCENT", "0", "alert_percent", 85),
        ("DISK_ALERT_PERCENT", "101", "alert_percent", 85),
        ("DISK_PRUNE_PERCENT", "0", "prune_percent", None),
        ("DISK_PRUNE_PERCENT", "most", "prune_percent", None),
        ("DISK_INTERVAL_S", "0", "interval_s", 300),
        ("DISK_LADDER", "7d,soon", "ladder", ()),  # the default could remove more than was meant
        ("DISK_LADDER", "7d,0", "ladder", ()),
        ("DISK_ENABLED", "perhaps", "enabled", False),
    ],
)
def test_what_makes_no_sense_never_prunes_more_than_was_meant(
    load: Any, variable: str, held: str, field: str, used: object
) -> None:
    settings = load(HOSTS="local", **{variable: held})
    assert settings.fleet["local"].disk == replace(DISK, **cast(Any, {field: used}))
    assert any(variable in warning and held in warning for warning in settings.warnings)


@pytest.mark.parametrize("never", ["0", "false", "''", "'never'"])
def test_a_host_that_writes_never_in_its_own_way_is_not_pruned_early(load: Any, never: str) -> None:
    toml = f"[disk]\nprune_percent = 90\n[hosts.a]\nurl = 'ssh://a'\ndisk.prune_percent = {never}\n"
    assert load(toml).fleet["a"].disk.prune_percent is None


def test_a_ladder_is_taken_longest_age_first(load: Any) -> None:
    assert load(HOSTS="local", DISK_LADDER="1h 7d, 24h").fleet["local"].disk.ladder == ("168h", "24h", "1h")
