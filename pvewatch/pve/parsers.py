"""Answers of Proxmox VE → models. Every oddity of the real API is known here and nowhere else.

Numbers come as strings, lists hold mixed types, keys are absent rather than null, list-valued texts change their
order between calls. A value that makes no sense becomes None; a row without identity is skipped and counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from pvewatch import probes
from pvewatch.pve.addresses import configured_addresses
from pvewatch.pve.models import (
    ClusterStatus,
    Guest,
    GuestConfig,
    GuestKind,
    GuestStatus,
    Node,
    NodeDetail,
    NodeStatusRow,
    Number,
    Resources,
    Storage,
    Task,
    Version,
)

_UPID = re.compile(
    r"UPID:(?P<node>[^:\s/]+):(?P<pid>[0-9A-Fa-f]{8,9}):(?P<pstart>[0-9A-Fa-f]{8,9}):(?P<started>[0-9A-Fa-f]{8}):"
    r"(?P<type>[^:\s/]+):(?P<id>[^:\s/]*):(?P<user>[^:\s/]+):"
)
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_SIZE_LIMIT = 2**63
_Item = TypeVar("_Item")


class WrongShape(ValueError):
    """The answer as a whole is not what this call gives, for example a text where a list belongs."""


def number(value: object) -> Number | None:
    """A finite number, also from its text form; None for anything else (`N/A`, null, lists, NaN)."""
    if isinstance(value, str):
        value = _number_in(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value if -_SIZE_LIMIT < value < _SIZE_LIMIT else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return None


def _number_in(words: str) -> Number | None:
    text = words.strip()
    # int() and float() would also take "1_000" and "٣"; PVE never means those.
    if not re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", text, re.ASCII) or len(text) > 40:
        return None
    return float(text) if any(mark in text for mark in ".eE") else int(text)


def amount(value: object) -> Number | None:
    """A number that is not negative: bytes, counts, shares."""
    found = number(value)
    return found if found is not None and found >= 0 else None


def flag(value: object) -> bool:
    """PVE's booleans: 1, "1", true, "yes", "on"; all else, absence included, is false."""
    return number(value) == 1 or (isinstance(value, str) and value.strip().lower() in {"yes", "on", "true"})


def text(value: object) -> str | None:
    """A non-empty text; numbers become text, anything else None."""
    if isinstance(value, str):
        # Half a surrogate pair is valid JSON, but can neither be stored nor shown: it becomes a question mark.
        return (value if value.isascii() else value.encode("utf-8", "replace").decode()) or None
    if isinstance(value, bool | list | dict) or value is None:
        return None
    return str(value)


def rows(data: object) -> list[Mapping[str, Any]]:
    """The mappings in a list answer. Raises WrongShape when the answer is no list."""
    if not isinstance(data, list):
        raise WrongShape(f"a list was expected, not {type(data).__name__}")
    return [row for row in data if isinstance(row, dict)]


def mapping(data: object) -> Mapping[str, Any]:
    """A mapping answer. Raises WrongShape when it is none."""
    if not isinstance(data, dict):
        raise WrongShape(f"a mapping was expected, not {type(data).__name__}")
    return data


def version(data: object) -> Version:
    """`/version`."""
    row = mapping(data)
    found = text(row.get("version"))
    if found is None:
        raise WrongShape("the answer has no version")
    return Version(version=found, release=text(row.get("release")), repoid=text(row.get("repoid")))


def cluster_status(data: object) -> ClusterStatus:
    """`/cluster/status`; nodes sorted by name, since PVE gives them in random order."""
    cluster: Mapping[str, Any] | None = None
    nodes = []
    for row in rows(data):
        name = text(row.get("name"))
        if row.get("type") == "cluster":
            cluster = cluster or row
        elif row.get("type") == "node" and name:
            nodes.append(
                NodeStatusRow(
                    name=name,
                    nodeid=_integer(row.get("nodeid")),
                    ip=text(row.get("ip")),
                    level=cast(str, row["level"]) if isinstance(row.get("level"), str) else None,
                    local=flag(row.get("local")),
                    online=flag(row.get("online")),
                )
            )
    found = cluster or {}
    return ClusterStatus(
        name=text(found.get("name")),
        quorate=flag(found.get("quorate")) if "quorate" in found else None,
        version=_integer(found.get("version")),
        node_count=_integer(found.get("nodes")),
        nodes=tuple(sorted(nodes, key=lambda node: node.name)),
    )


