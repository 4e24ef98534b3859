"""Alert ↔ rule test ↔ runbook ↔ dashboard ↔ metric names: each is there for each other, and none is left over."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from action_api.pve_alerts import alert_of
from action_api.schemas.pve_notification import PveNotification
from action_api.thresholds import FIGURES
from exporter.heartbeats.metrics import METRICS as HEARTBEAT_METRICS
from exporter.heartbeats.metrics import REJECTED_NAME
from exporter.service import TABLES
from exporter.thresholds import HEARTBEAT_AGE
from pvewatch.config import Settings
from pvewatch.render import durations, runbook_url
from pvewatch.render.alertmanager import DISK_ALERTS, GUEST_ALERTS
from pvewatch.render.links import DEFAULT_GRAFANA_URL, DEFAULT_PUBLIC_URL
from pvewatch.settings_alerting import GuestThresholds, NodeThresholds, StorageThresholds

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
SEVERITIES = {"critical", "warning", "info", "none"}
ANNOTATIONS = {"summary", "description", "runbook_url", "dashboard_url", "action_url", "silence_url"}
HEADINGS = ("## What it means", "## Look first", "## Mend", "## When to silence")

# Channels choose by these labels, and people read them: prometheus/rules/records.yml says what the guests are.
GUEST_LABELS = "* on (cluster, id) group_left (name, node, kind, vmid, tags, alerting) pvewatch:guest_info"

# Not from a rule: the action API makes it of what Proxmox VE notifies of.
NOTIFICATION = "ProxmoxNotification"

# Of Prometheus itself, not of our pages.
FOREIGN_METRICS = {"up", "ALERTS"}
# A label of pve_node_kernel_info that is named like a metric.
LABELS = {"pve_version"}
# Of the action API's own /metrics, held to these names by its tests.
ACTION_API_METRICS = {
    "pvewatch_action_queue_length",
    "pvewatch_actions_total",
    "pvewatch_incidents",
    "pvewatch_logins_total",
    "pvewatch_refusals_total",
    # For the thresholds that were set at run time; without any it has no series.
    "pvewatch_threshold_override",
    "pvewatch_webhooks_total",
    "pvewatch_worker_last_seen_timestamp_seconds",
}


def documents(folder: str, pattern: str = "*.yml") -> list[Any]:
    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((ROOT / folder).glob(pattern))]


RULES: list[dict[str, Any]] = [
    rule for document in documents("prometheus/rules") for group in document["groups"] for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDS = {rule["record"]: rule for rule in RULES if "record" in rule}
each_alert = pytest.mark.parametrize("name", sorted(ALERTS))


def rule_cases() -> Iterator[dict[str, Any]]:
    for document in documents("tests/rules"):
        for case in document["tests"]:
            yield from case.get("alert_rule_test", ())


def test_each_recorded_series_has_a_test() -> None:
    tested = {
        name
        for document in documents("tests/rules")
        for case in document["tests"]
        for entry in case.get("promql_expr_test", ())
        for name in metric_names(entry["expr"])
    }
    # What an alert is made of is tested with it, and each alert has a test.
    tested |= {name for alert in ALERTS.values() for name in metric_names(alert["expr"])}
    assert set(RECORDS) - tested - used_by_records() == set()


def used_by_records() -> set[str]:
    return {name for rule in RECORDS.values() for name in metric_names(rule["expr"])}


@each_alert
def test_an_alert_says_how_bad_it_is_and_what_it_is(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in SEVERITIES
    assert set(alert["annotations"]) == ANNOTATIONS
    assert all(alert["annotations"].values())


@each_alert
def test_the_links_of_an_alert_are_computed_not_typed(name: str) -> None:
    notes = ALERTS[name]["annotations"]
    assert notes["runbook_url"] == runbook_url(Settings(), name)
    assert notes["dashboard_url"].startswith(f"{DEFAULT_GRAFANA_URL}/d/")
    assert notes["action_url"].startswith(f"{DEFAULT_PUBLIC_URL}/")
    # What the alert is about; one that is about no cluster only leads to the page.
    scopes = ("cluster={{ $labels.cluster }}", "id={{ $labels.id }}", "node={{ $labels.node }}")
    address, _, query = notes["silence_url"].partition("?")
    assert address == f"{DEFAULT_PUBLIC_URL}/maintenance"
    assert query in ("", scopes[0], "&".join(scopes[:2]), f"{scopes[0]}&{scopes[2]}")


# What an alert is about, as its silence says it → the page that shows it.
BOARDS = {
    "&id={{ $labels.id }}": "pve-guest?var-cluster={{ $labels.cluster }}&var-guest={{ $labels.vmid }}",
    "&node={{ $labels.node }}": "pve-node?var-cluster={{ $labels.cluster }}&var-node={{ $labels.node }}",
}
# Services, storages and disks have pages of their own, beside that of their guest or node.
OTHER_BOARDS = {
    "ServiceProbeFailing": "pve-services?var-cluster={{ $labels.cluster }}",
    **dict.fromkeys(DISK_ALERTS, "pve-storage?var-cluster={{ $labels.cluster }}"),
    "StorageFull": "pve-storage?var-cluster={{ $labels.cluster }}&var-storage={{ $labels.storage }}",
    "StorageFillingUp": "pve-storage?var-cluster={{ $labels.cluster }}&var-storage={{ $labels.storage }}",
}


@each_alert
def test_an_alert_leads_to_the_dashboard_of_what_it_is_about(name: str) -> None:
    notes = ALERTS[name]["annotations"]
    board = notes["dashboard_url"].removeprefix(f"{DEFAULT_GRAFANA_URL}/d/")
    _, _, about = notes["silence_url"].partition("cluster={{ $labels.cluster }}")
    if about:
        assert board == OTHER_BOARDS.get(name, BOARDS[about])
    # What is about a cluster opens with that cluster chosen.
    assert ("cluster=" in notes["silence_url"]) == ("var-cluster={{ $labels.cluster }}" in board)


@each_alert
def test_an_alert_about_a_guest_gets_its_labels_as_all_do(name: str) -> None:
    about_a_guest = "id={{ $labels.id }}" in ALERTS[name]["annotations"]["silence_url"]
    expression = " ".join(ALERTS[name]["expr"].split())
    # A lock explains guests that are only to be logged, too.
    assert (GUEST_LABELS in expression) == (about_a_guest and name != "GuestLocked")


@each_alert
def test_an_alert_is_tested_silent_and_firing(name: str) -> None:
    cases = [case for case in rule_cases() if case["alertname"] == name]
    # Watchdog is never silent: that is what it is for.
    assert name == "Watchdog" or any(not case["exp_alerts"] for case in cases), f"no test of {name} expects silence"
    firing = [alert for case in cases for alert in case["exp_alerts"]]
    assert firing, f"no test of {name} expects it to fire"
    assert all(set(alert["exp_annotations"]) == ANNOTATIONS for alert in firing)


@each_alert
def test_an_alert_has_a_runbook_with_everything_a_woken_person_needs(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    places = [text.index(heading) for heading in HEADINGS]
    assert places == sorted(places)
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    assert f"| [{name}]({name}.md) | {ALERTS[name]['labels']['severity']} |" in index


def test_no_test_and_no_runbook_is_of_an_alert_that_does_not_exist() -> None:
    assert {case["alertname"] for case in rule_cases()} == set(ALERTS)
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"} == {*ALERTS, NOTIFICATION}


def test_a_notification_of_proxmox_ve_has_everything_that_an_alert_has() -> None:
    said = PveNotification(title="x", message="", severity="error", timestamp=0)
    alert = alert_of(said, "lab", Settings(), now=0)
    assert set(alert.annotations) == ANNOTATIONS
    assert alert.labels["alertname"] == NOTIFICATION
    assert alert.annotations["runbook_url"] == runbook_url(Settings(), NOTIFICATION)
    text = (RUNBOOKS / f"{NOTIFICATION}.md").read_text(encoding="utf-8")
    places = [text.index(heading) for heading in HEADINGS]
    assert places == sorted(places)
    assert f"| [{NOTIFICATION}]({NOTIFICATION}.md) |" in (RUNBOOKS / "README.md").read_text(encoding="utf-8")


def test_links_between_runbooks_lead_somewhere() -> None:
    for page in RUNBOOKS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (RUNBOOKS / target).is_file(), f"{page.name} links {target}"


def test_the_dashboards_that_alerts_link_exist_and_have_the_variables_of_the_links() -> None:
    boards = [json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "grafana/dashboards").glob("*.json")]
    variables = {board["uid"]: {entry["name"] for entry in board["templating"]["list"]} for board in boards}
    for name, alert in ALERTS.items():
        link = alert["annotations"]["dashboard_url"]
        uid = re.fullmatch(r".*/d/([a-z-]+)(\?.*)?", link)
        assert uid is not None, f"{name}: {link}"
        assert uid[1] in variables, f"{name}: {link}"
        assert set(re.findall(r"[?&]var-(\w+)=", link)) <= variables[uid[1]], f"{name}: {link}"


def test_the_alerts_that_inhibition_names_exist() -> None:
    config = yaml.safe_load((ROOT / "alertmanager/alertmanager.yml").read_text(encoding="utf-8"))
    named = set(GUEST_ALERTS)
    for rule in config["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            named |= set(re.findall(r"[A-Z]\w+", matcher))
    assert named <= set(ALERTS)


def wait(rule: dict[str, Any]) -> float:
    return durations.parse(str(rule.get("for", "0s")))


def inhibitions() -> Iterator[tuple[str, str]]:
    """Source and target of every inhibition that names both."""
    config = yaml.safe_load((ROOT / "alertmanager/alertmanager.yml").read_text(encoding="utf-8"))
    for rule in config["inhibit_rules"]:
        for source in re.findall(r"[A-Z]\w+", " ".join(rule["source_matchers"])):
            for target in re.findall(r"[A-Z]\w+", " ".join(rule["target_matchers"])):
                yield source, target


@pytest.mark.parametrize(("source", "target"), list(inhibitions()))
def test_what_inhibits_fires_sooner_than_what_it_inhibits(source: str, target: str) -> None:
    assert wait(ALERTS[source]) < wait(ALERTS[target])


def test_what_keeps_logged_alerts_from_people_fires_always_and_at_once() -> None:
    assert ALERTS["Watchdog"]["expr"].strip() == "vector(1)"
    assert wait(ALERTS["Watchdog"]) == 0


def test_an_alert_of_a_guest_is_explained_by_its_lost_node_or_is_known_not_to_be() -> None:
    of_guests = {name for name, alert in ALERTS.items() if GUEST_LABELS in " ".join(alert["expr"].split())}
    # What they say stays true of a locked guest.
    assert of_guests - set(GUEST_ALERTS) == {"GuestIdentityShared", "GuestLockHeld", "HaGuestError"}


def test_what_is_recorded_is_used_and_what_is_used_is_recorded() -> None:
    texts = [json.loads(text) if text.startswith('"') else text for _, text in expressions()]
    used = {name for text in texts for name in metric_names(text) if ":" in name}
    # Shown nowhere by itself, and of use to who asks for the largest node.
    assert used | {"cluster:pve_node_cpus:max"} == set(RECORDS)


def metric_names(text: str) -> set[str]:
    """The metrics a PromQL expression names: identifiers that are neither functions, labels nor strings."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    return set(re.findall(r"\b(?:[a-z]+:)?(?:pve|pvewatch)_\w+(?::\w+)*|\bpvewatch:\w+|\bup\b(?=\{)|\bALERTS\b", bare))


def expressions() -> Iterator[tuple[str, str]]:
    """Where and what: every PromQL expression that ships."""
    for rule in RULES:
        yield rule.get("alert") or rule["record"], rule["expr"]
    for path in sorted((ROOT / "grafana/dashboards").glob("*.json")):
        yield from ((path.name, expr) for expr in re.findall(r'"expr": ("(?:[^"\\]|\\.)*")', path.read_text("utf-8")))
    for path in sorted(RUNBOOKS.glob("*.md")):
        yield from ((path.name, code) for code in re.findall(r"`([^`\n]*)`", path.read_text(encoding="utf-8")))


def test_every_metric_that_rules_dashboards_and_runbooks_name_is_exposed() -> None:
    pages = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests/golden").glob("metrics-*.prom"))]
    exposed = {name for page in pages for name in re.findall(r"^(?:# TYPE )?(\w+)[{ ]", page, re.MULTILINE)}
    exposed |= {metric.name for _, table in TABLES for metric in table}
    exposed |= {metric.name for metric in HEARTBEAT_METRICS} | {REJECTED_NAME}
    known = exposed | set(RECORDS) | FOREIGN_METRICS | ACTION_API_METRICS
    unknown = {}
    for where, expr in expressions():
        text = json.loads(expr) if expr.startswith('"') else expr
        if missing := metric_names(text) - known - LABELS:
            unknown[where] = missing
    assert unknown == {}


def test_whatever_rules_compare_with_is_configured_and_can_be_set_at_run_time() -> None:
    models = (GuestThresholds, NodeThresholds, StorageThresholds)
    configured = {HEARTBEAT_AGE} | {figure for model in models for figure in model.model_fields}
    assert set(FIGURES) == configured
    used = {figure for rule in RULES for figure in re.findall(r'pvewatch:threshold\{figure="(\w+)"', rule["expr"])}
    assert used == configured


def test_the_action_api_exposes_what_dashboards_name() -> None:
    source = (ROOT / "action_api/routes/metrics.py").read_text(encoding="utf-8")
    for name in ACTION_API_METRICS:
        assert name.removesuffix("_total") in source
