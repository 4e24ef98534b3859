"""Rows of Proxmox VE → the families of prometheus-pve-exporter 3.10: same names, types, labels and values.

    pve_up{id="qemu/100"} 1

Which series there are follows from which keys a row has, whatever the row describes: a pool that reports memory gets
pve_memory_usage_bytes, as there. A value that is no number gives no sample. What is new in pvewatch is at /metrics.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from exporter.collectors.resources import METRICS as RESOURCES_METRICS
from exporter.exposition import Sample, header, write_samples
from exporter.peer.reads import Config, Row
from pvewatch.pve.parsers import flag, number

GUEST_HA_STATES = (
    *("stopped", "request_stop", "request_start", "request_start_balance", "started", "fence", "recovery"),
    *("migrate", "relocate", "freeze", "error"),
)
NODE_HA_STATES = ("online", "maintenance", "unknown", "fence", "gone")
LOCK_STATES = (
    *("backup", "clone", "create", "migrate", "rollback", "snapshot", "snapshot-delete", "suspended", "suspending"),
)
SUBSCRIPTION_STATES = ("new", "notfound", "active", "invalid", "expired", "suspended")
MOST_CLUSTER_LABELS = 16

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ID = ("id",)
_HELP = {metric.name: metric.help for metric in RESOURCES_METRICS}
# Family, type, the key of a row of /cluster/resources.
_FIGURES: tuple[tuple[str, Literal["gauge", "counter"], str], ...] = (
    ("pve_disk_size_bytes", "gauge", "maxdisk"),
    ("pve_disk_usage_bytes", "gauge", "disk"),
    ("pve_memory_size_bytes", "gauge", "maxmem"),
    ("pve_memory_usage_bytes", "gauge", "mem"),
    ("pve_network_transmit_bytes", "gauge", "netout"),
    ("pve_network_receive_bytes", "gauge", "netin"),
    ("pve_disk_write_bytes", "gauge", "diskwrite"),
    ("pve_disk_read_bytes", "gauge", "diskread"),
    ("pve_cpu_usage_ratio", "gauge", "cpu"),
    ("pve_cpu_usage_limit", "gauge", "maxcpu"),
    ("pve_uptime_seconds", "gauge", "uptime"),
    ("pve_storage_shared", "gauge", "shared"),
    ("pve_network_transmit_bytes_total", "counter", "netout"),
    ("pve_network_receive_bytes_total", "counter", "netin"),
    ("pve_disk_written_bytes_total", "counter", "diskwrite"),
    ("pve_disk_read_bytes_total", "counter", "diskread"),
)
_REPLICATION_FIGURES = (
    ("pve_replication_duration_seconds", "duration", "How long the newest replication took."),
    ("pve_replication_last_sync_timestamp_seconds", "last_sync", "When the job last succeeded."),
    ("pve_replication_last_try_timestamp_seconds", "last_try", "When the job last began."),
    ("pve_replication_next_sync_timestamp_seconds", "next_sync", "When the job is to run next."),
    ("pve_replication_failed_syncs", "fail_count", "How often the job has failed in a row."),
)


def up(status_rows: Sequence[Row], resource_rows: Sequence[Row]) -> bytes:
    """pve_up of cluster, nodes, guests and storages."""
    samples: dict[str, Sample] = {}
    for row in status_rows:
        if row.get("type") == "cluster":
            name = f"cluster/{_text(row, 'name')}"
            samples[name] = ((name,), int(flag(row.get("quorate"))))
        elif row.get("type") == "node":
            samples[_text(row, "id")] = ((_text(row, "id"),), int(flag(row.get("online"))))
    for row in resource_rows:
        wanted = {"qemu": "running", "lxc": "running", "storage": "available"}.get(_text(row, "type"))
        if wanted is not None:
            samples[_text(row, "id")] = ((_text(row, "id"),), int(row.get("status") == wanted))
    return _family("pve_up", "gauge", _HELP["pve_up"], _ID, samples.values())


def resources(all_rows: Sequence[Row]) -> bytes:
    """Everything out of /cluster/resources but pve_up."""
    # One row for each id: two equal series would make Prometheus refuse the page.
    rows = list({_text(row, "id"): row for row in all_rows if _text(row, "id")}.values())
    guests = [row for row in rows if row.get("type") in ("qemu", "lxc")]
    nodes = [row for row in rows if row.get("type") == "node"]
    pages = [
        _family(name, kind, _HELP[name], _ID, (((_text(row, "id"),), number(row.get(key))) for row in rows))
        for name, kind, key in _FIGURES
    ]
    ha = [
        *_one_of(guests, "hastate", GUEST_HA_STATES),
        *_one_of(nodes, "hastate", NODE_HA_STATES),
    ]
    pages += [
        _family("pve_ha_state", "gauge", "The HA state: 1 for the present one.", ("id", "state"), ha),
        _family(
            "pve_lock_state",
            "gauge",
            "The guest's lock: 1 for the present one.",
            ("id", "state"),
            _one_of(guests, "lock", LOCK_STATES),
        ),
        _info("pve_guest_info", _HELP["pve_guest_info"], ("id", "node", "name", "type", "template", "tags"), guests),
        _info(
            "pve_storage_info",
            _HELP["pve_storage_info"],
            ("id", "node", "storage", "plugintype", "content"),
            # PVE gives the list in another order at every call: unsorted it would be a new series at every scrape.
            (
                {**row, "content": ",".join(sorted(_text(row, "content").split(",")))}
                for row in rows
                if row.get("type") == "storage"
            ),
        ),
    ]
    return b"".join(pages)


def nodes_info(status_rows: Sequence[Row]) -> bytes:
    """pve_node_info."""
    rows = (row for row in status_rows if row.get("type") == "node")
    return _info("pve_node_info", "A node of the cluster; always 1.", ("id", "level", "name", "nodeid"), rows)


def cluster_info(status_rows: Sequence[Row]) -> bytes:
    """pve_cluster_info with all that the cluster's row says; nothing for a standalone host."""
    row = next((row for row in status_rows if row.get("type") == "cluster"), None)
    if row is None:
        return b""
    more = sorted(key for key in row if key not in ("type", "name", "id") and _LABEL.fullmatch(key))
    labels = ("id", *more[:MOST_CLUSTER_LABELS])
    shown = {**row, "id": f"cluster/{_text(row, 'name')}"}
    return _info("pve_cluster_info", "The cluster; always 1.", labels, [shown])


