"""Proxmox VE / Node: one host, from its load down to its services and certificates."""

from __future__ import annotations

from grafana.source import house, limits, links, marks, variables
from grafana.source.board import Built, Column, Panel, Query, Row
from grafana.source.drill import (
    OFFLINE,
    ON_NODE,
    ONE_NODE,
    RELEASE_9,
    code_texts,
    coded,
    figures,
    guest_columns,
    guest_states,
    of_node_guests,
    on_node,
    ratio,
    share,
)
from grafana.source.node_services import readings, services
from grafana.source.promql import GUEST_MEMORY, GUESTS, GUESTS_SHOWN, IN_CLUSTER, NAMES_AT_END, most
from grafana.source.states import NODE_STATES

UID = links.NODE
NO_GUEST = "no guest is on this node"
HERE, THIS = links.chosen("cluster"), links.chosen("node")


def node() -> Built:
    """One node."""
    return house.build(
        UID,
        "Node",
        "node",
        "One host: load, memory, network, its guests, services, certificates and clock.",
        variables=[variables.cluster(), variables.node()],
        annotations=[marks.alerts(', node=~"$node|"')],
        rows=[_first_row(), _load(), _guests(), services(), readings()],
    )


def _first_row() -> Row:
    ways = [links.to_cluster(HERE), *links.node_acts(HERE, THIS)]
    return Row(
        [
            house.stat_panel(
                1,
                "State",
                "The node as its cluster sees it (pve_node_status). Online is normal. Offline: the runbook of "
                "NodeDown. Unknown: the node's statistics daemon (pvestatd) is dead, not the node.",
                [
                    Query(
                        coded("pve_node_status", ONE_NODE, NODE_STATES, "status"),
                        values={"healthy": 1, "standalone": 1, "node-lost": 1},
                    )
                ],
                mappings=code_texts(NODE_STATES),
                links=[*ways, links.runbook("NodeDown")],
            ),
            house.stat_panel(
                2,
                "CPU",
                "Share of all cores in use (pve_cpu_usage_ratio). Short peaks are normal; above 90 % for long makes "
                "guests slow: the list below says which ones use most.",
                [figures("pve_cpu_usage_ratio", ONE_NODE, "")],
                unit="percentunit",
                maximum=1,
                no_value=OFFLINE,
            ),
            house.stat_panel(
                3,
                "Memory",
                "Share of the memory in use, the cache of ZFS included (pve_memory_usage_bytes / "
                "pve_memory_size_bytes). Above 95 % the kernel soon ends a guest: move one, or give guests less.",
                [Query(share("pve_memory_usage_bytes", "pve_memory_size_bytes", ONE_NODE))],
                unit="percentunit",
                maximum=1,
                steps=limits.NODE_MEMORY_RATIO,
                no_value=OFFLINE,
            ),
            house.stat_panel(
                4,
                "IO wait",
                "Share of time in which cores waited for disks (pve_node_io_wait_ratio). A few percent are normal; "
                "more for long means a disk or a network storage that is too slow or failing.",
                [figures("pve_node_io_wait_ratio", ONE_NODE, "")],
                unit="percentunit",
                maximum=1,
                decimals=1,
                steps=limits.IO_WAIT_RATIO,
                no_value=OFFLINE,
            ),
            house.stat_panel(
                5,
                "Root file system",
                "Share of the root file system in use (pve_node_rootfs_usage_bytes / pve_node_rootfs_size_bytes). "
                "Full, the node can no longer write its configuration: remove old kernels, logs, images and backups.",
                [Query(share("pve_node_rootfs_usage_bytes", "pve_node_rootfs_size_bytes", ONE_NODE))],
                unit="percentunit",
                maximum=1,
                steps=limits.ROOT_DISK_RATIO,
                no_value=OFFLINE,
            ),
            house.stat_panel(
                6,
                "Uptime",
                "Time since the node started (pve_uptime_seconds). Short without a planned restart: it crashed or was "
                "fenced; read its journal of before. Very long: kernels with security fixes wait.",
                [figures("pve_uptime_seconds", ONE_NODE, "")],
                unit="s",
                no_value=OFFLINE,
            ),
        ]
    )


