"""Proxmox VE / Storage: what is full, what will be, what each storage may hold, and where one is not available.

What storages stand on, disks, pools and Ceph, is in storage_disks.py.

Sums and forecasts stand on recording rules (prometheus/rules/capacity.yml): one series per storage, a shared one once,
a point each minute.
"""

from __future__ import annotations

from grafana.source import house, limits, links, marks, storage_disks, variables
from grafana.source.board import Built, Column, Panel, Query, Row
from grafana.source.drill import ratio
from grafana.source.promql import IN_CLUSTER, ZERO, most
from grafana.source.states import AVAILABLE, YES_NO

UID = links.STORAGE
SHOWN = 15
DAY = 86400
# A forecast needs a quarter of a day's figures, and one of a month those of a day: less is noise.
TOO_YOUNG = "it does not grow, or is not known for long enough"
YOUNG_DAY, YOUNG_WEEK = "6h", "1d"
NO_STORAGE = "no storage: a token without Datastore.Audit sees none"
EVERYWHERE = "all nodes"
CONTENTS = {
    "images": "disks of virtual machines",
    "rootdir": "disks of containers",
    "backup": "backups",
    "iso": "ISO images",
    "vztmpl": "container templates",
}

CHOSEN = f'{IN_CLUSTER}, storage=~"$storage"'
INFO = f"topk by (cluster, id) (1, pve_storage_info{{{CHOSEN}}})"
USED = f"storage:pve_disk_usage_bytes:max{{{CHOSEN}}}"
SIZE = f"(storage:pve_disk_size_bytes:max{{{CHOSEN}}} > 0)"
# Bytes each second over a day.
GROWTH = f"(deriv({USED}[1d]) and {USED} offset {YOUNG_DAY})"
FULL_IN = f"({SIZE} - {USED}) / ({GROWTH} > 0)"
IN_A_MONTH = f"clamp(predict_linear({USED}[7d], {30 * DAY}) / {SIZE}, 0, 1) and {USED} offset {YOUNG_WEEK}"


def placed(expr: str) -> str:
    """`expr` per storage with the node where it is; a shared one is on all."""
    return f'label_replace(max by (cluster, storage, node) ({expr}), "node", "{EVERYWHERE}", "node", "")'


def storage() -> Built:
    """The chosen storages of the chosen clusters."""
    return house.build(
        UID,
        "Storage",
        "storage",
        "Storages of one or all clusters: capacity, growth, forecast, what they may hold, and what they stand on.",
        variables=[variables.cluster(several=True), variables.storage(several=True)],
        annotations=[marks.alerts()],
        rows=[
            _first_row(),
            _list(),
            _over_time(),
            storage_disks.disks(),
            storage_disks.pools(),
            storage_disks.ceph(),
            _contents(),
        ],
    )


def _first_row() -> Row:
    up = f'max by (cluster, id) (pve_up{{{IN_CLUSTER}, id=~"storage/[^/]+/($storage)"}})'
    return Row(
        [
            house.stat_panel(
                1,
                "Fullest storage",
                "How full the fullest of the chosen storages is (pve_disk_usage_bytes / pve_disk_size_bytes). Above "
                "80 % make room; above 90 % guests on thin storage are about to stop with I/O errors.",
                [Query(f"max({USED} / {SIZE})")],
                unit="percentunit",
                maximum=1,
                steps=limits.STORAGE_RATIO,
                no_value=NO_STORAGE,
            ),
            house.stat_panel(
                2,
                "Full soonest",
                "When the first of the chosen storages is full if it goes on growing as in the last day "
                "(pve_disk_usage_bytes). A backup or a restore of today makes it look worse than it is: see the "
                "forecast from a week below.",
                [Query(f"min({FULL_IN})", may_be_empty=TOO_YOUNG)],
                unit="s",
                steps=limits.FULL_IN,
                no_value=f"none: {TOO_YOUNG}",
            ),
            house.stat_panel(
                3,
                "Used in all",
                "Used part of all chosen storages together, a shared one counted once (pve_disk_usage_bytes).",
                [Query(f"sum({USED})")],
                unit="bytes",
                decimals=1,
                no_value=NO_STORAGE,
            ),
            house.stat_panel(
                4,
                "Size in all",
                "Size of all chosen storages together, a shared one counted once (pve_disk_size_bytes). Thin storage "
                "may have promised more than this to guests.",
                [Query(f"sum({SIZE})")],
                unit="bytes",
                decimals=1,
                no_value=NO_STORAGE,
            ),
            house.stat_panel(
                5,
                "Growth in a day",
                "How much more all chosen storages hold than a day ago, by the trend of the last day "
                "(pve_disk_usage_bytes); negative where they are emptied.",
                [Query(f"{DAY} * sum({GROWTH})", may_be_empty=TOO_YOUNG)],
                unit="bytes",
                decimals=1,
                no_value=TOO_YOUNG,
            ),
            house.stat_panel(
                6,
                "Not available",
                "Storages that a node has and cannot reach, counted for each node, those of a lost node included "
                "(pve_up). 0 is normal. The table "
                "below says which; guests on them have no disks.",
                [Query(f"count({up} == 0) or {ZERO}", values={"healthy": 0, "standalone": 0, "node-lost": 3})],
                steps=limits.ANY_IS_BAD,
            ),
        ]
    )