def version(row: Row) -> bytes:
    """pve_version_info."""
    labels = tuple(key for key in ("release", "repoid", "version") if key in row)
    return _info("pve_version_info", "The version of the host that answered; always 1.", labels, [row])


def not_backed_up(status_rows: Sequence[Row], rows: Sequence[Row]) -> bytes:
    """How many guests are in no backup job, and which."""
    name = _text(status_rows[0], "name") if status_rows else ""
    guests = dict.fromkeys(f"{_text(row, 'type')}/{_text(row, 'vmid')}" for row in rows)
    return _family(
        "pve_not_backed_up_total",
        "gauge",
        "Guests that no backup job covers.",
        _ID,
        [((f"cluster/{name}",), len(rows))],
    ) + _family(
        "pve_not_backed_up_info",
        "gauge",
        "A guest that no backup job covers; always 1.",
        _ID,
        (((guest,), 1) for guest in guests),
    )


def qdevice(status_rows: Sequence[Row], row: Row) -> bytes:
    """The quorum device; nothing where there is none."""
    if not row:
        return b""
    cluster = next((row for row in status_rows if row.get("type") == "cluster"), {})
    name = f"cluster/{_text(cluster, 'name')}"
    keys = ("Model", "Algorithm", "QNetd host", "Tie-breaker", "State")
    labels = ("id", "model", "algorithm", "qnetd_host", "tie_breaker", "state")
    return _family(
        "pve_qdevice_up",
        "gauge",
        "Whether the quorum device is connected.",
        _ID,
        [((name,), int(row.get("State") == "Connected"))],
    ) + _family(
        "pve_qdevice_info",
        "gauge",
        "The quorum device; always 1.",
        labels,
        [((name, *(_text(row, key) for key in keys)), 1)],
    )


