"""What storages stand on: disks with their health and wear, ZFS and thin pools of nodes, and Ceph.

The row of Ceph is closed: a cluster without one is not asked about it.
"""

from __future__ import annotations

from grafana.source import house, limits, links
from grafana.source.board import Column, Panel, Query, Row
from grafana.source.drill import code_texts, coded, of_node, ratio
from grafana.source.promql import IN_CLUSTER
from grafana.source.scenarios import CEPH, ZFS
from grafana.source.states import CEPH_HEALTH, DISK_HEALTH, ZFS_HEALTH

NO_DISKS = "no disk is known: a token without Sys.Audit sees none"
NO_SSD = "no SSD tells its wear"
NO_THIN = "no node has an LVM thin pool"
SOUND = "every disk that tells is sound"


def _per(label: str, expr: str) -> str:
    """`expr` for each disk or pool of a node, with the node's name."""
    return f"max by (cluster, node, {label}) ({of_node(expr)})"


def _figure(metric: str, label: str) -> str:
    return _per(label, f"{metric}{{{IN_CLUSTER}}}")


def _place() -> list[Column]:
    """Node and cluster of a row, which lead to their pages."""
    cluster = links.column("Cluster")
    return [
        Column("node", "Node", links=[links.to_node(cluster, links.column("Node"))]),
        Column("cluster", "Cluster", links=[links.to_cluster(cluster)]),
    ]


def disks() -> Row:
    """Health, wear and place of every disk."""
    info = f"topk by (cluster, id, disk) (1, pve_node_disk_info{{{IN_CLUSTER}}})"
    about = "cluster, node, disk, device, type, model, use"
    health = coded("pve_node_disk_health", IN_CLUSTER, DISK_HEALTH, "state", "cluster, id, disk")
    failing = f'max by (cluster, id, disk) (pve_node_disk_health{{{IN_CLUSTER}, state="failed"}})'
    return Row(
        title="Disks",
        number=23,
        panels=[
            house.stat_panel(
                13,
                "Failing disks",
                "Disks that SMART calls failed (pve_node_disk_health), read once an hour. 0 is normal. The table says "
                "which: replace it, or move what is on it, today.",
                [Query(f"sum({failing})")],
                steps=limits.ANY_IS_BAD,
                no_value=NO_DISKS,
                width=12,
            ),
            house.stat_panel(
                14,
                "Most worn SSD",
                "Used-up share of the rated life of the SSD that is nearest to its end (pve_node_disk_wear_ratio). "
                "Proxmox VE shows what is left instead. Above 75 % order another.",
                [Query(f"max(pve_node_disk_wear_ratio{{{IN_CLUSTER}}})")],
                unit="percentunit",
                maximum=1,
                steps=limits.DISK_WEAR,
                no_value=NO_SSD,
                width=12,
            ),
            house.table_panel(
                15,
                "Disks",
                "Every disk of the nodes: what SMART says of it, how much of an SSD's rated life is used up, where it "
                "is now and what is on it (pve_node_disk_health, pve_node_disk_wear_ratio, pve_node_disk_info). "
                "Virtual disks and those behind a RAID controller say nothing. Failing: replace it today.",
                [
                    Query(f"max by ({about}) ({of_node(info)})"),
                    Query(_per("disk", health)),
                    Query(_figure("pve_node_disk_wear_ratio", "disk"), may_be_empty=NO_SSD),
                    Query(_figure("pve_node_disk_size_bytes", "disk")),
                ],
                [
                    *_place(),
                    Column("device", "Device"),
                    Column("Value #B", "Health", mappings=code_texts(DISK_HEALTH), colored=True),
                    ratio("Value #C", "Worn", limits.DISK_WEAR),
                    Column("type", "Type"),
                    Column("model", "Model"),
                    Column("disk", "Serial number"),
                    Column("Value #D", "Size", unit="bytes", decimals=1),
                    Column("use", "Used by"),
                ],
                hidden=["Value #A"],
                sort_by="Health",
                descending=True,
                no_value=NO_DISKS,
                height=11,
            ),
        ],
    )