def _list() -> Row:
    local = f"({INFO} and on (cluster, id) ({most('pve_storage_shared')} == 0))"
    shared = f"({INFO} and on (cluster, id) ({most('pve_storage_shared')} == 1))"
    both = f'({local} or label_replace({shared}, "node", "{EVERYWHERE}", "", ""))'
    kinds = "max by (cluster, storage, node, plugintype, content) "
    up = f"{both} * on (cluster, id) group_left () {most('pve_up')}"
    is_shared = f"{both} * on (cluster, id) group_left () {most('pve_storage_shared')}"
    missing = f"({most('pve_up')} == 0) * on (cluster, id) group_left (storage, node, plugintype) {INFO}"
    gone = f"max by (cluster, node, storage, plugintype) (1 + {missing})"
    here = links.column("Cluster")
    return Row(
        title="Storages",
        number=20,
        panels=[
            house.table_panel(
                7,
                "Storages",
                "Every chosen storage, a shared one once: what it is and may hold, how full it is, how it grew in the "
                "last day, and when it is full if it goes on like that (pve_storage_info, pve_disk_usage_bytes, "
                "pve_disk_size_bytes). No growth, or less than six hours of figures: no forecast.",
                [
                    Query(f"{kinds}({both})"),
                    Query(placed(f"{USED} / {SIZE}")),
                    Query(placed(USED)),
                    Query(placed(SIZE)),
                    Query(placed(f"{DAY} * {GROWTH}"), may_be_empty=TOO_YOUNG),
                    Query(placed(FULL_IN), may_be_empty=TOO_YOUNG),
                    Query(f"min by (cluster, storage, node) ({up})"),
                    Query(f"max by (cluster, storage, node) ({is_shared})"),
                ],
                [
                    Column("storage", "Storage", links=[links.to_storage(here, links.column("Storage"))]),
                    Column("cluster", "Cluster", links=[links.to_cluster(here), links.cluster_in_pve(here)]),
                    Column("node", "Node"),
                    Column(
                        "Value #G",
                        "State",
                        mappings=house.value_map(AVAILABLE, ("Unknown", "purple")),
                        colored=True,
                    ),
                    ratio("Value #B", "Full", limits.STORAGE_RATIO),
                    Column("Value #C", "Used", unit="bytes", decimals=1),
                    Column("Value #D", "Size", unit="bytes", decimals=1),
                    Column("Value #E", "Growth in a day", unit="bytes", decimals=1),
                    Column("Value #F", "Full in", unit="s", decimals=0, steps=limits.FULL_IN, colored=True),
                    Column("plugintype", "Type"),
                    Column("content", "May hold"),
                    Column("Value #H", "Shared", mappings=house.value_map(YES_NO, ("Unknown", "purple"))),
                ],
                hidden=["Value #A"],
                sort_by="Full",
                descending=True,
                no_value="none",
                height=11,
            ),
            _bars(
                8,
                "Full in 30 days",
                "How full each storage is in 30 days if it goes on as in the last 7 days (pve_disk_usage_bytes), the "
                f"{SHOWN} fullest; full is where the bar ends. Only storages known for a day. Above 80 % order disks.",
                IN_A_MONTH,
            ),
            house.table_panel(
                9,
                "Not available now",
                "Storages that a node has and cannot reach (pve_up). An empty table is normal. Otherwise look at the "
                "storage's server and at the network, then at the node's journal of pvestatd.",
                [Query(gone, may_be_empty="every storage is available")],
                [
                    Column("storage", "Storage"),
                    Column("node", "Node", links=[links.to_node(here, links.column("Node"))]),
                    Column("cluster", "Cluster", links=[links.to_cluster(here), links.cluster_in_pve(here)]),
                    Column("plugintype", "Type"),
                ],
                hidden=["Value"],
                sort_by="Storage",
                no_value="every storage is available",
                width=12,
                height=8,
            ),
        ],
    )


