"""Whatever JSON stands in the place of a field, a collector gives an answer or a named error, and a valid page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from exporter.collectors import COLLECTORS
from exporter.exposition import Page
from exporter.poller import ClusterPoller
from exporter.service import TABLES
from exporter.snapshot import Snapshot
from exporter.stops import StopStore
from pvewatch.config import Cluster, ExporterSettings, HostPort
from pvewatch.pve import parsers
from pvewatch.pve.client import PveClient
from pvewatch.pve.errors import BadAnswer, Rejected
from tests.exporter.conftest import RECORDED_AT, recorded

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
# The answer to each call, by its template as `PveClient` names it.
NAMES = {
    "/access/permissions": "as-auditor-permissions",
    "/cluster/backup": "cluster-backup",
    "/cluster/backup-info/not-backed-up": "as-auditor-not-backed-up",
    "/cluster/config/nodes": "c3-cluster-config-nodes",
    "/cluster/ha/groups": "c3-ha-groups",
    "/cluster/ha/status/current": "c3-ha-status-current",
    "/cluster/resources": "c3-cluster-resources",
    "/cluster/status": "c3-cluster-status",
    "/cluster/tasks": "c3-cluster-tasks",
    "/nodes/{node}/certificates/info": "as-auditor-node-certs",
    "/nodes/{node}/lxc": "lxc-list",
    "/nodes/{node}/netstat": "node-netstat",
    "/nodes/{node}/qemu": "c3-pve2-qemu",
    "/nodes/{node}/rrddata": "node-rrddata-hour",
    "/nodes/{node}/services": "c3-pve2-services",
    "/nodes/{node}/status": "as-auditor-node-status",
    "/nodes/{node}/subscription": "as-auditor-node-subscription",
    "/nodes/{node}/time": "node-time",
    "/nodes/{node}/{kind}/{vmid}/config": "qemu-100-config",
    "/version": "version",
}
# Calls whose answers were empty where the others were recorded: in the form of the API's source.
UNRECORDED = {
    "/cluster/config/qdevice": {"State": "Connected", "Model": "Net", "QNetd host": "10.77.0.9:5403"},
    "/nodes/{node}/replication": [
        {"id": "100-0", "guest": 100, "vmtype": "qemu", "type": "local", "source": "pve1", "target": "pve2"}
        | {"last_sync": 1795253400, "last_try": 1795253400, "next_sync": 1795254300, "fail_count": 0, "duration": 3.5}
    ],
}
DATA = {path: json.loads(recorded(name).body)["data"] for path, name in NAMES.items()} | UNRECORDED


class OddClient(PveClient):
    """The real client above the connection: every method and parser, over answers from memory."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def _ask(self, method: str, template: str, parse: Any, params: object, **parts: object) -> Any:
        if template not in self._data:
            raise Rejected("501 not simulated", host="pve", path=template, status=501, reason="not simulated")
        try:
            return parse(self._data[template])
        except parsers.WrongShape as error:
            raise BadAnswer(str(error), host="pve", path=template) from error

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def stops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StopStore]:
    store = StopStore(tmp_path_factory.mktemp("odd") / "exporter.db")
    yield store
    store.close()


@st.composite
def odd_data(draw: st.DrawFn) -> dict[str, Any]:
    """The recorded answers with one to three places replaced by any JSON."""
    data = json.loads(json.dumps(DATA))
    for _ in range(draw(st.integers(1, 3))):
        holder, key = data, draw(st.sampled_from(sorted(data)))
        while isinstance(holder[key], dict | list) and holder[key] and draw(st.booleans()):
            holder = holder[key]
            key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        holder[key] = draw(JSON)
    return data


@settings(max_examples=60, deadline=None)
@given(data=odd_data())
def test_no_answer_of_pve_escapes_a_collector_or_spoils_the_page(stops: StopStore, data: dict[str, Any]) -> None:
    snapshot, page = Snapshot("lab"), Page(TABLES)
    poller = ClusterPoller(
        Cluster(name="lab", hosts=(HostPort(host="pve"),)),
        OddClient(data),
        snapshot,
        ExporterSettings(poll_interval_seconds=0.001),
        stops,
        COLLECTORS,
        page.refresh,
        clock=lambda: RECORDED_AT,
    )
    poller.poll()
    assert poller.settle(20)
    poller.stop()
    failures = [reading.failure for reading in snapshot.view().readings.values() if reading.failure]
    assert not [failure for failure in failures if failure.error_class == "internal"]
    seen = set()
    for family in text_string_to_metric_families(page.text().decode()):
        for sample in family.samples:
            series = (sample.name, tuple(sorted(sample.labels.items())))
            assert series not in seen, "two equal series make Prometheus refuse the page"
            seen.add(series)