def _load() -> Row:
    rate = "8 * " + most("pve_node_network_{}_bytes_per_second", ONE_NODE)
    pressure = f"max by (resource, kind) (pve_node_pressure_ratio{{{ONE_NODE}}})"
    return Row(
        title="Load, memory, disks and network",
        number=20,
        panels=[
            house.time_panel(
                7,
                "CPU and IO wait",
                "Share of all cores in use, and share of time in which cores waited for disks (pve_cpu_usage_ratio, "
                "pve_node_io_wait_ratio). A gap means that the node or the exporter was not there.",
                [
                    figures("pve_cpu_usage_ratio", ONE_NODE, "CPU"),
                    figures("pve_node_io_wait_ratio", ONE_NODE, "IO wait"),
                ],
                unit="percentunit",
                maximum=1,
                width=8,
                no_value=OFFLINE,
            ),
            house.time_panel(
                8,
                "Load",
                "Tasks that run or wait, averaged over 1, 5 and 15 minutes, and the number of CPUs (pve_node_load1, "
                "pve_node_load5, pve_node_load15, pve_cpu_usage_limit). Far above the CPUs for long: too much to do, "
                "or disks that do not answer.",
                [
                    figures("pve_node_load1", ONE_NODE, "1 min"),
                    figures("pve_node_load5", ONE_NODE, "5 min"),
                    figures("pve_node_load15", ONE_NODE, "15 min"),
                    figures("pve_cpu_usage_limit", ONE_NODE, "CPUs"),
                ],
                unit="none",
                width=8,
                no_value=OFFLINE,
            ),
            house.time_panel(
                9,
                "Memory",
                "Memory in use and in all, what could be had without swapping (since Proxmox VE 9), what the cache of "
                "ZFS holds, and what guests share through KSM (pve_memory_usage_bytes, pve_memory_size_bytes, "
                "pve_node_memory_available_bytes, pve_node_zfs_arc_size_bytes, pve_node_ksm_shared_bytes).",
                [
                    figures("pve_memory_usage_bytes", ONE_NODE, "used"),
                    figures("pve_memory_size_bytes", ONE_NODE, "size"),
                    figures("pve_node_memory_available_bytes", ONE_NODE, "available", may_be_empty=RELEASE_9),
                    figures("pve_node_zfs_arc_size_bytes", ONE_NODE, "ZFS cache", may_be_empty=RELEASE_9),
                    figures("pve_node_ksm_shared_bytes", ONE_NODE, "shared by KSM"),
                ],
                unit="bytes",
                width=8,
                no_value=OFFLINE,
            ),
            house.time_panel(
                10,
                "Network",
                "Bits received and sent each second, averaged over a minute "
                "(pve_node_network_receive_bytes_per_second, pve_node_network_transmit_bytes_per_second). Near the "
                "speed of the line, backups and migrations crowd out the guests, and corosync loses nodes: give it a "
                "network of its own.",
                [
                    Query(rate.replace("{}", "receive"), "received"),
                    Query(rate.replace("{}", "transmit"), "sent"),
                ],
                unit="bps",
                width=8,
                no_value=OFFLINE,
            ),
            house.time_panel(
                11,
                "Pressure",
                "Share of time in which some or all (full) tasks waited for CPU, disks or memory "
                "(pve_node_pressure_ratio), told since Proxmox VE 9. Nearly nothing is normal for memory; for disks "
                "and CPU it rises before guests become slow.",
                [Query(pressure, "{{resource}}, {{kind}}", may_be_empty=RELEASE_9)],
                unit="percentunit",
                maximum=1,
                width=8,
                no_value=RELEASE_9,
            ),
            house.time_panel(
                12,
                "Root file system and swap",
                "Share of the root file system and of the swap space in use (pve_node_rootfs_usage_bytes, "
                "pve_node_swap_usage_bytes by their sizes). Swap that fills means that memory is short; without swap "
                "space there is no such line.",
                [
                    Query(
                        share("pve_node_rootfs_usage_bytes", "pve_node_rootfs_size_bytes", ONE_NODE), "root file system"
                    ),
                    Query(
                        share("pve_node_swap_usage_bytes", "pve_node_swap_size_bytes", ONE_NODE),
                        "swap",
                        may_be_empty="a node may have no swap space",
                    ),
                ],
                unit="percentunit",
                maximum=1,
                steps=limits.ROOT_DISK_RATIO,
                width=8,
                no_value=OFFLINE,
            ),
        ],
    )


