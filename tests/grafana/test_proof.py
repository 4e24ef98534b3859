"""Every panel on a real Prometheus in every scenario; and the proof itself, on broken dashboards."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests

from grafana.source.board import Built, Query
from grafana.source.panels import Document, panels
from grafana.source.prove import TWO, Asked, prove, resolved
from grafana.source.registry import dashboards
from grafana.source.scenarios import FLEET, HA, NOTHING_YET, SCENARIOS, SEEN
from grafana.source.states import GUEST_STATES, NODE_STATES
from tests.grafana import fleet
from tests.grafana.fleet import Seen

BUILT = dashboards()
OVERVIEW = next(built for built in BUILT if built.document["uid"] == "pve-overview")

each_dashboard = pytest.mark.parametrize("built", BUILT, ids=lambda built: str(built.document["uid"]))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with fleet.watched(tmp_path_factory.mktemp("fleet")) as found:
        yield found


@pytest.fixture(scope="module")
def seen_nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with fleet.nothing_yet(tmp_path_factory.mktemp("nothing")) as found:
        yield found


def test_every_scenario_with_a_cluster_is_simulated() -> None:
    assert {FLEET, NOTHING_YET, *fleet.CLUSTERS} == set(SCENARIOS)


@each_dashboard
@pytest.mark.parametrize("scenario", [name for name in (*SCENARIOS, TWO) if name != NOTHING_YET])
def test_every_panel_shows_what_it_promises(seen: Seen, built: Built, scenario: str) -> None:
    assert [str(finding) for finding in prove(seen.url, built, scenario, seen.at)] == []


@each_dashboard
def test_nothing_is_shown_before_anything_is_there(seen_nothing: Seen, built: Built) -> None:
    assert [str(finding) for finding in prove(seen_nothing.url, built, NOTHING_YET, seen_nothing.at)] == []


def test_every_rule_can_be_evaluated_where_two_exporters_watch_one_cluster(seen: Seen) -> None:
    groups = requests.get(f"{seen.url}/api/v1/rules", timeout=10).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    wrong = {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] not in ("ok", "unknown")}
    # Groups with an interval of minutes have not had their turn yet: their expressions are asked for instead.
    for rule in rules:
        if rule["health"] == "unknown":
            query = {"query": rule["query"]}
            answer = requests.get(f"{seen.url}/api/v1/query", params=query, timeout=10).json()
            if answer["status"] != "success":
                wrong[rule["name"]] = answer["error"]
    assert wrong == {}


def with_query(old: str, new: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        target = next(t for p in panels(document) for t in p["targets"] if old in t["expr"])
        target["expr"] = target["expr"].replace(old, new)

    return change


def _percent_for_ratio(document: Document) -> None:
    storage = next(panel for panel in panels(document) if panel["title"] == "Storage used")
    storage["targets"][0]["expr"] = f"100 * ({storage['targets'][0]['expr']})"


def _legend(document: Document) -> None:
    panel = next(panel for panel in panels(document) if panel["title"] == "CPU of the busiest guests")
    panel["targets"][0]["legendFormat"] = "{{hostname}}"


def _same_legend(document: Document) -> None:
    panel = next(panel for panel in panels(document) if panel["title"] == "CPU of nodes")
    panel["targets"][0]["legendFormat"] = "node"


def _state_without_text(document: Document) -> None:
    for panel in panels(document):
        for override in panel["fieldConfig"]["overrides"]:
            for entry in override["properties"]:
                if entry["id"] == "mappings":
                    entry["value"][0]["options"].pop("running", None)


def _lost_column(document: Document) -> None:
    guests = next(panel for panel in panels(document) if panel["title"] == "Guests")
    organize = next(entry for entry in guests["transformations"] if entry["id"] == "organize")
    organize["options"]["renameByName"]["vmid"] = "Number"


@pytest.mark.parametrize(
    ("change", "objection"),
    [
        pytest.param(with_query("group_left (name, vmid, kind", "group_left (nam, vmid, kind"), "'name'", id="a join"),
        pytest.param(with_query("pve_cpu_usage_ratio", "pve_cpu_use"), "no data", id="a metric that does not exist"),
        pytest.param(with_query('cluster=~"$cluster"', 'cluster=~"$other"'), "a variable is left", id="a variable"),
        pytest.param(with_query("max by (cluster, id)", "max by cluster, id"), "parse error", id="not PromQL"),
        pytest.param(_percent_for_ratio, "are these percent?", id="percent where a ratio is meant"),
        pytest.param(_legend, "which a series does not have", id="a legend of a label that is not there"),
        pytest.param(_same_legend, "two series are called", id="two lines of one name"),
        pytest.param(_state_without_text, "no text for the values ['running']", id="a state without a text"),
        pytest.param(_lost_column, "a link uses the column 'VMID'", id="a link to a column that was renamed"),
        pytest.param(with_query("status) (pve_guest", "state) (pve_guest"), "'status' is in no", id="a label lost"),
    ],
)
def test_a_dashboard_that_shows_something_else_is_objected_to(
    seen: Seen, change: Callable[[Document], None], objection: str
) -> None:
    broken = replace(OVERVIEW, document=copy.deepcopy(OVERVIEW.document))
    change(broken.document)
    assert objection in "\n".join(map(str, prove(seen.url, broken, FLEET, seen.at)))


@pytest.mark.parametrize(
    ("promise", "objection"),
    [
        pytest.param(Query("", needs=[SEEN], values={FLEET: 3}), "instead of [3]", id="another number"),
        pytest.param(Query("", needs=[replace(HA, name="nobody has this")]), "though HA manages", id="wrongly full"),
    ],
)
def test_a_promise_that_is_not_kept_is_found(seen: Seen, promise: Query, objection: str) -> None:
    broken = replace(OVERVIEW, promises=OVERVIEW.promises | {(1, "A"): promise})
    assert objection in "\n".join(map(str, prove(seen.url, broken, FLEET, seen.at)))


def shown(seen: Seen, uid: str, **chosen: str) -> dict[str, list[list[float]]]:
    """Panel → the values of each of its queries, with these variables chosen."""
    document = next(built.document for built in BUILT if built.document["uid"] == uid)
    with requests.Session() as session:
        asked = Asked(seen.url, seen.at, session)
        return {
            panel["title"]: [
                [float(one["value"][1]) for one in asked.run(resolved(target["expr"], chosen), instant=True)]
                for target in panel.get("targets", [])
            ]
            for panel in panels(document)
        }


def test_a_lost_node_is_shown_as_offline_with_its_guests_and_why_nothing_else_is_known(seen: Seen) -> None:
    found = shown(seen, "pve-node", cluster="node-lost", node="pve2")
    offline = list(NODE_STATES).index("offline") + 1
    assert found["State"] == [[offline]]
    assert found["CPU"] == [[]]
    # What its guests last used is left: Proxmox VE repeats it for some minutes.
    assert len(found["Guests on this node"][0]) == 3
    could_be_read, errors, _ = found["Readings"]
    assert set(could_be_read) == {0}
    assert len(errors) == len(could_be_read)


def test_a_hung_guest_is_shown_as_running_for_its_node_and_silent_inside(seen: Seen) -> None:
    found = shown(seen, "pve-guest", cluster="hung-guest", guest="101")
    running = list(GUEST_STATES).index("running") + 1
    assert found["State"] == [[running]]
    (silent,), (limit,) = found["Silence of the agent"]
    assert silent > limit
    assert found["CPU seen by the guest"] == [[]]
    assert found["Alerts firing"] == [[1]]
    assert found["Alerts over time"] == [[1]]


def test_variables_are_put_in_as_grafana_does() -> None:
    variables: dict[str, Any] = {"cluster": ".*", "action_api": "http://a"}
    assert resolved('x{cluster=~"$cluster|"}[$__rate_interval]', variables) == 'x{cluster=~".*|"}[70s]'
    assert resolved("${action_api:raw}/guests", variables) == "http://a/guests"
    assert resolved("x[$__range:1m]", variables) == "x[1800s:1m]"
