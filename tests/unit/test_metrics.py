"""What is shown of each host, from its settings and from what Redis holds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import redis
import yaml
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import CollectorRegistry

from tasks.prune_build_cache import RAN_RECENTLY
from tasks.prune_visit import MAY_STILL_RUN, ROOM_AGAIN
from tests.support.paths import CHECKOUT
from worker import errors
from worker.collector import HostCollector
from worker.fleet import HostSettings
from worker.hosts import parse_host
from worker.metrics import METRICS, Known, make_families
from worker.pause import ALL, Pause
from worker.policies import UNWATCHED, PrunePolicy
from worker.runs import ALREADY_RUNNING, PAUSED
from worker.settings import Settings

SECRET = "hunter2"
NOW = 1_780_000_000.0
POLICY = PrunePolicy(True, 21_600, "24h", False, 120, 0)
FLEET = {
    "one": HostSettings(parse_host("ssh://one"), POLICY),
    "two:2222": HostSettings(
        parse_host("ssh://two:2222"),
        replace(POLICY, enabled=False, interval_s=60),
        replace(UNWATCHED, alert_percent=90),
    ),
}
DASHBOARD = json.loads((CHECKOUT / "docs/grafana-dashboard.json").read_text())
ALERTS = yaml.safe_load((CHECKOUT / "docs/alerts.yml").read_text())["groups"][0]["rules"]


def shown(
    fields: Mapping[str, str] | None = None,
    disk: Mapping[str, str] | None = None,
    pauses: Mapping[str, Pause] | None = None,
    host: str = "one",
    job: str = "prune_build_cache",
) -> dict[str, Any]:
    """The values of `host` and `job` by metric; of failures and skips by their name."""
    known = Known({(job, host): fields or {}}, {host: disk or {}}, pauses or {})
    values: dict[str, Any] = {}
    for family in make_families(FLEET, known, NOW):
        for sample in family.samples:
            if (
                sample.labels.pop("host") != host
                or sample.labels.pop("task", f"tasks.{job}") != f"tasks.{job}"
            ):
                continue
            if sample.labels:
                values.setdefault(sample.name, {}).update({sample.labels.popitem()[1]: sample.value})
            else:
                values[sample.name] = sample.value
    return values


def test_a_host_that_never_ran_has_zeros_to_count_from_and_no_times() -> None:
    assert shown() == {
        "holystone_enabled": 1,
        "holystone_interval_seconds": 21_600,
        "holystone_reclaimed_bytes_total": 0,
        "holystone_consecutive_failures": 0,
        "holystone_expired_messages_total": 0,
        "holystone_paused": 0,
        "holystone_disk_alert_ratio": 0.85,
    }


def test_everything_that_is_known_is_shown() -> None:
    fields = {
        "last_run_ts": "1779999000.25",
        "last_success_ts": "1779999001.5",
        "last_duration_s": "1.25",
        "last_reclaimed_bytes": "49210000",
        "total_reclaimed_bytes": "9007199254740991",
        "consecutive_failures": "2",
        "failures:HostUnreachable": "3",
        "failures:GivenUp": "1",
        "skips:ran recently": "4",
        "skips:pruning is off (HOLYSTONE_PRUNE_ENABLED)": "5",
        "expired": "6",
        "last_error": "HostUnreachable: lost",
        "engine_id": "engine-id",
    }
    disk = {
        "size_bytes": "100",
        "free_bytes": "40",
        "build_cache_bytes": "7",
        "ts": "1779999002",
        "path": "/var",
    }
    assert shown(fields, disk) == {
        "holystone_enabled": 1,
        "holystone_interval_seconds": 21_600,
        "holystone_last_run_timestamp_seconds": 1779999000.25,
        "holystone_last_success_timestamp_seconds": 1779999001.5,
        "holystone_last_duration_seconds": 1.25,
        "holystone_last_reclaimed_bytes": 49_210_000,
        "holystone_reclaimed_bytes_total": 9_007_199_254_740_991,
        "holystone_consecutive_failures": 2,
        "holystone_failures_total": {"HostUnreachable": 3, "GivenUp": 1},
        "holystone_skips_total": {"ran recently": 4, "pruning is off (HOLYSTONE_PRUNE_ENABLED)": 5},
        "holystone_expired_messages_total": 6,
        "holystone_paused": 0,
        "holystone_disk_size_bytes": 100,
        "holystone_disk_free_bytes": 40,
        "holystone_disk_reading_timestamp_seconds": 1779999002,
        "holystone_disk_alert_ratio": 0.85,
        "holystone_build_cache_bytes": 7,
    }


def test_each_host_has_its_own_settings() -> None:
    values = shown(host="two:2222")
    assert values["holystone_enabled"] == 0
    assert values["holystone_interval_seconds"] == 60
    assert values["holystone_disk_alert_ratio"] == 0.9


def test_a_look_at_a_disk_is_shown_as_a_prune_is_but_reclaims_nothing() -> None:
    fields = {"last_success_ts": "5", "failures:GivenUp": "1", "total_reclaimed_bytes": "1"}
    values = shown(fields | {"last_run_ts": "1"}, job="watch_disk")
    assert values == {
        "holystone_enabled": 0,
        "holystone_interval_seconds": 300,
        "holystone_last_success_timestamp_seconds": 5,
        "holystone_consecutive_failures": 0,
        "holystone_failures_total": {"GivenUp": 1},
        "holystone_expired_messages_total": 0,
        "holystone_paused": 0,
        "holystone_disk_alert_ratio": 0.85,
    }


def test_only_configured_hosts_are_shown() -> None:
    known = Known({("prune_build_cache", "gone"): {"expired": "1"}}, {"gone": {"size_bytes": "1"}}, {})
    hosts = {
        sample.labels["host"] for family in make_families(FLEET, known, NOW) for sample in family.samples
    }
    assert hosts == set(FLEET)


def test_without_hosts_there_are_no_values() -> None:
    assert not [family for family in make_families({}, Known({}, {}, {}), NOW) if family.samples]


@pytest.mark.parametrize("field", ["last_success_ts", "last_reclaimed_bytes", "failures:A", "expired"])
@pytest.mark.parametrize(
    "garbage", ["text", "nan", "inf", "-1", "1e999", str(2**63), "0x10", "\ufffd", "1,5", " "]
)
def test_what_is_no_number_is_left_out(field: str, garbage: str) -> None:
    assert set(shown({field: garbage})) == set(shown()) - {"holystone_expired_messages_total"} | (
        {"holystone_expired_messages_total"} if field != "expired" else set()
    )


def test_a_cleared_field_is_unknown_not_zero() -> None:
    assert "holystone_last_reclaimed_bytes" not in shown({"last_reclaimed_bytes": ""})


@pytest.mark.parametrize(
    "name",
    ["", "a\nb", 'a"b', "redis://:secret@host/0", "a" * 81, "1", " a", "naïve", "a\n", "{}", "\ufffd", "a\\"],
)
def test_an_odd_name_is_counted_but_not_shown(name: str) -> None:
    values = shown({f"failures:{name}": "2", "failures:other": "1", "failures:GivenUp": "4"})
    assert values["holystone_failures_total"] == {"other": 3, "GivenUp": 4}


def test_numbers_that_no_sum_can_hold_are_left_out() -> None:
    counts = {f"failures:{number}": "1e308" for number in range(1, 4)} | {"failures:GivenUp": "4"}
    assert shown(counts)["holystone_failures_total"] == {"GivenUp": 4}


def test_every_error_and_every_reason_to_skip_is_shown_by_its_name() -> None:
    names = [name for name, each in vars(errors).items() if isinstance(each, type)]
    names += ["TimeLimitExceeded", ALREADY_RUNNING, PAUSED, RAN_RECENTLY, MAY_STILL_RUN, ROOM_AGAIN]
    values = shown({f"failures:{name}": "1" for name in names} | {f"skips:{name}": "1" for name in names})
    assert values["holystone_failures_total"] == values["holystone_skips_total"] == dict.fromkeys(names, 1)


@pytest.mark.parametrize(
    ("pauses", "paused"),
    [
        ({"one": Pause("me", None)}, 1),
        ({ALL: Pause("me", NOW + 1)}, 1),
        ({"one": Pause("me", NOW - 1)}, 0),
        ({"two:2222": Pause("me", None)}, 0),
    ],
)
def test_a_pause_is_shown_while_it_holds(pauses: dict[str, Pause], paused: int) -> None:
    assert shown(pauses=pauses)["holystone_paused"] == paused


def test_a_total_is_a_counter_and_nothing_else_is() -> None:
    for family in make_families(FLEET, Known({}, {}, {}), NOW):
        name = f"{family.name}_total" if isinstance(family, CounterMetricFamily) else family.name
        assert name in METRICS
        assert isinstance(family, CounterMetricFamily) == name.endswith("_total")


def test_every_help_is_a_sentence_that_names_a_unit_or_what_is_counted() -> None:
    for name, (_, text) in METRICS.items():
        assert text[0].isupper() or text.startswith("1 if ")
        assert text.endswith(".")
        assert ("Unix time" in text) == name.endswith("_timestamp_seconds")
        assert ("ytes" in text) == ("_bytes" in name)


def test_registering_reads_nothing() -> None:
    CollectorRegistry(auto_describe=True).register(HostCollector())  # sockets are off


@pytest.mark.parametrize("step", ["read_known", "make_families"])
@pytest.mark.parametrize(
    "error",
    [redis.ConnectionError(SECRET), OSError(SECRET), ValueError(SECRET), RecursionError(), KeyError(SECRET)],
    ids=lambda error: type(error).__name__,
)
def test_whatever_goes_wrong_costs_the_hosts_numbers_alone(
    step: str, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("worker.collector.get_settings", Settings)
    monkeypatch.setattr("worker.collector.read_known", lambda _: Known({}, {}, {}))
    monkeypatch.setattr(f"worker.collector.{step}", fail)
    (up,) = HostCollector().collect()
    assert (up.name, [sample.value for sample in up.samples]) == ("holystone_redis_up", [0])
    (record,) = caplog.records
    assert type(error).__name__ in str(record.msg)
    assert SECRET not in caplog.text


# The dashboard and the alerts, as files (what they do: tests/integration)


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    alerts = [rule for rule in ALERTS if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) == 7
    for rule in alerts:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert len(rule["annotations"]["description"]) > 80


def test_settings_and_metrics_that_alerts_and_dashboard_name_exist() -> None:
    text = (CHECKOUT / "docs/alerts.yml").read_text() + json.dumps(DASHBOARD)
    assert set(re.findall(r"\bholystone_\w+", text)) - {"holystone_redis_up"} <= set(METRICS)
    assert set(re.findall(r"HOLYSTONE_\w+", text)) <= set(
        re.findall(r"HOLYSTONE_\w+", (CHECKOUT / ".env.example").read_text())
    )


def test_the_dashboard_has_a_source_and_a_host_to_choose() -> None:
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    assert (variables["host"]["multi"], variables["host"]["includeAll"]) == (True, True)
    assert variables["host"]["datasource"]["uid"] == "${datasource}"
    for query in (variables["host"]["definition"], variables["host"]["query"]["query"]):
        ((metric, label),) = re.findall(r"^label_values\((\w+), (\w+)\)$", query)
        assert label in METRICS[metric][0]
    assert DASHBOARD["id"] is None  # Grafana gives it one
    assert DASHBOARD["uid"] == "holystone"


def test_every_panel_asks_the_chosen_source_for_the_chosen_hosts() -> None:
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        assert panel["description"]
        assert panel["type"] in ("stat", "timeseries", "bargauge")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            for metric, labels in re.findall(r"\b(holystone_\w+)(\{[^}]*\})?", target["expr"]):
                assert labels == ("" if metric == "holystone_redis_up" else '{host=~"$host"}')


def test_panels_lie_beside_one_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + right, at["y"] + down) for right in range(at["w"]) for down in range(at["h"])}
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
