"""The dashboards as files: current, whole for Grafana, and within the house's rules, each of which can turn red."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard as models

from grafana.source import limits
from grafana.source.board import Built
from grafana.source.house import encoded
from grafana.source.lint import BUNDLE_RULES, EXCEPTIONS, RULES, lint, lint_bundle
from grafana.source.panels import Document, panels, shown
from grafana.source.registry import dashboards

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "grafana" / "dashboards"
BUILT = {built.document["uid"]: built for built in dashboards()}

each_dashboard = pytest.mark.parametrize("built", BUILT.values(), ids=list(BUILT))


@each_dashboard
def test_the_committed_dashboard_is_what_its_source_makes(built: Built) -> None:
    committed = (COMMITTED / built.file_name).read_text(encoding="utf-8")
    assert committed == built.text(), f"{built.file_name} is not current: run make dashboards"


def test_every_committed_dashboard_has_a_source() -> None:
    assert {path.name for path in COMMITTED.glob("*.json")} == {built.file_name for built in BUILT.values()}


@each_dashboard
def test_a_dashboard_has_a_small_preview_that_the_documentation_calls_one(built: Built) -> None:
    uid = built.document["uid"]
    picture = (ROOT / "docs" / "previews" / f"{uid}.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(picture[16:20], "big") == 1200
    assert len(picture) < 120_000
    page = (ROOT / "docs" / "grafana.md").read_text(encoding="utf-8")
    assert f"(previews/{uid}.png)" in page
    assert "The previews are **not screenshots**" in page


def test_no_two_dashboards_share_a_title() -> None:
    assert len({built.document["title"] for built in BUILT.values()}) == len(BUILT)


def round_trip(document: Document) -> Document:
    register_default_plugins()
    decoded: Document = encoded(models.Dashboard.from_json(document))
    return decoded


def lost(before: Any, after: Any, where: str = "") -> list[str]:
    """The places of `before` that are not in `after`."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [found for key in before for found in lost(before[key], after.get(key), f"{where}.{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [found for index, (old, new) in pairs for found in lost(old, new, f"{where}[{index}]")]
    return [] if before == after else [where]


# Keys of a Prometheus annotation (expr, step, tagKeys, titleFormat) are Grafana's, but not of every SDK release.
KNOWN_LOSSES = (".annotations.list",)


@each_dashboard
def test_grafanas_own_types_know_every_key(built: Built) -> None:
    missing = lost(built.document, round_trip(built.document))
    assert [place for place in missing if not place.startswith(KNOWN_LOSSES)] == []


def test_a_mistyped_key_is_noticed() -> None:
    document = copy.deepcopy(BUILT["pve-overview"].document)
    stat = next(panel for panel in panels(document) if panel["type"] == "stat")
    stat["options"]["colourMode"] = stat["options"].pop("colorMode")
    assert ".panels[0].options.colourMode" in lost(document, round_trip(document))


@each_dashboard
def test_a_mark_is_there_once_however_many_targets_tell_of_it(built: Built) -> None:
    for entry in built.document["annotations"]["list"]:
        assert entry["expr"].count("max by (") >= 1, entry["name"]
        assert "instance" not in entry["expr"], entry["name"]


@each_dashboard
def test_the_rules_are_kept(built: Built) -> None:
    assert [str(problem) for problem in lint(built.document)] == []


def test_the_rules_between_dashboards_are_kept() -> None:
    assert [str(problem) for problem in lint_bundle([built.document for built in BUILT.values()])] == []


def test_every_exception_is_still_needed() -> None:
    broken = [(p.rule, p.board, p.where) for built in BUILT.values() for p in lint(built.document, ())]
    for entry in EXCEPTIONS:
        assert [b for b in broken if b[0] == entry.rule and entry.board in (b[1], "*") and b[2] == entry.where], entry
        assert entry.reason


def test_only_one_file_knows_the_sdk() -> None:
    sources = (ROOT / "grafana" / "source").glob("*.py")
    assert [path.name for path in sources if "grafana_foundation_sdk" in path.read_text(encoding="utf-8")] == [
        "house.py"
    ]


def first(document: Document, kind: str) -> Document:
    return next(panel for panel in panels(document) if panel["type"] == kind)


def _set(kind: str, path: str, value: Any) -> Callable[[Document], None]:
    """Put `value` at a dotted path of the first panel of that type, or of the dashboard itself."""

    def change(document: Document) -> None:
        at: Any = document if kind == "dashboard" else first(document, kind)
        *way, last = path.split(".")
        for step in way:
            at = at[int(step) if step.isdigit() else step]
        at[int(last) if last.isdigit() else last] = value

    return change


def _expr(kind: str, old: str, new: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        target = next(t for p in panels(document) if p["type"] == kind for t in p["targets"] if old in t["expr"])
        target["expr"] = target["expr"].replace(old, new)

    return change


def _link(old: str, new: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        text = json.dumps(document)
        assert old in text
        document.update(json.loads(text.replace(old, new)))

    return change


def _drop_override(document: Document) -> None:
    for panel in panels(document):
        for override in panel["fieldConfig"]["overrides"]:
            if override["matcher"]["options"] == "State":
                override["properties"] = []


def _every(change: Callable[[Document], None]) -> Callable[[Document], None]:
    """Change all panels that show figures."""

    def all_of_them(document: Document) -> None:
        for panel in shown(document):
            change(panel)

    return all_of_them


def _steps(kind: str, *steps: tuple[float | None, str]) -> Callable[[Document], None]:
    made = [{"value": value, "color": color} for value, color in steps]
    return _set(kind, "fieldConfig.defaults.thresholds", {"mode": "absolute", "steps": made})


def _help(content: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        panel = {"type": "text", "title": "Help", "description": "x" * 80, "id": 999}
        panel |= {"options": {"mode": "markdown", "content": content}, "gridPos": {"x": 0, "y": 99, "w": 24, "h": 2}}
        document["panels"].append(panel)

    return change


def _open_row_last(document: Document) -> None:
    document["panels"].append(
        {"type": "row", "title": "Late", "id": 998, "collapsed": False, "panels": []} | AT_THE_END
    )


AT_THE_END = {"gridPos": {"x": 0, "y": 98, "w": 24, "h": 1}}

# Rules about what the overview does not have: rates, and the ways out of the page of one guest.
BREAKS_ELSEWHERE = {"windows": "pve-pvewatch", "way_back": "pve-guest"}
BREAKS: list[tuple[str, Callable[[Document], None]]] = [
    ("titled_uid", _set("dashboard", "uid", "a1b2c3")),
    ("titled_uid", _set("dashboard", "tags", ["pvewatch"])),
    ("variables_in_order", lambda d: d["templating"]["list"].reverse()),
    ("variables_in_order", _set("dashboard", "templating.list.1.refresh", 1)),
    ("variables_in_order", _set("dashboard", "templating.list.1.allValue", None)),
    ("known_variables", _expr("stat", "$cluster", "$clusters")),
    ("known_variables", _expr("stat", "$cluster", "cluster")),
    ("matched_as_regex", _expr("stat", 'cluster=~"$cluster"', 'cluster="$cluster"')),
    ("chosen_cluster", _expr("stat", 'cluster=~"$cluster", ', "")),
    ("described", _set("stat", "description", "Nodes.")),
    ("described", _set("stat", "title", "Fullest storage (%)")),
    ("described", _set("stat", "title", "Fullest Storage")),
    (
        "described",
        _set("stat", "description", "How many nodes there are, and which of them are online; equal is normal."),
    ),
    ("described", _set("stat", "description", "<b>pve_node_status</b> " + "x" * 60)),
    ("help_is_short", _help("<script>")),
    ("help_is_short", _help("word " * 400)),
    ("units", _set("bargauge", "fieldConfig.defaults.unit", "percentt")),
    ("units", _set("bargauge", "fieldConfig.defaults.unit", "percent")),
    ("axes", _set("timeseries", "fieldConfig.defaults.min", None)),
    ("axes", _expr("timeseries", "max by (cluster, id) (", "max by (cluster, id) (rate(")),
    ("ratios_end_at_one", _set("bargauge", "fieldConfig.defaults.max", 100)),
    ("decimals", lambda d: first(d, "stat")["fieldConfig"]["defaults"].pop("decimals")),
    ("mapped_states", _drop_override),
    ("thresholds_from_the_table", _steps("stat", (None, "blue"), (0.77, "red"))),
    (
        "busy_is_no_fault",
        _every(lambda p: p["fieldConfig"]["defaults"].update(thresholds={"steps": [{"color": "blue"}] * 2})),
    ),
    ("colours", _steps("stat", (None, "green"), (1, "red"))),
    ("colours", _steps("stat", (None, "pink"))),
    ("colours", _set("timeseries", "fieldConfig.defaults.color.mode", "palette-classic")),
    ("gaps_stay", _set("timeseries", "fieldConfig.defaults.custom.spanNulls", True)),
    ("gaps_stay", _set("stat", "fieldConfig.defaults.noValue", "")),
    ("legends", _set("timeseries", "targets.0.legendFormat", "__auto")),
    ("legends", _set("timeseries", "options.legend.showLegend", False)),
    ("legends", _every(lambda p: p["options"].get("legend", {}).update(displayMode="list"))),
    ("bounded", _expr("timeseries", "topk(", "max(")),
    ("one_line_per_guest", _set("timeseries", "targets.0.legendFormat", "{{name}} ({{vmid}}) on {{node}}")),
    ("one_line_per_guest", _set("timeseries", "targets.0.legendFormat", "{{name}}")),
    ("windows", _expr("timeseries", "[$__rate_interval]", "[5m]")),
    ("windows", _expr("timeseries", "[$__rate_interval]", "[$__range]")),
    ("query_kind", _set("stat", "targets.0.range", True)),
    ("counted_once", _expr("stat", "count(max by (cluster, id) (pve_", "count(pve_")),
    ("counted_once", _expr("stat", "sum(max by (cluster, id) (pvewatch_", "sum(pvewatch_")),
    ("datasource", _set("stat", "datasource.uid", "pvewatch-prometheus")),
    ("links_out", _link("${action_api:raw}/guests", "http://127.0.0.1:9280/guests")),
    ("links_out", _link(":percentencode", "")),
    ("links_out", _link("&${__url_time_range}", "")),
    ("way_back", lambda d: d["links"].clear()),
    ("way_back", _link("/pve/", "/guests/")),
    ("rows", lambda d: d["panels"][-1]["panels"].clear()),
    ("rows", _open_row_last),
    ("defaults", _set("dashboard", "schemaVersion", 39)),
    ("defaults", _set("dashboard", "time", {"from": "now-7d", "to": "now"})),
    ("defaults", _set("dashboard", "time", {"from": "now-6h", "to": "now-1h"})),
    ("grid", _set("stat", "gridPos.w", 5)),
    ("grid", _set("stat", "gridPos.h", 5)),
    ("size", lambda d: d["panels"].extend([first(d, "stat")] * 30)),
    ("portable", _set("dashboard", "id", 7)),
    ("portable", _set("stat", "description", "password: hunter2, " + "x" * 60)),
    (
        "portable",
        _set("stat", "description", "See http://grafana.example.net/ for what this means and for what is normal."),
    ),
    ("ids", _set("stat", "id", 7)),
]


@pytest.mark.parametrize(("rule", "change"), BREAKS, ids=[f"{rule} {index}" for index, (rule, _) in enumerate(BREAKS)])
def test_a_broken_dashboard_is_objected_to(rule: str, change: Callable[[Document], None]) -> None:
    document = copy.deepcopy(BUILT[BREAKS_ELSEWHERE.get(rule, "pve-overview")].document)
    change(document)
    assert rule in {problem.rule for problem in lint(document)}


def _same_uid(documents: list[Document]) -> None:
    documents.append(documents[0])


def _link_to(uid: str, query: str) -> Callable[[list[Document]], None]:
    def change(documents: list[Document]) -> None:
        link = {"title": "x", "url": f"/d/{uid}?{query}"}
        first(documents[0], "stat")["fieldConfig"]["defaults"]["links"] = [link]

    return change


def _ratio_twice(documents: list[Document]) -> None:
    for panel in list(shown(documents[0]))[:2]:
        panel["targets"][0]["expr"] = 'max(pve_x_bytes{cluster=~"$cluster"}) / (max(pve_y_bytes{}))'


BUNDLE_BREAKS: list[tuple[str, Callable[[list[Document]], None]]] = [
    ("whole_bundle", _same_uid),
    ("whole_bundle", _link_to("pve-nowhere", "")),
    ("whole_bundle", _link_to("pve-overview", "var-vmid=100")),
    ("repeated_work", _ratio_twice),
]


@pytest.mark.parametrize(("rule", "change"), BUNDLE_BREAKS, ids=[str(n) for n in range(len(BUNDLE_BREAKS))])
def test_a_broken_bundle_is_objected_to(rule: str, change: Callable[[list[Document]], None]) -> None:
    documents = [copy.deepcopy(BUILT["pve-overview"].document)]
    change(documents)
    assert rule in {problem.rule for problem in lint_bundle(documents)}


def test_every_rule_can_turn_red() -> None:
    assert {rule for rule, _ in BREAKS} == set(RULES)
    assert {rule for rule, _ in BUNDLE_BREAKS} == set(BUNDLE_RULES)


RULES_BY_NAME: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for path in (ROOT / "prometheus" / "rules").glob("*.yml")
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


@pytest.mark.parametrize(
    ("alert", "compares"),
    [
        ("ExporterBlind", f"> {limits.FIGURES_AGE_SECONDS}"),
        ("GuestClockOff", f"> {limits.GUEST_CLOCK_OFF_SECONDS}"),
        ("GuestClockOff", f"< -{limits.GUEST_CLOCK_OFF_SECONDS}"),
        ("NodeClockOff", f"> {limits.NODE_CLOCK_OFF_SECONDS}"),
        ("NodeClockOff", f"< -{limits.NODE_CLOCK_OFF_SECONDS}"),
        ("NodeCertificateExpiring", f"< {limits.ENDS_SOON_DAYS} * 86400"),
        ("NodeVersionsMixed", "> 1"),
        ("StorageFillingUp", f"[1d], {limits.FILLING_UP_DAYS} * 86400"),
        ("BackupMissing", f"> {limits.BACKUP_MISSING_SECONDS}"),
        ("StorageFull", 'figure="storage_usage_ratio"'),
        ("NodeDiskWorn", 'figure="node_disk_wear_ratio"'),
        ("ThinPoolMetadataFilling", 'figure="node_thin_metadata_ratio"'),
        ("NodeRootDiskFilling", 'figure="node_rootfs_ratio"'),
        ("GuestFilesystemFilling", 'figure="guest_filesystem_ratio"'),
        ("NodeMemoryHigh", 'figure="node_memory_ratio"'),
        ("GuestMemoryHigh", 'figure="guest_memory_ratio"'),
        ("NodeIoWaitHigh", 'figure="node_io_wait_ratio"'),
        ("GuestSnapshotsOld", 'figure="guest_snapshot_age_seconds"'),
    ],
)
def test_what_a_dashboard_draws_in_red_is_what_an_alert_compares_with(alert: str, compares: str) -> None:
    assert re.search(rf"{re.escape(compares)}(?!\d)", RULES_BY_NAME[alert]["expr"])


def test_a_backup_run_is_late_when_its_alert_fires() -> None:
    assert RULES_BY_NAME["BackupMissing"]["for"] == f"{limits.BACKUP_LATE_HOURS}h"