def resources(data: object, breathe: Callable[[], None] = lambda: None) -> Resources:
    """`/cluster/resources`, in a stable order; row types that are not used (sdn, network, …) are ignored.

    `breathe` is called after each row: of thousands it is a fifth of a second's work.
    """
    guests: list[Guest] = []
    nodes: list[Node] = []
    storages: list[Storage] = []
    pools: list[str] = []
    skipped = 0
    found = rows(data)
    skipped += len(cast(list[Any], data)) - len(found)
    for row in found:
        kind = row.get("type")
        known = True
        if kind in ("qemu", "lxc"):
            known = _collect(guests, guest(row, cast(GuestKind, kind)))
        elif kind == "node":
            known = _collect(nodes, node(row))
        elif kind == "storage":
            known = _collect(storages, storage(row))
        elif kind == "pool":
            known = _collect(pools, text(row.get("pool")))
        skipped += not known
        breathe()
    return Resources(
        guests=tuple(sorted(guests, key=lambda item: (item.vmid, item.kind))),
        nodes=tuple(sorted(nodes, key=lambda item: item.name)),
        storages=tuple(sorted(storages, key=lambda item: item.id)),
        pools=tuple(sorted(pools)),
        skipped=skipped,
    )


def _collect(into: list[_Item], item: _Item | None) -> bool:
    if item is not None:
        into.append(item)
    return item is not None


def guest(row: Mapping[str, Any], kind: GuestKind) -> Guest | None:
    """A guest row; None when it has no VMID or no node."""
    vmid = _integer(row.get("vmid"))
    where = text(row.get("node"))
    if vmid is None or vmid <= 0 or where is None:
        return None
    return Guest(
        id=f"{kind}/{vmid}",
        kind=kind,
        vmid=vmid,
        node=where,
        status=text(row.get("status")) or "unknown",
        name=text(row.get("name")),
        template=flag(row.get("template")),
        cpu_ratio=number(row.get("cpu")),
        cpu_limit=number(row.get("maxcpu")),
        memory_used_bytes=number(row.get("mem")),
        memory_limit_bytes=number(row.get("maxmem")),
        memory_host_bytes=number(row.get("memhost")),
        disk_used_bytes=number(row.get("disk")),
        disk_limit_bytes=number(row.get("maxdisk")),
        net_in_bytes=number(row.get("netin")),
        net_out_bytes=number(row.get("netout")),
        disk_read_bytes=number(row.get("diskread")),
        disk_write_bytes=number(row.get("diskwrite")),
        uptime_seconds=number(row.get("uptime")),
        pool=text(row.get("pool")),
        lock=text(row.get("lock")),
        tags=text(row.get("tags")),
        ha_state=text(row.get("hastate")),
    )


def node(row: Mapping[str, Any]) -> Node | None:
    """A node row; None when it has no name."""
    name = text(row.get("node"))
    if name is None:
        return None
    return Node(
        id=f"node/{name}",
        name=name,
        status=text(row.get("status")) or "unknown",
        cpu_ratio=number(row.get("cpu")),
        cpu_limit=number(row.get("maxcpu")),
        memory_used_bytes=number(row.get("mem")),
        memory_limit_bytes=number(row.get("maxmem")),
        disk_used_bytes=number(row.get("disk")),
        disk_limit_bytes=number(row.get("maxdisk")),
        uptime_seconds=number(row.get("uptime")),
        level=cast(str, row["level"]) if isinstance(row.get("level"), str) else None,
        ha_state=text(row.get("hastate")),
    )


def storage(row: Mapping[str, Any]) -> Storage | None:
    """A storage row; None when it has no name or no node."""
    name, where = text(row.get("storage")), text(row.get("node"))
    if name is None or where is None:
        return None
    content = row.get("content")
    return Storage(
        id=f"storage/{where}/{name}",
        storage=name,
        node=where,
        status=text(row.get("status")) or "unknown",
        plugin_type=text(row.get("plugintype")),
        # PVE gives the list in another order at every call: unsorted it would be a new series at every scrape.
        content=tuple(sorted({part for part in str(content).split(",") if part})) if isinstance(content, str) else (),
        shared=flag(row.get("shared")),
        disk_used_bytes=number(row.get("disk")),
        disk_limit_bytes=number(row.get("maxdisk")),
    )


def node_status(data: object, name: str) -> NodeDetail:
    """`/nodes/{node}/status`; load averages and MHz come as strings."""
    row = mapping(data)

    def part(key: str) -> Mapping[str, Any]:
        value = row.get(key)
        return value if isinstance(value, dict) else {}

    loads = row.get("loadavg")
    load = [number(value) for value in loads[:3]] if isinstance(loads, list) else []
    load += [None] * (3 - len(load))
    memory, swap, rootfs = part("memory"), part("swap"), part("rootfs")
    return NodeDetail(
        node=name,
        load=(load[0], load[1], load[2]),
        io_wait_ratio=number(row.get("wait")),
        cpu_ratio=number(row.get("cpu")),
        cpus=number(part("cpuinfo").get("cpus")),
        memory_used_bytes=number(memory.get("used")),
        memory_free_bytes=number(memory.get("free")),
        memory_available_bytes=number(memory.get("available")),
        memory_total_bytes=number(memory.get("total")),
        swap_used_bytes=number(swap.get("used")),
        swap_total_bytes=number(swap.get("total")),
        rootfs_used_bytes=number(rootfs.get("used")),
        rootfs_total_bytes=number(rootfs.get("total")),
        ksm_shared_bytes=number(part("ksm").get("shared")),
        uptime_seconds=number(row.get("uptime")),
        kernel_version=text(part("current-kernel").get("release")) or _kernel(text(row.get("kversion"))),
        pve_version=_manager_version(text(row.get("pveversion"))),
    )