def _bars(number: int, title: str, description: str, expr: str) -> Panel:
    return house.bar_panel(
        number,
        title,
        description,
        [Query(placed(f"topk({SHOWN}, {expr})"), "{{storage}} on {{node}} of {{cluster}}", may_be_empty=TOO_YOUNG)],
        unit="percentunit",
        maximum=1,
        steps=limits.STORAGE_RATIO,
        no_value=TOO_YOUNG,
    )


def _over_time() -> Row:
    # The same few lines from left to right: those that are fullest, or largest, at the end.
    ratio_of = f"{USED} / {SIZE}"
    fullest = f"({ratio_of}) and topk({SHOWN}, {USED} @ end() / (storage:pve_disk_size_bytes:max{{{CHOSEN}}} @ end()))"
    largest = f"{USED} and topk({SHOWN}, {USED} @ end())"
    ways = [links.to_storage(links.label("cluster"), links.label("storage"))]
    legend = "{{storage}} on {{node}} of {{cluster}}"
    return Row(
        title="Over time",
        number=21,
        panels=[
            house.time_panel(
                10,
                "How full",
                f"Used part of the size, of the {SHOWN} storages that are fullest at the end of the range shown "
                "(pve_disk_usage_bytes / pve_disk_size_bytes). Choose 7 or 30 days to see whether it grows steadily "
                "or with backups.",
                [Query(placed(fullest), legend)],
                unit="percentunit",
                maximum=1,
                steps=limits.STORAGE_RATIO,
                many=True,
                links=ways,
                no_value=NO_STORAGE,
            ),
            house.time_panel(
                11,
                "Used",
                f"Used bytes of the {SHOWN} storages that hold most at the end of the range shown "
                "(pve_disk_usage_bytes). A fall after backups were pruned is normal; a jump is a restore, a new guest "
                "or a snapshot that grows.",
                [Query(placed(largest), legend)],
                unit="bytes",
                many=True,
                links=ways,
                no_value=NO_STORAGE,
            ),
        ],
    )


def _contents() -> Row:
    free = f"({SIZE} - {USED})"
    queries = []
    for content, text in CONTENTS.items():
        holds = f'pve_storage_info{{{CHOSEN}, content=~"(.+,)?{content}(,.+)?"}}'
        # A shared storage is recorded without a node, its description has one for each.
        local = f"({free} and on (cluster, storage, node) {holds})"
        elsewhere = f"({free} unless on (cluster, storage, node) pve_storage_info{{{CHOSEN}}})"
        shared = f"{elsewhere} and on (cluster, storage) {holds}"
        queries.append(Query(f"sum({local} or ({shared}))", text, may_be_empty=f"no storage may hold {text}"))
    return Row(
        title="Room for each kind of content",
        number=22,
        collapsed=True,
        panels=[
            house.bar_panel(
                12,
                "Room for each kind of content",
                "Free space of all chosen storages that may hold each kind of content (pve_storage_info, "
                "pve_disk_size_bytes, pve_disk_usage_bytes). A storage that may hold several kinds counts for each "
                "of them, so these do not add up.",
                queries,
                unit="bytes",
                maximum=None,
                steps=((None, limits.WELL),),
                decimals=1,
                width=24,
                height=7,
                no_value=NO_STORAGE,
            )
        ],
    )