def _guests() -> Row:
    cores = f"{most('pve_cpu_usage_ratio', GUESTS)} * {most('pve_cpu_usage_limit', GUESTS)}"
    lock = f'label_replace(pve_lock_state{{{IN_CLUSTER}}} == 1, "lock", "$1", "state", "(.+)")'
    busy = " * ".join(
        of_node_guests(f"{metric}{{{GUESTS}}}") for metric in ("pve_cpu_usage_ratio", "pve_cpu_usage_limit")
    )
    on_disk = " + ".join(
        of_node_guests(f"rate({metric}{{{GUESTS}}}[$__rate_interval])")
        for metric in ("pve_disk_read_bytes_total", "pve_disk_written_bytes_total")
    )
    return Row(
        title="Guests",
        number=21,
        panels=[
            house.table_panel(
                13,
                "Guests on this node",
                "Every virtual machine and container that is here, templates apart: state, cores in use, share of its "
                "memory, uptime and lock (pve_guest_status, pve_cpu_usage_ratio, pve_memory_usage_bytes, "
                "pve_lock_state). A VMID leads to the guest and to the pages that act on it; opening them changes "
                "nothing.",
                [
                    Query(guest_states(ON_NODE)),
                    Query(on_node(cores)),
                    Query(on_node(GUEST_MEMORY)),
                    Query(on_node(most("pve_memory_size_bytes", GUESTS))),
                    Query(on_node(f"{most('pve_uptime_seconds', GUESTS)} > 0")),
                    Query(on_node(f"max by (cluster, id, lock) ({lock})"), may_be_empty="no guest is locked"),
                ],
                [
                    *guest_columns(),
                    Column("Value #B", "Cores in use", unit="none", decimals=1),
                    ratio("Value #C", "Memory", limits.GUEST_MEMORY_RATIO),
                    Column("Value #D", "Memory size", unit="bytes", decimals=1),
                    Column("Value #E", "Uptime", unit="s", decimals=0),
                    Column("lock", "Lock", may_be_absent="no guest is locked"),
                ],
                hidden=["cluster", "id", "node", "Value #A", "Value #F"],
                sort_by="Guest",
                no_value=NO_GUEST,
                height=10,
            ),
            _busiest(
                14,
                "Guests that use most CPU",
                "Cores in use (pve_cpu_usage_ratio times pve_cpu_usage_limit). Together they make the node's CPU.",
                busy,
                "none",
            ),
            _busiest(
                15,
                "Guests that read and write most",
                "Bytes read and written each second, together (pve_disk_read_bytes_total, "
                "pve_disk_written_bytes_total). One that stands out explains a high IO wait.",
                on_disk,
                "Bps",
            ),
        ],
    )


def _busiest(number: int, title: str, description: str, expr: str, unit: str) -> Panel:
    return house.time_panel(
        number,
        title,
        f"{description} The {GUESTS_SHOWN} highest of this node at each moment.",
        [
            Query(
                f"topk({GUESTS_SHOWN}, ({expr}) * on (cluster, id) group_left (name, vmid) {NAMES_AT_END})",
                "{{name}} ({{vmid}})",
            )
        ],
        unit=unit,
        many=True,
        links=[links.to_guest(links.label("cluster"), links.label("vmid"))],
        no_value=NO_GUEST,
    )
