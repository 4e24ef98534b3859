"""The bundle in a real Grafana: it loads every file, and every query succeeds through its own API.

Collected only where `grafana` is on the PATH (conftest.py). GRAFANA_HOMEPATH says where its public files are, if they
are not in /usr/share/grafana.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from grafana.source.board import Built
from grafana.source.panels import queries
from grafana.source.prove import RANGE_SECONDS, STEP_SECONDS, Asked, chosen, resolved
from grafana.source.registry import dashboards
from grafana.source.scenarios import FLEET
from pvewatch.config import Settings
from pvewatch.render import write_all
from pvewatch.stack.ports import free_port
from tests.grafana import fleet
from tests.grafana.fleet import Seen
from tests.rules.servers import running, wait_until

PASSWORD = "only for this test"
BUILT = {str(built.document["uid"]): built for built in dashboards()}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with fleet.watched(tmp_path_factory.mktemp("fleet")) as found:
        yield found


@pytest.fixture(scope="module")
def grafana(seen: Seen, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Grafana with the rendered bundle."""
    folder = tmp_path_factory.mktemp("grafana")
    settings = Settings.model_validate({"data_dir": folder / "data", "prometheus": {"url": seen.url}})
    write_all(settings, folder / "out", "native")
    (folder / "grafana.ini").write_text("", encoding="utf-8")
    port = free_port()
    home = os.environ.get("GRAFANA_HOMEPATH", "/usr/share/grafana")
    variables = {
        "GF_PATHS_DATA": folder / "state",
        "GF_PATHS_LOGS": folder / "logs",
        "GF_PATHS_PLUGINS": folder / "plugins",
        "GF_PATHS_PROVISIONING": folder / "out" / "grafana" / "provisioning",
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": port,
        "GF_SECURITY_ADMIN_PASSWORD": PASSWORD,
        # Nothing of Grafana's own goes to the network.
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
    }
    command = ["grafana", "server", "--homepath", home, "--config", str(folder / "grafana.ini")]
    url = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch, ExitStack() as kept:
        for name, value in variables.items():
            patch.setenv(name, str(value))
        address = kept.enter_context(running(command, url, folder / "grafana.log", "/api/health"))
        wait_until(lambda: set(BUILT) <= found_dashboards(address), "all dashboards in Grafana", 60)
        yield address


def ask(grafana: str, path: str, body: Any = None) -> Any:
    method = "GET" if body is None else "POST"
    answer = requests.request(method, f"{grafana}{path}", json=body, auth=("admin", PASSWORD), timeout=30)
    assert answer.ok, f"{path}: {answer.status_code} {answer.text}"
    return answer.json()


def found_dashboards(grafana: str) -> set[str]:
    return {entry["uid"] for entry in ask(grafana, "/api/search?type=dash-db&limit=100")}


def test_the_data_sources_are_there(grafana: str) -> None:
    known = {source["uid"]: source["type"] for source in ask(grafana, "/api/datasources")}
    assert known == {"pvewatch-prometheus": "prometheus", "pvewatch-alertmanager": "alertmanager"}


@pytest.mark.parametrize("built", BUILT.values(), ids=list(BUILT))
def test_a_dashboard_is_loaded_with_all_its_panels(grafana: str, built: Built) -> None:
    loaded = ask(grafana, f"/api/dashboards/uid/{built.document['uid']}")
    assert loaded["meta"]["folderUid"] == "proxmox-ve"
    assert loaded["dashboard"]["title"] == built.document["title"]
    assert len(list(queries(loaded["dashboard"]))) == len(list(queries(built.document)))


@pytest.mark.parametrize("built", BUILT.values(), ids=list(BUILT))
def test_every_query_succeeds_through_grafana(grafana: str, seen: Seen, built: Built) -> None:
    with requests.Session() as session:
        asked = Asked(seen.url, seen.at, session)
        variables = chosen(asked, built.document, FLEET) or chosen(asked, built.document, "healthy")
    assert variables is not None
    failed = {}
    for panel, target in queries(built.document):
        query = {
            **target,
            "expr": resolved(target["expr"], variables),
            "datasource": {"type": "prometheus", "uid": "pvewatch-prometheus"},
            "intervalMs": STEP_SECONDS * 1000,
            "maxDataPoints": 100,
        }
        times = {"from": str(int((seen.at - RANGE_SECONDS) * 1000)), "to": str(int(seen.at * 1000))}
        result = ask(grafana, "/api/ds/query", {"queries": [query], **times})["results"][target["refId"]]
        if result.get("error"):
            failed[f"{panel['title']} {target['refId']}"] = result["error"]
    assert failed == {}