def pools() -> Row:
    """ZFS pools and LVM thin pools with their metadata."""
    return Row(title="ZFS and thin pools", number=24, panels=[_zfs(), _thin()])


def _zfs() -> Panel:
    health = coded("pve_node_zfs_pool_health", IN_CLUSTER, ZFS_HEALTH, "state", "cluster, id, pool")
    size = f"(pve_node_zfs_pool_size_bytes{{{IN_CLUSTER}}} > 0)"
    return house.table_panel(
        16,
        "ZFS pools",
        "Every ZFS pool with its health in ZFS's words, how full and how fragmented it is (pve_node_zfs_pool_health, "
        "pve_node_zfs_pool_allocated_bytes, pve_node_zfs_pool_fragmentation_ratio). Online is normal. Degraded: a disk "
        "is missing, replace it. Above 80 % a pool becomes slow.",
        [
            Query(_per("pool", health), needs=[ZFS]),
            Query(_per("pool", f"pve_node_zfs_pool_allocated_bytes{{{IN_CLUSTER}}} / {size}"), needs=[ZFS]),
            Query(_figure("pve_node_zfs_pool_size_bytes", "pool"), needs=[ZFS]),
            Query(_figure("pve_node_zfs_pool_fragmentation_ratio", "pool"), needs=[ZFS]),
        ],
        [
            Column("pool", "Pool"),
            *_place(),
            Column("Value #A", "Health", mappings=code_texts(ZFS_HEALTH), colored=True),
            ratio("Value #B", "Full", limits.STORAGE_RATIO),
            Column("Value #C", "Size", unit="bytes", decimals=1),
            Column("Value #D", "Fragmented", unit="percentunit", decimals=0, maximum=1),
        ],
        sort_by="Health",
        descending=True,
        no_value=ZFS.absent,
        width=12,
        height=8,
    )


def _thin() -> Panel:
    size = f"(pve_node_thin_pool_size_bytes{{{IN_CLUSTER}}} > 0)"
    metadata = f"(pve_node_thin_pool_metadata_size_bytes{{{IN_CLUSTER}}} > 0)"
    return house.table_panel(
        17,
        "LVM thin pools",
        "Every thin pool, how full its metadata and its data are (pve_node_thin_pool_metadata_usage_bytes, "
        "pve_node_thin_pool_usage_bytes). When either is full all guests on the pool halt. Metadata above 80 %: "
        "lvextend --poolmetadatasize.",
        [
            Query(
                _per("pool", f"pve_node_thin_pool_metadata_usage_bytes{{{IN_CLUSTER}}} / {metadata}"),
            ),
            Query(_per("pool", f"pve_node_thin_pool_usage_bytes{{{IN_CLUSTER}}} / {size}")),
            Query(_figure("pve_node_thin_pool_size_bytes", "pool")),
        ],
        [
            Column("pool", "Pool"),
            *_place(),
            ratio("Value #A", "Metadata", limits.THIN_METADATA),
            ratio("Value #B", "Data", limits.STORAGE_RATIO),
            Column("Value #C", "Size", unit="bytes", decimals=1),
        ],
        sort_by="Metadata",
        descending=True,
        no_value=NO_THIN,
        width=12,
        height=8,
    )


def _of_ceph(metric: str) -> str:
    return f"max by (cluster) ({metric}{{{IN_CLUSTER}}})"