def guest_config(data: object) -> GuestConfig:
    """`…/config`. `agent` is on for `1`, `enabled=1` and `1,fstrim_cloned_disks=1` alike."""
    row = mapping(data)
    options = [part.strip() for part in str(row.get("agent", "")).split(",")]
    return GuestConfig(
        onboot=flag(row["onboot"]) if "onboot" in row else None,
        agent=any(flag(part.removeprefix("enabled=")) for part in options if "=" not in part or "enabled=" in part),
        protection=flag(row.get("protection")),
        template=flag(row.get("template")),
        smbios_uuid=_smbios_uuid(row.get("smbios1")),
        addresses=configured_addresses(row),
        probe_requests=probes.in_notes(text(row.get("description"))),
    )


def _smbios_uuid(smbios1: object) -> str | None:
    """`uuid` of `smbios1: uuid=…,manufacturer=…` (never base64, unlike the other keys); all zeros is no UUID."""
    for part in str(smbios1 or "").split(","):
        key, _, value = part.strip().partition("=")
        if key == "uuid" and _UUID.fullmatch(value) and value.strip("0-"):
            return value.lower()
    return None


def guest_status(data: object) -> GuestStatus:
    """`…/status/current`."""
    row = mapping(data)
    ha = row.get("ha")
    ha = ha if isinstance(ha, dict) else {}
    return GuestStatus(
        status=text(row.get("status")) or "unknown",
        qmp_status=text(row.get("qmpstatus")),
        lock=text(row.get("lock")),
        uptime_seconds=number(row.get("uptime")),
        ha_managed=flag(ha.get("managed")),
        ha_state=text(ha.get("state")),
        template=flag(row.get("template")),
        name=text(row.get("name")),
    )


def upid(value: object) -> str:
    """A task id as an action's answer. Raises WrongShape when it is none."""
    if isinstance(value, str) and _UPID.fullmatch(value):
        return value
    raise WrongShape("the answer is no task id (UPID)")


def upid_node(value: str) -> str:
    """The node on which the task runs: only that node knows it. Raises WrongShape for anything but a UPID."""
    match = _UPID.fullmatch(value)
    if match is None:
        raise WrongShape(f"{value[:80]!r} is no task id (UPID)")
    return match["node"]


def task(row: Mapping[str, Any]) -> Task | None:
    """A task of a list, or the answer of `tasks/{upid}/status`; None when it has no readable UPID.

    Lists put the exit text into `status`, the single answer into `exitstatus`; a running one has no end and says
    RUNNING, running or nothing.
    """
    match = _UPID.fullmatch(text(row.get("upid")) or "")
    if match is None:
        return None
    status, exit_status = text(row.get("status")), text(row.get("exitstatus"))
    ended = number(row.get("endtime"))
    if exit_status is None and status not in ("stopped", "running", "RUNNING"):
        exit_status = status
    running = exit_status is None and ended is None and status != "stopped"
    started = number(row.get("starttime"))
    return Task(
        upid=match[0],
        node=match["node"],
        type=match["type"],
        id=match["id"],
        user=match["user"],
        started=float(started if started is not None else int(match["started"], 16)),
        ended=None if ended is None else float(ended),
        running=running,
        exit_status=exit_status,
    )


def tasks(data: object) -> tuple[Task, ...]:
    """A list of tasks, newest first."""
    found = [item for row in rows(data) if (item := task(row))]
    return tuple(sorted(found, key=lambda item: item.started, reverse=True))


def task_log(data: object) -> tuple[str, ...]:
    """`tasks/{upid}/log`. PVE 8.4 answers an object instead of a list where the log is missing: no lines."""
    if isinstance(data, dict):
        return ()
    return tuple(str(row.get("t", "")) for row in rows(data))


def _integer(value: object) -> int | None:
    found = number(value)
    return int(found) if found is not None and found == int(found) else None


def _kernel(value: str | None) -> str | None:
    """`Linux 6.8.12-4-pve #1 SMP …` → `6.8.12-4-pve`."""
    if value is None:
        return None
    parts = value.split()
    return parts[1] if len(parts) > 1 and parts[0] == "Linux" else value


def _manager_version(value: str | None) -> str | None:
    """`pve-manager/8.4.21/2606ac850d46da29` → `8.4.21`."""
    parts = (value or "").split("/")
    return parts[1] if len(parts) > 1 else value