def subscription(node: str, row: Row) -> bytes:
    """The node's subscription."""
    name = f"node/{node}"
    page = _family(
        "pve_subscription_info",
        "gauge",
        "The node's subscription; 1 even without one.",
        ("id", "level"),
        [((name, _text(row, "level") or "unknown"), 1)],
    ) + _family(
        "pve_subscription_status",
        "gauge",
        "The state of the node's subscription: 1 for the present one.",
        ("id", "status"),
        _one_of([{**row, "id": name}], "status", SUBSCRIPTION_STATES),
    )
    due = _midnight(_text(row, "nextduedate"))
    if due is None:
        return page
    help_text = "When the subscription has to be renewed: midnight of the exporter's time zone."
    return page + _family("pve_subscription_next_due_timestamp_seconds", "gauge", help_text, _ID, [((name,), due)])


def onboot(node: str, configs: Iterable[Config]) -> bytes:
    """Which of the node's guests start at boot; only those whose configuration says."""
    return _family(
        "pve_onboot_status",
        "gauge",
        "Whether the guest starts at boot; absent where its configuration does not say.",
        ("id", "node", "type"),
        (((f"{guest.kind}/{guest.vmid}", node, guest.kind), number(guest.onboot)) for guest in configs),
    )


def replication(all_rows: Sequence[Row]) -> bytes:
    """The node's replication jobs."""
    rows = list({_text(row, "id"): row for row in all_rows if _text(row, "id")}.values())
    pages = [
        _family(name, "gauge", text, _ID, (((_text(row, "id"),), number(row.get(key))) for row in rows))
        for name, key, text in _REPLICATION_FIGURES
    ]
    shown = (
        {
            **row,
            "source": f"node/{_text(row, 'source')}",
            "target": f"node/{_text(row, 'target')}",
            "guest": f"{_text(row, 'vmtype')}/{_text(row, 'guest')}",
        }
        for row in rows
    )
    labels = ("id", "type", "source", "target", "guest")
    return b"".join([*pages, _info("pve_replication_info", "A replication job; always 1.", labels, shown)])


def outcome(failures: Mapping[str, str | None]) -> bytes:
    """How it went, collector → None or the error's class; these two are pvewatch's own."""
    return _family(
        "pve_collector_success",
        "gauge",
        "Whether the collector could read everything.",
        ("collector",),
        (((name,), int(error is None)) for name, error in failures.items()),
    ) + _family(
        "pve_collector_error",
        "gauge",
        "Why the collector could not read everything; absent otherwise.",
        ("collector", "class"),
        (((name, error), 1) for name, error in failures.items() if error is not None),
    )


def _family(
    name: str, kind: Literal["gauge", "counter"], text: str, labels: Sequence[str], samples: Iterable[Sample]
) -> bytes:
    return header(name, kind, text) + write_samples(name, labels, samples)


def _info(name: str, text: str, labels: Sequence[str], rows: Iterable[Row]) -> bytes:
    shown = {tuple(_text(row, label) for label in labels): 1 for row in rows}
    return _family(name, "gauge", text, labels, shown.items())


def _one_of(rows: Iterable[Row], key: str, states: Sequence[str]) -> Iterator[Sample]:
    for row in rows:
        for state in states:
            yield (_text(row, "id"), state), int(row.get(key) == state)


def _text(row: Row, key: str) -> str:
    value: Any = row.get(key)
    if value is None or isinstance(value, dict | list):
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)


def _midnight(date: str) -> float | None:
    try:
        # Of the local time zone, as prometheus-pve-exporter has it.
        return datetime.strptime(date, "%Y-%m-%d").astimezone().timestamp()
    except (ValueError, OverflowError):
        return None
