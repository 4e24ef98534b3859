"""Whatever JSON stands in the place of a field, a collector gives an answer or a named error, and a valid page."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from exporter.collectors import COLLECTORS
from exporter.exposition import Page
from exporter.poller import ClusterPoller
from exporter.service import TABLES
from exporter.snapshot import Snapshot
from pvewatch.config import Cluster, ExporterSettings, HostPort
from pvewatch.pve import parsers
from pvewatch.pve.addresses import reported_addresses
from pvewatch.pve.errors import BadAnswer
from tests.exporter.conftest import RECORDED_AT, recorded

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
NAMES = {
    "resources": "c3-cluster-resources",
    "status": "c3-cluster-status",
    "tasks": "c3-cluster-tasks",
    "version": "version",
    "node": "as-auditor-node-status",
    "config": "qemu-100-config",
    "permissions": "as-auditor-permissions",
}
DATA = {key: json.loads(recorded(name).body)["data"] for key, name in NAMES.items()}
# In the form of PVE/API2/LXC.pm; none is recorded.
DATA["interfaces"] = [
    {"name": "eth0", "inet": "192.0.2.7/24", "ip-addresses": [{"ip-address": "192.0.2.7", "prefix": "24"}]},
]


class OddClient:
    """Gives answers through the real parsers; stands where PveClient stands."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def _parsed(self, key: str, parse: Any) -> Any:
        try:
            return parse(self._data[key])
        except parsers.WrongShape as error:
            raise BadAnswer(str(error), host="pve", path=key) from error

    def version(self) -> Any:
        return self._parsed("version", parsers.version)

    def permissions(self) -> Any:
        return self._parsed("permissions", parsers.permissions)

    def cluster_status(self) -> Any:
        return self._parsed("status", parsers.cluster_status)

    def cluster_resources(self) -> Any:
        return self._parsed("resources", parsers.resources)

    def cluster_tasks(self) -> Any:
        return self._parsed("tasks", parsers.tasks)

    def node_status(self, node: str) -> Any:
        return self._parsed("node", lambda data: parsers.node_status(data, node))

    def guest_config(self, *_: object) -> Any:
        return self._parsed("config", parsers.guest_config)

    def guest_addresses(self, *_: object) -> Any:
        return self._parsed("interfaces", lambda data: reported_addresses(parsers.rows(data or [])))

    def close(self) -> None:
        pass


class NoStops:
    """A store that forgets."""

    def of_cluster(self, _cluster: str) -> dict[int, float]:
        return {}

    def update(self, *_: object) -> None:
        pass


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
@given(odd_data())
def test_no_answer_of_pve_escapes_a_collector_or_spoils_the_page(data: dict[str, Any]) -> None:
    snapshot, page = Snapshot("lab"), Page(TABLES)
    poller = ClusterPoller(
        Cluster(name="lab", hosts=(HostPort(host="pve"),)),
        OddClient(data),  # type: ignore[arg-type]  # has the methods that collectors use
        snapshot,
        ExporterSettings(poll_interval_seconds=0.001),
        NoStops(),  # type: ignore[arg-type]  # likewise
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
