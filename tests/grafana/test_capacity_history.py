"""What capacity planning shows after 40 days of figures (tests/grafana/history.py)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from grafana.source.capacity import capacity
from grafana.source.contract import Series
from grafana.source.panels import Document, panels
from grafana.source.prove import Asked, prove, resolved
from grafana.source.scenarios import FLEET
from tests.grafana.history import DAY, GIB, NOW, history


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with history(tmp_path_factory.mktemp("history")) as address:
        yield address


def asked(url: str, target: Document) -> list[Series]:
    """The answer to a query of a panel, for all clusters."""
    expr = resolved(target["expr"], {"cluster": ".*"})
    with requests.Session() as session:
        return Asked(url, NOW, session).run(expr, instant=bool(target.get("instant")))


def shown(url: str, title: str, query: str = "A") -> dict[str, float]:
    """What a panel's query returns: the VMID, or storage and node, or cluster → the value."""
    panel = next(panel for panel in panels(capacity().document) if panel["title"] == title)
    target = next(target for target in panel["targets"] if target["refId"] == query)
    series = asked(url, target)
    found = {}
    for entry in series:
        labels = entry["metric"]
        place = " ".join(labels[name] for name in ("storage", "node") if name in labels)
        found[labels.get("vmid") or place or labels.get("cluster", "")] = float(entry["value"][1])
    return found


def test_every_panel_has_the_labels_columns_and_values_that_it_needs(url: str) -> None:
    assert [str(finding) for finding in prove(url, capacity(), FLEET, at=NOW)] == []


def test_every_query_returns_something(url: str) -> None:
    empty = []
    for panel in panels(capacity().document):
        for target in panel["targets"]:
            if not asked(url, target):
                empty.append((panel["title"], target["refId"]))
    assert empty == []


def test_a_storage_that_grows_says_when_it_is_full_and_others_do_not(url: str) -> None:
    # 500 GiB free at 10 GiB a day, 40 GiB free at 0.4 GiB a day; one shrinks, one is two days old.
    left = shown(url, "Storages by time left")
    assert left == {"nas": pytest.approx(50 * DAY, rel=1e-3), "local pve2": pytest.approx(100 * DAY, rel=1e-3)}
    assert shown(url, "First storage full") == {"": pytest.approx(50 * DAY, rel=1e-3)}
    assert shown(url, "Storages by time left", "D")["nas"] == pytest.approx(10 * GIB, rel=1e-3)


def test_use_in_90_days_goes_on_as_in_the_last_30(url: str) -> None:
    assert shown(url, "Clusters", "J") == {"lab": pytest.approx((80 + 45) / 128, rel=1e-3)}
    assert shown(url, "Clusters", "K") == {"lab": pytest.approx((1000 + 180) / 2000, rel=1e-3)}


def test_two_equal_nodes_that_are_more_than_half_full_do_not_survive_the_loss_of_one(url: str) -> None:
    assert shown(url, "Memory with one node less") == {"": pytest.approx(80 / 64)}
    assert shown(url, "Clusters", "H") == {"lab": pytest.approx(96 / 64)}
    assert shown(url, "CPUs promised") == {"": pytest.approx(24 / 16)}
    assert shown(url, "Memory promised") == {"": pytest.approx(96 / 128)}


def test_guests_that_use_little_for_a_week_are_listed_and_new_ones_are_not(url: str) -> None:
    assert shown(url, "Memory that guests never use") == {"101": 6 * GIB}
    assert shown(url, "CPUs that guests never use") == {"101": pytest.approx(7.2)}
    assert shown(url, "Memory never used") == {"": 6 * GIB}
    assert shown(url, "Guests that did not run for a week") == {"104": 32 * GIB}
