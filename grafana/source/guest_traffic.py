"""What a guest reads, writes, sends and receives, disk by disk and card by card, and how full its disks are."""

from __future__ import annotations

from grafana.source import house, limits
from grafana.source.board import Panel, Query, Row
from grafana.source.drill import ONE_GUEST, STOPPED
from grafana.source.promql import most
from grafana.source.scenarios import AGENTS

DEVICES_SHOWN = 16
NO_DEVICES = "no disk or card of its own is counted: containers' disks are not, and a guest that is stopped has none"
NO_GUEST_AGENT = "needs the QEMU guest agent, or the pvewatch agent, inside the guest"


def disks_and_network() -> Row:
    """Throughput of the whole guest and of each device; how full the file systems inside are."""
    return Row(
        title="Disks and network",
        number=21,
        panels=[
            _whole(
                12,
                "Disks in all",
                "Bytes that the guest reads and writes each second, all disks together (pve_disk_read_bytes_total, "
                "pve_disk_written_bytes_total). Nothing at all for hours in a running guest is a sign that it hangs.",
                (("read", "pve_disk_read_bytes_total"), ("written", "pve_disk_written_bytes_total")),
                "Bps",
                "",
            ),
            _whole(
                15,
                "Network in all",
                "Bits that the guest receives and sends each second, all cards together "
                "(pve_network_receive_bytes_total, pve_network_transmit_bytes_total). Near the speed of the line or "
                "of the card's limit, what uses it becomes slow.",
                (("received", "pve_network_receive_bytes_total"), ("sent", "pve_network_transmit_bytes_total")),
                "bps",
                "8 * ",
            ),
            _each(
                13,
                "Throughput of each disk",
                "Bytes read and written each second by virtual disk (pve_guest_disk_read_bytes_total, "
                "pve_guest_disk_written_bytes_total), of virtual machines. Compare with what its storage can do.",
                (("read", "pve_guest_disk_read_bytes_total"), ("written", "pve_guest_disk_written_bytes_total")),
                "Bps",
                "",
            ),
            _each(
                14,
                "Operations of each disk",
                "Read and write operations each second by virtual disk (pve_guest_disk_reads_total, "
                "pve_guest_disk_writes_total), of virtual machines. Many small ones slow a storage more than few "
                "large ones do.",
                (("reads", "pve_guest_disk_reads_total"), ("writes", "pve_guest_disk_writes_total")),
                "iops",
                "",
            ),
            _each(
                16,
                "Each network card",
                "Bits received and sent each second by network card, as the node counts them "
                "(pve_guest_network_receive_bytes_total, pve_guest_network_transmit_bytes_total). A card that only "
                "sends, or only receives, is often on the wrong VLAN.",
                (
                    ("received", "pve_guest_network_receive_bytes_total"),
                    ("sent", "pve_guest_network_transmit_bytes_total"),
                ),
                "bps",
                "8 * ",
            ),
            _file_systems(),
        ],
    )


def _whole(
    number: int, title: str, description: str, metrics: tuple[tuple[str, str], ...], unit: str, scale: str
) -> Panel:
    return house.time_panel(
        number,
        title,
        description,
        [
            Query(f"{scale}max by (cluster, id) (rate({metric}{{{ONE_GUEST}}}[$__rate_interval]))", legend)
            for legend, metric in metrics
        ],
        unit=unit,
        width=12,
        no_value=STOPPED,
    )


def _each(
    number: int, title: str, description: str, metrics: tuple[tuple[str, str], ...], unit: str, scale: str
) -> Panel:
    return house.time_panel(
        number,
        title,
        f"{description} The {DEVICES_SHOWN} busiest.",
        [
            Query(
                f"topk({DEVICES_SHOWN}, {scale}max by (device) (rate({metric}{{{ONE_GUEST}}}[$__rate_interval])))",
                f"{{{{device}}}} {legend}",
                may_be_empty=NO_DEVICES,
            )
            for legend, metric in metrics
        ],
        unit=unit,
        many=True,
        width=12,
        no_value=NO_DEVICES,
    )


def _file_systems() -> Panel:
    by_guest_agent = (
        f"max by (mountpoint) (pve_guest_filesystem_usage_bytes{{{ONE_GUEST}}}) / "
        f"(max by (mountpoint) (pve_guest_filesystem_size_bytes{{{ONE_GUEST}}}) > 0)"
    )
    by_agent = (
        f"1 - max by (mountpoint) (pvewatch_agent_filesystem_available_bytes{{{ONE_GUEST}}}) / "
        f"(max by (mountpoint) (pvewatch_agent_filesystem_size_bytes{{{ONE_GUEST}}}) > 0)"
    )
    rootfs = f"({most('pve_disk_usage_bytes', ONE_GUEST)} > 0) / ({most('pve_disk_size_bytes', ONE_GUEST)} > 0)"
    return house.bar_panel(
        17,
        "File systems inside",
        "How full the file systems are, as the QEMU guest agent tells (pve_guest_filesystem_usage_bytes), as the "
        "pvewatch agent does (pvewatch_agent_filesystem_available_bytes, what is reserved for root counted as used), "
        "and of a container as its node knows it (pve_disk_usage_bytes). Above 90 % make room inside.",
        [
            Query(
                f"topk({DEVICES_SHOWN}, {by_guest_agent})", "{{mountpoint}}, guest agent", may_be_empty=NO_GUEST_AGENT
            ),
            Query(f"topk({DEVICES_SHOWN}, {by_agent})", "{{mountpoint}}, agent", needs=[AGENTS]),
            Query(rootfs, "root disk of the container", may_be_empty="Proxmox VE does not know it of virtual machines"),
        ],
        unit="percentunit",
        maximum=1,
        steps=limits.FILESYSTEM_RATIO,
        width=12,
        no_value=NO_GUEST_AGENT,
    )
