"""Guests that use little of what they have, or have not run at all. Peaks of a week are recorded."""

from __future__ import annotations

from grafana.source import house, limits
from grafana.source.board import Column, Panel, Query, Row
from grafana.source.capacity_promql import YOUNG, known_for, recorded
from grafana.source.drill import ratio
from grafana.source.listed import IDENTIFIED, guest_columns
from grafana.source.promql import GUESTS, TEMPLATES, most, with_label

LISTED = 100
NONE = "none, or a week of figures is not there yet"

_RUNNING = f"({most('pve_guest_status', with_label('status', 'running'))} == 1)"
_CPU_PEAK = recorded("guest:pve_cpu_usage_ratio:max7d")
_MEMORY_PEAK = recorded("guest:pve_memory_usage_bytes:max7d")
_CPUS = most("pve_cpu_usage_limit", GUESTS)
_MEMORY = most("pve_memory_size_bytes", GUESTS)
_TEMPLATE_IDS = f"max by (cluster, id) ({TEMPLATES})"
_KNOWN = known_for("guest:pve_memory_usage_bytes:avg5m", 6)


def right_sizing_row() -> Row:
    """Three lists of at most 100 guests."""
    return Row([_memory(), _cpus(), _off()], number=32, title="Right-sizing", collapsed=True)


def unused_memory() -> str:
    """Bytes that each running guest was given and has not used in a week, where that is more than half."""
    little = f"{_MEMORY_PEAK} < {limits.LITTLE_MEMORY} * {_MEMORY}"
    return f"(({_MEMORY} - {_MEMORY_PEAK}) and ({little}) and {_RUNNING} and {_KNOWN})"


def _unused_cpus() -> str:
    little = f"{_CPU_PEAK} < {limits.LITTLE_CPU}"
    return f"((({_CPUS} > 1) * (1 - {_CPU_PEAK})) and ({little}) and {_RUNNING} and {_KNOWN})"


def _memory() -> Panel:
    most_unused = f"topk({LISTED}, {unused_memory()})"
    return house.table_panel(
        20,
        "Memory that guests never use",
        f"Running guests that used less than half of their memory in a week at their busiest (five-minute averages of "
        f"pve_memory_usage_bytes), the {LISTED} with most unused. Proxmox VE counts the caches of a VM without a "
        "balloon driver as used, so such a VM is missing here rather than listed wrongly. Leave room for what happens "
        "once a month.",
        [
            Query(f"{most_unused} {IDENTIFIED}", may_be_empty=YOUNG),
            Query(f"{_MEMORY} and {most_unused}", may_be_empty=YOUNG),
            Query(f"{_MEMORY_PEAK} / {_MEMORY} and {most_unused}", may_be_empty=YOUNG),
        ],
        [
            *guest_columns(),
            Column("Value #B", "Memory", unit="bytes", decimals=1),
            ratio("Value #C", "Busiest in a week"),
            Column("Value #A", "Never used", unit="bytes", decimals=1),
        ],
        hidden=["id"],
        sort_by="Never used",
        descending=True,
        no_value=NONE,
        height=9,
    )


def _cpus() -> Panel:
    most_unused = f"topk({LISTED}, {_unused_cpus()})"
    return house.table_panel(
        21,
        "CPUs that guests never use",
        f"Running guests with several CPUs that used less than a quarter of them in a week at their busiest "
        f"(five-minute averages of pve_cpu_usage_ratio), the {LISTED} with most unused. CPUs that idle cost little, "
        "but a VM with many is harder to schedule than one with few.",
        [
            Query(f"{most_unused} {IDENTIFIED}", may_be_empty=YOUNG),
            Query(f"{_CPUS} and {most_unused}", may_be_empty=YOUNG),
            Query(f"max by (cluster, id) ({_CPU_PEAK}) and {most_unused}", may_be_empty=YOUNG),
        ],
        [
            *guest_columns(),
            Column("Value #B", "CPUs", unit="none", decimals=0),
            ratio("Value #C", "Busiest in a week"),
            Column("Value #A", "Never used", unit="none", decimals=1),
        ],
        hidden=["id"],
        sort_by="Never used",
        descending=True,
        no_value=NONE,
        height=9,
    )


def _off() -> Panel:
    off = f"(({most('pve_disk_size_bytes', GUESTS)} and ({_MEMORY_PEAK} == 0) and {_KNOWN}) unless {_TEMPLATE_IDS})"
    return house.table_panel(
        22,
        "Guests that did not run for a week",
        f"Guests that used no memory in seven days, templates left out, the {LISTED} with the largest root disks "
        "(pve_memory_usage_bytes, pve_disk_size_bytes). Their disks, backups and addresses are still held.",
        [Query(f"topk({LISTED}, {off}) {IDENTIFIED}", may_be_empty=YOUNG)],
        [*guest_columns(), Column("Value", "Root disk", unit="bytes", decimals=1)],
        hidden=["id"],
        sort_by="Root disk",
        descending=True,
        no_value=NONE,
        height=9,
    )
