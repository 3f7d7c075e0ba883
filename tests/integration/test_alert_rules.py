"""The alert rules of docs/ as Prometheus' own promtool sees them: well-formed, firing when they should."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import CHECKOUT
from tests.support.requirements import require_promtool

RULES = CHECKOUT / "docs/alerts.yml"
CASES = CHECKOUT / "tests/data/alerts_test.yml"
NOTHING = "HolystoneReclaimsNothing"
SINCE = "holystone:expected_since_timestamp_seconds"

# Cases of many hours take seconds at an evaluation per minute: this is how often is enough for each.
LONG = {
    "HolystoneNoSuccess": "5m",
    "HolystoneReclaimsNothing": "15m",
    "HolystoneDiskFull": "5m",
    "HolystoneMessagesExpire": "5m",
}

# One way to break each part of each rule: (rule, its field, what goes, what comes instead).
BREAKS = [
    (SINCE, "expr", "(holystone_enabled == 0) or ", ""),
    (SINCE, "expr", " or (holystone_enabled and on (host) holystone_paused == 1)", ""),
    (SINCE, "expr", "last_over_time(holystone:expected_since_timestamp_seconds[6h])", "holystone_none"),
    (SINCE, "expr", "[6h]", "[4h]"),
    (SINCE, "expr", "[6h]", "[8h]"),
    (SINCE, "expr", "  > last_over_time", "  < last_over_time"),
    (SINCE, "expr", "holystone_last_success_timestamp_seconds\n", "holystone_none\n"),
    (SINCE, "expr", "0 * holystone_enabled + time()", "holystone_none"),
    (SINCE, "expr", "and\n  holystone_enabled\n", ""),
    ("HolystoneNoSuccess", "expr", "2 * holystone_interval_seconds", "7200"),
    ("HolystoneNoSuccess", "expr", "2 *", "1 *"),
    ("HolystoneNoSuccess", "expr", "2 *", "3 *"),
    ("HolystoneNoSuccess", "expr", "holystone:expected_since", "holystone_last_success"),
    ("HolystoneNoSuccess", "for", "15m", "1m"),
    ("HolystoneHostFailing", "expr", ">= 3", ">= 2"),
    ("HolystoneHostFailing", "expr", ">= 3", "> 3"),
    ("HolystoneHostFailing", "expr", "holystone_enabled == 1", "holystone_enabled"),
    ("HolystoneHostFailing", "expr", "holystone_paused == 1", "holystone_none"),
    (NOTHING, "expr", "holystone_last_reclaimed_bytes == 0\nand\n", ""),
    (NOTHING, "expr", "max_over_time(holystone_last_reclaimed_bytes[1h] offset 23h) == 0\nand\n", ""),
    (NOTHING, "expr", "offset 23h) == 0", "offset 23h) >= 0"),
    (NOTHING, "expr", "offset 23h", ""),
    (NOTHING, "expr", "offset 23h", "offset 5h"),
    (NOTHING, "expr", "increase(holystone_reclaimed_bytes_total[1d]) == 0\nand\n", ""),
    (NOTHING, "expr", "total[1d]", "total[3d]"),
    (NOTHING, "expr", "total[1d]", "total[6h]"),
    (NOTHING, "expr", "free_bytes[1d]", "free_bytes[7d]"),
    (NOTHING, "expr", "free_bytes[1d]", "free_bytes[6h]"),
    (NOTHING, "expr", "<= 2 *", "<= 20 *"),
    (NOTHING, "expr", "-0.01", "-0.019"),
    (NOTHING, "expr", "> 0.7", "> 0.74"),
    (NOTHING, "for", "1h", "5h"),
    (NOTHING, "expr", "<= 2 * holystone_interval_seconds", "> 0"),
    (NOTHING, "expr", "< -0.01 * holystone_disk_size_bytes", "< 0"),
    (NOTHING, "expr", "> 0.7", "> 0"),
    (NOTHING, "expr", "> 0.7", "> 0.9"),
    (NOTHING, "for", "1h", "1m"),
    ("HolystoneDiskFull", "expr", "holystone_disk_alert_ratio", "0.85"),
    ("HolystoneDiskFull", "expr", "holystone_disk_alert_ratio", "0.1 + holystone_disk_alert_ratio"),
    (
        "HolystoneDiskFull",
        "expr",
        "(holystone_disk_size_bytes - holystone_disk_free_bytes) / holystone_disk_size_bytes",
        "1 - holystone_disk_free_bytes / holystone_disk_size_bytes",
    ),
    ("HolystoneDiskFull", "expr", ">=", ">"),
    ("HolystoneDiskFull", "expr", "86400 + ", ""),
    (
        "HolystoneDiskFull",
        "expr",
        "86400 + min by (host) (holystone_interval_seconds",
        "86400 + min by (host) (0 * holystone_interval_seconds",
    ),
    ("HolystoneDiskFull", "expr", "86400 +", "864000 +"),
    ("HolystoneDiskFull", "expr", "min by", "max by"),
    ("HolystoneDiskFull", "expr", "on (host) 86400", "86400"),
    ("HolystoneDiskFull", "expr", "and on (host)", "and"),
    ("HolystoneDiskFull", "expr", " and holystone_enabled == 1", ""),
    ("HolystoneDiskFull", "for", "10m", "1m"),
    ("HolystoneDiskFull", "for", "10m", "15m"),
    ("HolystoneMessagesExpire", "expr", "sum by (task) ", ""),
    ("HolystoneMessagesExpire", "expr", ">= 1", ">= 0"),
    ("HolystoneMessagesExpire", "expr", ">= 1", ">= 2"),
    ("HolystoneMessagesExpire", "expr", "[6h]", "[1d]"),
    ("HolystoneMessagesExpire", "expr", "[6h]", "[2h]"),
    ("HolystoneMessagesExpire", "expr", "increase", "rate"),
    ("HolystoneMessagesExpire", "expr", "increase", "delta"),
    ("HolystoneRedisDown", "expr", "== 0", "== 1"),
    ("HolystoneRedisDown", "for", "2m", "0m"),
    ("HolystoneRedisDown", "for", "2m", "1h"),
    ("HolystoneMetricsAbsent", "expr", "absent(holystone_redis_up)", "absent(holystone_none)"),
    ("HolystoneMetricsAbsent", "for", "5m", "0m"),
    ("HolystoneMetricsAbsent", "for", "5m", "1h"),
]


@pytest.fixture(autouse=True)
def _promtool() -> None:
    require_promtool()


def promtool(*args: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *args], cwd=cwd, capture_output=True, text=True, check=False)


def load_rules() -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    return rules


def write_rules(rules: list[dict[str, Any]], path: Path) -> None:
    path.write_text(yaml.safe_dump({"groups": [{"name": "holystone", "rules": rules}]}))


def test_the_rules_are_well_formed() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_when_they_should_and_only_then() -> None:
    done = promtool("test", "rules", CASES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_cases() -> None:
    names = [case["name"] for case in yaml.safe_load(CASES.read_text())["tests"]]
    assert names == [rule["alert"] for rule in load_rules() if "alert" in rule]


def run_cases(alert: str, rules: list[dict[str, Any]], tmp: Path) -> subprocess.CompletedProcess[str]:
    """The cases of `alert` alone, against `rules`."""
    write_rules(rules, tmp / "alerts.yml")
    cases = yaml.safe_load(CASES.read_text())
    case = next(case for case in cases["tests"] if case["name"] == alert)
    every = LONG.get(alert, "1m")
    cases |= {"tests": [case], "rule_files": ["alerts.yml"], "evaluation_interval": every}
    (tmp / "cases.yml").write_text(yaml.safe_dump(cases))
    assert promtool("check", "rules", "alerts.yml", cwd=tmp).returncode == 0
    return promtool("test", "rules", "cases.yml", cwd=tmp)


@pytest.mark.parametrize("alert", LONG)
def test_a_rule_evaluated_less_often_fires_as_well(alert: str, tmp_path: Path) -> None:
    done = run_cases(alert, load_rules(), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("name", "field", "old", "new"), BREAKS)
def test_a_broken_rule_is_noticed(name: str, field: str, old: str, new: str, tmp_path: Path) -> None:
    rules = load_rules()
    rule = next(rule for rule in rules if name in (rule.get("alert"), rule.get("record")))
    assert old in rule[field]
    rule[field] = rule[field].replace(old, new)
    assert run_cases("HolystoneNoSuccess" if name == SINCE else name, rules, tmp_path).returncode == 1
