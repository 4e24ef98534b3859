"""What costs a call for each guest: snapshots, pending changes, the guest agent; and a node's network counters."""

from __future__ import annotations

from functools import partial
from typing import Any

from pvewatch.simulator import endpoints_guests
from pvewatch.simulator.answers import Answer, failed
from pvewatch.simulator.figures import fraction
from pvewatch.simulator.readings import guest_figures
from pvewatch.simulator.routes import Call, Route
from pvewatch.simulator.world import GIB, MIB, Guest, Kind, config_file

_MAX_SNAPSHOTS = 3
_DAY = 86400


def snapshots(call: Call, kind: Kind) -> Answer:
    """…/snapshot: the present state is a row, too; a third of the guests have one to three, one on another."""
    guest = _guest(call, kind)
    world = call.cluster.world
    digest = endpoints_guests.config(call, kind).data["digest"]
    chance = fraction(world.seed, world.name, guest.vmid, "snapshots")
    count = 0 if guest.template else max(0, int(chance * 3 * _MAX_SNAPSHOTS) - 2 * _MAX_SNAPSHOTS + 1)
    rows: list[dict[str, Any]] = []
    made_at = call.node.booted_at + 60
    for index in range(1, count + 1):
        row: dict[str, Any] = {"name": f"snap{index}", "description": "before upgrade", "snaptime": int(made_at)}
        if kind == "qemu":
            row["vmstate"] = 0
        if rows:
            row["parent"] = rows[-1]["name"]
        rows.append(row)
        made_at += _DAY
    present: dict[str, Any] = {
        "name": "current",
        "description": "You are here!",
        "digest": digest,
        "running": int(guest.power.running),
    }
    if rows:
        present["parent"] = rows[-1]["name"]
    return Answer([*rows, present])


def pending(call: Call, kind: Kind) -> Answer:
    """…/pending: the configuration option by option; a tenth of the running guests have one that waits."""
    guest = _guest(call, kind)
    world = call.cluster.world
    rows = [{"key": key, "value": value} for key, value in endpoints_guests.config(call, kind).data.items()]
    if guest.power.running and fraction(world.seed, world.name, guest.vmid, "pending") < 0.1:
        for row in rows:
            if row["key"] == "cores":
                row["pending"] = guest.cores * 2
    return Answer(rows)


def agent_ping(call: Call) -> Answer:
    """POST …/agent/ping: an empty result from an agent that answers."""
    _agent(call)
    return Answer({"result": {}})


def agent_filesystems(call: Call) -> Answer:
    """…/agent/get-fsinfo, as a Debian inside with QEMU's own agent tells it."""
    guest = _agent(call)
    world = call.cluster.world
    share = 0.2 + 0.5 * fraction(world.seed, world.name, guest.vmid, "filesystem")
    root = guest.disk_bytes - 2 * GIB
    return Answer(
        {
            "result": [
                {
                    "name": "sda1",
                    "mountpoint": "/",
                    "type": "ext4",
                    "total-bytes": root,
                    "used-bytes": int(root * share),
                    "disk": [_disk("/dev/sda1")],
                },
                {
                    "name": "sda15",
                    "mountpoint": "/boot/efi",
                    "type": "vfat",
                    "total-bytes": 129718272,
                    "used-bytes": 12 * MIB,
                    "disk": [_disk("/dev/sda15")],
                },
            ]
        }
    )


def netstat(call: Call) -> Answer:
    """/nodes/N/netstat: a row for each network card of a running guest; every value is a text."""
    rows = []
    for guest in call.cluster.world.guests.values():
        if guest.node == call.node.name and guest.power.running:
            figures = guest_figures(call.cluster.world, guest, guest.power, float(int(call.now)))
            rows.append(
                {
                    "vmid": str(guest.vmid),
                    "dev": "net0",
                    "in": str(figures["netin"]),
                    "out": str(figures["netout"]),
                }
            )
    return Answer(rows)


def _disk(device: str) -> dict[str, Any]:
    return {
        "bus": 0,
        "bus-type": "scsi",
        "dev": device,
        "pci-controller": {"bus": 1, "domain": 0, "function": 0, "slot": 1},
        "serial": "0QEMU_QEMU_HARDDISK_drive-scsi0",
        "target": 0,
        "unit": 0,
    }


def _guest(call: Call, kind: Kind) -> Guest:
    guest = call.cluster.world.guests.get(call.vmid)
    if guest is None or guest.kind != kind or guest.node != call.node.name:
        raise failed(f"Configuration file '{config_file(call.node.name, kind, call.vmid)}' does not exist")
    return guest


def _agent(call: Call) -> Guest:
    """The guest whose agent answers; the refusals of PVE/QemuServer/Agent.pm otherwise, after 3 s for the last one."""
    known = call.cluster.world.guests.get(call.vmid)
    new = call.cluster.world.version.major >= 9
    privileges = ("VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted") if new else ("VM.Monitor",)
    call.token.require(f"/vms/{call.vmid}", *privileges, pool=known.pool if known is not None else None)
    guest = _guest(call, "qemu")
    if not guest.agent:
        raise failed("No QEMU guest agent configured")
    if not guest.power.running:
        raise failed(f"VM {guest.vmid} is not running")
    if not call.cluster.alive(guest):
        raise failed("QEMU guest agent is not running")
    return guest


def _routes(kind: Kind) -> tuple[Route, ...]:
    guest = f"/nodes/{{node}}/{kind}/{{vmid}}"
    audit = ("/vms/{vmid}", "VM.Audit")
    return (
        Route("GET", f"{guest}/snapshot", partial(snapshots, kind=kind), permission=audit),
        Route("GET", f"{guest}/pending", partial(pending, kind=kind), permission=audit),
    )


ROUTES = (
    Route("GET", "/nodes/{node}/netstat", netstat, permission=("/nodes/{node}", "Sys.Audit")),
    Route("POST", "/nodes/{node}/qemu/{vmid}/agent/ping", agent_ping),
    Route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-fsinfo", agent_filesystems),
    *_routes("qemu"),
    *_routes("lxc"),
)
