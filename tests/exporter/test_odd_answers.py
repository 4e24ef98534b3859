"""Whatever JSON stands in the place of a field, a collector gives an answer or a named error, and a valid page."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
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
from tests.exporter.test_golden import LINT_EXCEPTIONS, promtool
from tests.pve.disk_answers import CEPH, THIN_POOL, ZFS_POOL
from tests.pve.provisioning_answers import APPLIANCE

# Texts in which PVE writes numbers; digits of other scripts, and more of them than fit, are digits too.
DIGITS = st.text("0123456789²٣", min_size=1, max_size=25)
UPIDS = st.builds(
    "UPID:pve1:0000{:04X}:0003D395:6B016350:{}:{}:root@pam:".format,
    st.integers(0, 0xFFFF),
    st.sampled_from(("qmstart", "qmstop", "vzreboot", "hastop", "vzdump")),
    DIGITS | st.just(""),
)
# st.characters() has lone surrogates, too: valid JSON.
TEXTS = st.text(st.characters(), max_size=8) | DIGITS | UPIDS
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
# The answer to each call, by its template as `PveClient` names it.
NAMES = {
    "/access/acl": "access-acl",
    "/access/permissions": "as-auditor-permissions",
    "/cluster/backup": "cluster-backup",
    "/cluster/backup-info/not-backed-up": "as-auditor-not-backed-up",
    "/cluster/config/nodes": "c3-cluster-config-nodes",
    "/cluster/ha/groups": "c3-ha-groups",
    "/cluster/ha/status/current": "c3-ha-status-current",
    "/cluster/resources": "c3-cluster-resources",
    "/cluster/status": "c3-cluster-status",
    "/cluster/tasks": "c3-cluster-tasks",
    "/nodes/{node}/disks/list": "node-disks-list",
    "/nodes/{node}/certificates/info": "as-auditor-node-certs",
    "/nodes/{node}/lxc": "lxc-list",
    "/nodes/{node}/netstat": "node-netstat",
    "/nodes/{node}/network": "node-network",
    "/nodes/{node}/qemu": "c3-pve2-qemu",
    "/nodes/{node}/rrddata": "node-rrddata-hour",
    "/nodes/{node}/services": "c3-pve2-services",
    "/nodes/{node}/status": "as-auditor-node-status",
    "/nodes/{node}/storage/{storage}/content": "as-auditor-storage-content",
    "/nodes/{node}/subscription": "as-auditor-node-subscription",
    "/nodes/{node}/time": "node-time",
    "/nodes/{node}/{kind}/{vmid}/config": "qemu-100-config",
    "/nodes/{node}/{kind}/{vmid}/pending": "qemu-100-pending",
    "/nodes/{node}/{kind}/{vmid}/snapshot": "qemu-101-snapshot-list",
    "/version": "version",
}
# Calls whose answers were empty where the others were recorded: in the form of the API's source.
UNRECORDED = {
    "/nodes/{node}/lxc/{vmid}/interfaces": [
        {"name": "eth0", "inet": "192.0.2.7/24", "ip-addresses": [{"ip-address": "192.0.2.7", "prefix": "24"}]},
    ],
    "/cluster/config/qdevice": {"State": "Connected", "Model": "Net", "QNetd host": "10.77.0.9:5403"},
    "/nodes/{node}/replication": [
        {"id": "100-0", "guest": 100, "vmtype": "qemu", "type": "local", "source": "pve1", "target": "pve2"}
        | {"last_sync": 1795253400, "last_try": 1795253400, "next_sync": 1795254300, "fail_count": 0, "duration": 3.5}
    ],
    "/nodes/{node}/disks/zfs": [ZFS_POOL],
    "/nodes/{node}/disks/lvmthin": [THIN_POOL],
    "/cluster/ceph/status": CEPH,
    "/nodes/{node}/aplinfo": [APPLIANCE],
}
# What 9.2 answers in another shape, or does not answer in 8.4 at all.
NEWER = {
    "/cluster/ha/rules": "ha-rules",
    "/cluster/ha/status/current": "ha-status-current",
    "/nodes/{node}/qemu": "qemu-list",
    "/nodes/{node}/rrddata": "node-rrddata-hour",
    "/nodes/{node}/status": "node-status",
    "/version": "version",
}
AGENT = {
    "/nodes/{node}/qemu/{vmid}/agent/get-fsinfo": {
        "result": [{"mountpoint": "/", "name": "sda1", "type": "ext4", "total-bytes": 9, "used-bytes": 1}]
    },
    "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces": {
        "result": [{"name": "eth0", "ip-addresses": [{"ip-address": "192.0.2.8", "prefix": 24}]}]
    },
    "/nodes/{node}/qemu/{vmid}/agent/ping": {"result": {}},
}
DATA_8 = {path: json.loads(recorded(name).body)["data"] for path, name in NAMES.items()} | UNRECORDED
DATA_9 = (
    DATA_8
    | {path: json.loads(recorded(name, "recorded-9.2").body)["data"] for path, name in NEWER.items()}
    | AGENT
    | {"/nodes/{node}/{kind}/{vmid}/config": DATA_8["/nodes/{node}/{kind}/{vmid}/config"] | {"agent": "1"}}
)


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
    data = json.loads(json.dumps(draw(st.sampled_from((DATA_8, DATA_9)))))
    for _ in range(draw(st.integers(1, 3))):
        holder, key = data, draw(st.sampled_from(sorted(data)))
        while isinstance(holder[key], dict | list) and holder[key] and draw(st.booleans()):
            holder = holder[key]
            key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        holder[key] = draw(JSON)
    return data


def with_version(version: str) -> dict[str, Any]:
    """The recorded answers of a host that says it is of this version."""
    return DATA_8 | {"/version": DATA_8["/version"] | {"version": version}}


def with_task(kind: str, about: str) -> dict[str, Any]:
    """The recorded answers with one task that has ended well."""
    upid = f"UPID:pve1:00000900:0003D395:6B016350:{kind}:{about}:root@pam:"
    row = {"upid": upid, "node": "pve1", "starttime": 1795253072, "endtime": 1795253080, "status": "OK"}
    return DATA_8 | {"/cluster/tasks": [row]}


def with_job(name: str) -> dict[str, Any]:
    """The recorded answers with one backup job of that name."""
    return DATA_8 | {"/cluster/backup": [DATA_8["/cluster/backup"][0] | {"id": name}]}


def ask(stops: StopStore, data: dict[str, Any], rounds: int = 1) -> tuple[Snapshot, str]:
    """What is known and shown after so many polls of a cluster that answers this."""
    snapshot, page = Snapshot("lab"), Page(TABLES)
    poller = ClusterPoller(
        Cluster(name="lab", hosts=(HostPort(host="pve"),)),
        OddClient(data),
        snapshot,
        ExporterSettings.model_validate({"poll_interval_seconds": 0.001, "node_interval_seconds": 0.001}),
        stops,
        COLLECTORS,
        page.refresh,
        clock=lambda: RECORDED_AT,
    )
    for _ in range(rounds):
        poller.poll()
        assert poller.settle(20)
    poller.stop()
    return snapshot, page.text().decode()


@pytest.mark.parametrize("data", [DATA_8, DATA_9], ids=["8.4", "9.2"])
def test_the_answers_that_are_changed_below_are_all_good_ones(stops: StopStore, data: dict[str, Any]) -> None:
    snapshot, text = ask(stops, data, rounds=2)
    assert not [reading.failure for reading in snapshot.view().readings.values() if reading.failure]
    assert ("pve_guest_agent_up{" in text) == (data is DATA_9)


@settings(max_examples=60, deadline=None)
@given(data=odd_data())
@example(data=with_version("²"))
@example(data=with_version("9" * 5000))
@example(data=with_task("qmstop", "9" * 20))
@example(data=with_task("qmstart", "9" * 5000))
@example(data=with_job("\ud800"))
def test_no_answer_of_pve_escapes_a_collector_or_spoils_the_page(stops: StopStore, data: dict[str, Any]) -> None:
    # Agents are asked in the second round, when the configurations are known.
    snapshot, text = ask(stops, data, rounds=2)
    failures = [reading.failure for reading in snapshot.view().readings.values() if reading.failure]
    assert not [failure for failure in failures if failure.error_class == "internal"]
    seen = set()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series = (sample.name, tuple(sorted(sample.labels.items())))
            assert series not in seen, "two equal series make Prometheus refuse the page"
            seen.add(series)


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
HOSTILE = 'quote" back\\slash\nline {br}=,# ünï 😀'


def named(data: dict[str, Any], name: str) -> dict[str, Any]:
    """The same cluster with that text wherever Proxmox VE lets people choose one."""
    changed: dict[str, Any] = json.loads(json.dumps(data))
    for row in changed["/cluster/resources"]:
        if row["type"] in ("qemu", "lxc"):
            row |= {"name": name, "pool": name, "tags": name, "lock": name, "hastate": name}
        elif row["type"] == "storage":
            row["plugintype"] = name
    changed["/cluster/backup"] = [{**changed["/cluster/backup"][0], "storage": name, "id": name}]
    return changed


def labels(text: str, family: str, label: str) -> set[str]:
    """The values that a label has in a family, as Prometheus' own parser for Python reads them."""
    return {
        sample.labels[label]
        for found in text_string_to_metric_families(text)
        for sample in found.samples
        if sample.name == family
    }


@settings(max_examples=30, deadline=None)
@given(name=ANY_TEXT)
@example(name=HOSTILE)
def test_any_name_comes_back_as_it_was(stops: StopStore, name: str) -> None:
    _, text = ask(stops, named(DATA_8, name))
    for family, label in (("pve_guest_info", "name"), ("pvewatch_guest_info", "name"), ("pve_guest_pool_info", "pool")):
        assert labels(text, family, label) == {name}, family


def test_a_page_with_hostile_names_is_read_by_prometheus_itself(stops: StopStore) -> None:
    _, text = ask(stops, named(DATA_8, HOSTILE))
    done = subprocess.run(
        [promtool(), "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.split(" ")[0] not in LINT_EXCEPTIONS]
    assert said == []
