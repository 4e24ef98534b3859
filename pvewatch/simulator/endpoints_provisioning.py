"""What guests are made of and saved to: /nodes/N/network, the content of storages, and /nodes/N/aplinfo.

Every node has two bridges on one network card. Storages for templates have two of them, shared storages for backups
the last two of each guest. Content and its refusals are as recorded; /nodes/N/aplinfo follows pve-manager's source.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from pvewatch.simulator.answers import Answer, failed
from pvewatch.simulator.figures import fraction
from pvewatch.simulator.routes import Call, Parameter, Route
from pvewatch.simulator.world import MIB, Storage

_DAY = 86400
# name, version, what it is
_TEMPLATES = (
    ("debian-12-standard", "12.7-1", "Debian 12 Bookworm (standard)"),
    ("alpine-3.20-default", "20240908", "LXC default image for alpine 3.20"),
)
_APPLIANCES = (*_TEMPLATES, ("ubuntu-24.04-standard", "24.04-2", "Ubuntu 24.04 Noble (standard)"))
_ZONE = "/sdn/zones/localnetwork"


def network(call: Call) -> Answer:
    """/nodes/N/network: since 8, of bridges asked for by type those without SDN.Audit or SDN.Use are missing."""
    node = call.node
    address = {"method": "static", "address": node.ip, "netmask": "24", "cidr": f"{node.ip}/24", "gateway": "192.0.2.1"}
    rows = [
        _interface("eno1", "eth", 3),
        _interface("vmbr0", "bridge", 4, bridge_ports="eno1", **address),
        _interface("vmbr1", "bridge", 5, bridge_ports=""),
    ]
    wanted = call.parameters.get("type")
    if wanted is None:
        return Answer(rows)
    if call.cluster.world.version.major >= 8 and not call.token.may(_ZONE, "SDN.Audit", "SDN.Use"):
        return Answer([])
    kind = "bridge" if wanted == "any_bridge" else wanted
    return Answer([row for row in rows if row["type"] == kind])


def _interface(name: str, kind: str, priority: int, **more: Any) -> dict[str, Any]:
    common = {"iface": name, "type": kind, "priority": priority, "active": 1, "families": ["inet"]}
    bridge = {"autostart": 1, "bridge_fd": "0", "bridge_stp": "off"} if kind == "bridge" else {}
    return {**common, "method": "manual", "method6": "manual", **bridge, **more}


def content(call: Call) -> Answer:
    """/nodes/N/storage/S/content: a backup that the token may not restore is missing without a word."""
    name = call.names["storage"]
    call.token.require(f"/storage/{name}", "Datastore.Audit", "Datastore.AllocateSpace")
    storage = next((found for found in call.cluster.world.storages if found.name == name), None)
    if storage is None:
        raise failed(f"storage '{name}' does not exist")
    wanted, vmid = call.parameters.get("content"), call.parameters.get("vmid")
    rows = [*_templates(storage, call), *_backups(storage, call)]
    return Answer(
        [row for row in rows if wanted in (None, row["content"]) and vmid in (None, row.get("vmid"))],
    )


def _templates(storage: Storage, call: Call) -> Iterator[dict[str, Any]]:
    if "vztmpl" in storage.content.split(","):
        for name, version, _ in _TEMPLATES:
            yield {
                "content": "vztmpl",
                "ctime": int(call.node.booted_at),
                "format": "tzst",
                "volid": f"{storage.name}:vztmpl/{name}_{version}_amd64.tar.zst",
                "size": int((3 + 120 * fraction(name, version)) * MIB),
            }


def _backups(storage: Storage, call: Call) -> Iterator[dict[str, Any]]:
    if not storage.shared or "backup" not in storage.content.split(","):
        return
    everything = call.token.may(f"/storage/{storage.name}", "Datastore.Allocate")
    may_restore = call.token.may(f"/storage/{storage.name}", "Datastore.AllocateSpace")
    for guest in call.cluster.world.guests.values():
        mine = may_restore and call.token.may(f"/vms/{guest.vmid}", "VM.Backup", pool=guest.pool)
        if guest.template or not (everything or mine):
            continue
        ending = "vma.zst" if guest.kind == "qemu" else "tar.zst"
        for days in (2, 1):
            made_at = int(call.now) // _DAY * _DAY - (days - 1) * _DAY
            when = time.strftime("%Y_%m_%d-%H_%M_%S", time.gmtime(made_at))
            yield {
                "content": "backup",
                "subtype": guest.kind,
                "ctime": made_at,
                "format": ending,
                "volid": f"{storage.name}:backup/vzdump-{guest.kind}-{guest.vmid}-{when}.{ending}",
                "size": guest.disk_bytes // 5,
                "vmid": guest.vmid,
            }


def appliances(_: Call) -> Answer:
    """/nodes/N/aplinfo: what Proxmox VE's own index offers."""
    return Answer(
        [
            {
                "template": f"{name}_{version}_amd64.tar.zst",
                "package": name,
                "version": version,
                "os": name.rpartition("-")[0],
                "section": "system",
                "type": "lxc",
                "architecture": "amd64",
                "headline": headline,
                "description": "A small system.",
                "infopage": "https://pve.proxmox.com/wiki/Linux_Container",
                "location": f"http://download.proxmox.com/images/system/{name}_{version}_amd64.tar.zst",
                "source": "http://download.proxmox.com/images",
                "sha512sum": "0" * 128,
            }
            for name, version, headline in _APPLIANCES
        ]
    )


_TYPES = ("bridge", "bond", "eth", "alias", "vlan", "OVSBridge", "OVSBond", "OVSPort", "OVSIntPort", "vnet")
ROUTES = (
    Route(
        "GET",
        "/nodes/{node}/network",
        network,
        parameters=(Parameter("type", (*_TYPES, "any_bridge", "any_local_bridge", "include_sdn")),),
    ),
    Route(
        "GET",
        "/nodes/{node}/storage/{storage}/content",
        content,
        parameters=(Parameter("content"), Parameter("vmid", "integer")),
    ),
    Route("GET", "/nodes/{node}/aplinfo", appliances),
)