def ceph() -> Row:
    """Health, OSDs, monitors, room and placement groups of each cluster's Ceph."""
    health = coded("pve_ceph_health", IN_CLUSTER, CEPH_HEALTH, "state", "cluster")
    groups = f"sum by (cluster) (max by (cluster, state) (pve_ceph_placement_groups{{{IN_CLUSTER}, state{{}}}}))"
    unclean, all_groups = groups.replace("{}", '!~"active.clean.*"'), groups.replace(", state{}", "")
    return Row(
        title="Ceph",
        number=25,
        collapsed=True,
        panels=[
            house.state_panel(
                18,
                "Health of Ceph",
                "What each cluster's Ceph says of itself (pve_ceph_health). OK is normal; the table beside it says "
                "what it warns of. A gap: its monitors did not answer.",
                [Query(health, "{{cluster}}", needs=[CEPH])],
                code_texts(CEPH_HEALTH),
                no_value=CEPH.absent,
                width=12,
                height=6,
            ),
            house.table_panel(
                19,
                "Health checks",
                "What Ceph warns of now, without what somebody has muted (pve_ceph_health_check). An empty table is "
                "normal. ceph health detail on a node says more.",
                [
                    Query(
                        f"max by (cluster, check, severity) (pve_ceph_health_check{{{IN_CLUSTER}}})",
                        needs=[CEPH],
                        may_be_empty="Ceph warns of nothing",
                    )
                ],
                [Column("check", "Check"), Column("severity", "Severity"), Column("cluster", "Cluster")],
                hidden=["Value"],
                sort_by="Severity",
                no_value="Ceph warns of nothing, or there is none",
                width=12,
                height=6,
            ),
            _lacking(
                26,
                "OSDs that do not run",
                "OSDs that there are and do not run (pve_ceph_osds, pve_ceph_osds_up). 0 is normal; data on them have "
                "fewer copies.",
                "pve_ceph_osds",
                "pve_ceph_osds_up",
            ),
            _lacking(
                27,
                "Monitors out of quorum",
                "Monitors that do not take part in Ceph's quorum (pve_ceph_monitors, pve_ceph_monitors_in_quorum). 0 "
                "is normal; with half of them gone everything on Ceph stands still.",
                "pve_ceph_monitors",
                "pve_ceph_monitors_in_quorum",
            ),
            house.stat_panel(
                28,
                "Placement groups not clean",
                "Share of placement groups that are not active and clean (pve_ceph_placement_groups): they lack "
                "copies, or are being moved. 0 is normal; it falls by itself after an OSD has come back.",
                [Query(f"(sum({unclean}) or 0 * sum({all_groups})) / sum({all_groups})", needs=[CEPH])],
                unit="percentunit",
                maximum=1,
                steps=limits.NOT_CLEAN,
                decimals=1,
                no_value=CEPH.absent,
                width=6,
            ),
            house.stat_panel(
                29,
                "Fullest Ceph",
                "Used share of all OSDs of the fullest Ceph (pve_ceph_usage_bytes / pve_ceph_size_bytes), every copy "
                "counted. Ceph itself warns at 85 % of one OSD and stops writing at 95 %.",
                [
                    Query(
                        f"max({_of_ceph('pve_ceph_usage_bytes')} / ({_of_ceph('pve_ceph_size_bytes')} > 0))",
                        needs=[CEPH],
                    )
                ],
                unit="percentunit",
                maximum=1,
                steps=limits.CEPH_RATIO,
                no_value=CEPH.absent,
                width=6,
            ),
            house.time_panel(
                30,
                "How full Ceph is",
                "Used share of all OSDs together (pve_ceph_usage_bytes / pve_ceph_size_bytes). It has to have room for "
                "the copies of a node that is lost: of three nodes stay below two thirds.",
                [
                    Query(
                        f"{_of_ceph('pve_ceph_usage_bytes')} / ({_of_ceph('pve_ceph_size_bytes')} > 0)",
                        "{{cluster}}",
                        needs=[CEPH],
                    )
                ],
                unit="percentunit",
                maximum=1,
                steps=limits.CEPH_RATIO,
                no_value=CEPH.absent,
                width=24,
            ),
        ],
    )


def _lacking(number: int, title: str, description: str, there_are: str, that_work: str) -> Panel:
    query = Query(
        f"sum({_of_ceph(there_are)} - {_of_ceph(that_work)})", needs=[CEPH], values={"healthy": 0, "node-lost": 1}
    )
    return house.stat_panel(number, title, description, [query], steps=limits.ANY_IS_BAD, no_value=CEPH.absent, width=6)
