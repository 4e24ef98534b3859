"""The settings of alerts: thresholds, and for which guests nobody is told. docs/alerts.md lists the alerts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pvewatch.settings_base import Section

# Bounds of what one configuration may name, so that a generated file with a mistake is told as one.
MAX_ENTRIES = 10_000

AlertingMode = Literal["normal", "log", "off"]

Ratio = Annotated[float, Field(gt=0, le=1)]
Age = Annotated[float, Field(gt=0, le=315_360_000)]
GuestName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*/[1-9][0-9]{2,8}$")]
ClusterPart = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")]
Tag = Annotated[str, Field(pattern=r"^[a-z0-9_][a-z0-9_\-+.]*$")]


def _word(value: object) -> object:
    # YAML reads a bare off as false, and on as true.
    return {False: "off", True: "normal"}[value] if isinstance(value, bool) else value


Mode = Annotated[AlertingMode, BeforeValidator(_word)]


class AlertingSettings(Section):
    """How the shipped rules are rendered, and which guests are told of."""

    time_scale: float = Field(default=1.0, gt=0, le=10)
    """Multiplies the `for:` of each rule, and the interval of groups that have one; the demo lowers it."""
    mode_by_tag: dict[Tag, Mode] = Field(default={}, max_length=MAX_ENTRIES)
    """tag: `normal`, `log` (nobody is told, nothing is done) or `off` (no alerts). The strictest tag counts."""
    mode_by_guest: dict[GuestName, Mode] = Field(default={}, max_length=MAX_ENTRIES)
    """The same for single guests, as cluster/vmid; goes before their tags."""


class GuestThresholds(Section):
    """Thresholds of some guests; what is not set is as for all guests."""

    guest_memory_ratio: Ratio | None = None
    guest_cpu_ratio: Ratio | None = None
    guest_filesystem_ratio: Ratio | None = None
    guest_snapshot_age_seconds: Age | None = None


class NodeThresholds(Section):
    """Thresholds of one node; what is not set is as for all nodes."""

    node_memory_ratio: Ratio | None = None
    node_load_per_cpu: Annotated[float, Field(gt=0, le=1000)] | None = None
    node_io_wait_ratio: Ratio | None = None
    node_pressure_ratio: Ratio | None = None
    node_rootfs_ratio: Ratio | None = None
    node_disk_wear_ratio: Ratio | None = None
    node_thin_metadata_ratio: Ratio | None = None


class StorageThresholds(Section):
    """Thresholds of one storage."""

    storage_usage_ratio: Ratio | None = None


class Thresholds(Section):
    """What alerts compare figures with; a ratio of 1 switches an alert off. For a time: `pvewatch threshold set`."""

    guest_memory_ratio: Ratio = 0.95
    """Used memory, by the agent inside, or of a container; what is only cache is not counted."""
    guest_cpu_ratio: Ratio = 0.95
    """CPU use as a share of the allotted CPUs."""
    guest_filesystem_ratio: Ratio = 0.9
    """Used part of a file system inside, or of a container's root disk."""
    guest_snapshot_age_seconds: Age = 2_592_000
    """Age of the oldest snapshot."""
    node_memory_ratio: Ratio = 0.95
    """Used memory; where Proxmox VE tells what is available (since 9), that counts."""
    node_load_per_cpu: float = Field(default=2, gt=0, le=1000)
    """Load average of 15 minutes for each CPU."""
    node_io_wait_ratio: Ratio = 0.3
    """Share of CPU time spent waiting for disks."""
    node_pressure_ratio: Ratio = 0.25
    """Share of time in which everything waited for disks or memory; since Proxmox VE 9."""
    node_rootfs_ratio: Ratio = 0.9
    """Used part of the node's root file system."""
    node_disk_wear_ratio: Ratio = 0.9
    """Used-up part of an SSD's rated life; Proxmox VE shows what is left as wearout."""
    node_thin_metadata_ratio: Ratio = 0.8
    """Used part of an LVM thin pool's metadata."""
    storage_usage_ratio: Ratio = 0.9
    """Used part of a storage."""
    by_tag: dict[Tag, GuestThresholds] = Field(default={}, max_length=MAX_ENTRIES)
    """`tag: {guest_…: value}`; of a guest's several tags the one that stands first here counts."""
    by_guest: dict[GuestName, GuestThresholds] = Field(default={}, max_length=MAX_ENTRIES)
    """`cluster/vmid: {guest_…: value}`; goes before tags."""
    by_node: dict[ClusterPart, NodeThresholds] = Field(default={}, max_length=MAX_ENTRIES)
    """`cluster/node: {node_…: value}`."""
    by_storage: dict[ClusterPart, StorageThresholds] = Field(default={}, max_length=MAX_ENTRIES)
    """`cluster/storage: {storage_usage_ratio: value}`."""
