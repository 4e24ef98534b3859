"""The network cards of running guests, as a container's kernel and a virtual machine's guest agent name them."""

from __future__ import annotations

from typing import Any

from pvewatch.simulator.answers import Answer, failed
from pvewatch.simulator.routes import Call, Route
from pvewatch.simulator.world import Guest, Kind, config_file

_LOOPBACK = [
    {"ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8},
    {"ip-address": "::1", "ip-address-type": "ipv6", "prefix": 128},
]


def interfaces(call: Call) -> Answer:
    """…/lxc/{vmid}/interfaces: null while the container does not run."""
    guest = _guest(call, "lxc")
    if not guest.power.running:
        return Answer(None)
    rows: list[dict[str, Any]] = [
        {"name": "lo", "hwaddr": "00:00:00:00:00:00", "inet": "127.0.0.1/8", "inet6": "::1/128"}
    ]
    card: dict[str, Any] = {"name": "eth0", "hwaddr": "bc:24:11:00:00:01"}
    for address in guest.addresses:
        card["inet6" if ":" in address else "inet"] = f"{address}/{64 if ':' in address else 24}"
    return Answer([*rows, card])


def agent_interfaces(call: Call) -> Answer:
    """…/agent/network-get-interfaces, with the refusals of PVE/QemuServer/Agent.pm."""
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
    rows = [
        {"ip-address": address, "ip-address-type": "ipv6" if ":" in address else "ipv4", "prefix": 24}
        for address in guest.addresses
    ]
    return Answer({"result": [{"name": "lo", "ip-addresses": _LOOPBACK}, {"name": "eth0", "ip-addresses": rows}]})


def _guest(call: Call, kind: Kind) -> Guest:
    guest = call.cluster.world.guests.get(call.vmid)
    if guest is None or guest.kind != kind or guest.node != call.node.name:
        raise failed(f"Configuration file '{config_file(call.node.name, kind, call.vmid)}' does not exist")
    return guest


ROUTES = (
    Route("GET", "/nodes/{node}/lxc/{vmid}/interfaces", interfaces, permission=("/vms/{vmid}", "VM.Audit")),
    Route("GET", "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces", agent_interfaces),
)
