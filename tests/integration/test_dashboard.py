"""The dashboard of docs/: what each panel shows of sample data, as Prometheus' own promtool sees it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import CHECKOUT
from tests.support.requirements import require_promtool

PANELS = {
    panel["title"]: panel
    for panel in json.loads((CHECKOUT / "docs/grafana-dashboard.json").read_text())["panels"]
}
DATA = yaml.safe_load((CHECKOUT / "tests/data/dashboard_test.yml").read_text())
FAILURES, SKIPS = "Failures per day, by type", "Skips per day, by reason"


def query(title: str) -> str:
    """What Grafana asks for with the hosts a, b and c chosen; rounded, as `increase` estimates."""
    (target,) = PANELS[title]["targets"]
    asked = target["expr"].replace("$host", "(a|b|c)")
    assert "$" not in asked  # a variable that the dashboard hasn't
    return f"round({asked}, 0.001)"


def check(tests: list[dict[str, Any]], tmp: Path) -> None:
    (tmp / "cases.yml").write_text(yaml.safe_dump({"tests": [{"interval": "5m"} | test for test in tests]}))
    argv = ["promtool", "test", "rules", "cases.yml"]
    done = subprocess.run(argv, cwd=tmp, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(autouse=True)
def _promtool() -> None:
    require_promtool()


def test_every_panel_has_a_case() -> None:
    assert list(PANELS) == list(DATA["panels"])


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_shows_the_chosen_hosts_numbers_in_its_unit(title: str, tmp_path: Path) -> None:
    panel, expected = PANELS[title], DATA["panels"][title]
    case = {"expr": query(title), "eval_time": "3d", "exp_samples": expected["samples"]}
    check([{"input_series": DATA["input_series"], "promql_expr_test": [case]}], tmp_path)
    assert panel["fieldConfig"]["defaults"]["unit"] == expected["unit"]
    labels = {label for sample in expected["samples"] for label in re.findall(r"(\w+)=", sample["labels"])}
    legend = re.findall(r"\{\{(\w+)\}\}", panel["targets"][0].get("legendFormat", ""))
    assert set(legend) == labels


@pytest.mark.parametrize("case", DATA["failures_per_day"], ids=lambda case: case["name"])
def test_failures_per_day_are_those_of_the_day(case: dict[str, Any], tmp_path: Path) -> None:
    expected = [
        {
            "expr": query(FAILURES),
            "eval_time": at,
            "exp_samples": [] if count is None else [{"labels": '{error="E"}', "value": count}],
        }
        for at, count in case["shows"].items()
    ]
    check([{"input_series": case["input_series"], "promql_expr_test": expected}], tmp_path)


def test_skips_per_day_are_counted_as_failures_are() -> None:
    renamed = query(FAILURES).replace("holystone_failures_total", "holystone_skips_total")
    assert query(SKIPS) == renamed.replace("by (error)", "by (reason)")
