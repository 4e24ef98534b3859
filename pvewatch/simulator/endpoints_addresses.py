"""The network cards of running guests, as a container's kernel and a virtual machine's guest agent name them."""

from __future__ import annotations

from typing import Any

from pvewatch.simulator.answers import Answer
from pvewatch.simulator.endpoints_guest_details import agent_of, guest_of
from pvewatch.simulator.routes import Call, Route

_LOOPBACK = [
    {"ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8},
    {"ip-address": "::1", "ip-address-type": "ipv6", "prefix": 128},
]


def interfaces(call: Call) -> Answer:
    """…/lxc/{vmid}/interfaces: null while the container does not run."""
    guest = guest_of(call, "lxc")
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
    guest = agent_of(call)
    rows = [
        {"ip-address": address, "ip-address-type": "ipv6" if ":" in address else "ipv4", "prefix": 24}
        for address in guest.addresses
    ]
    return Answer({"result": [{"name": "lo", "ip-addresses": _LOOPBACK}, {"name": "eth0", "ip-addresses": rows}]})


ROUTES = (
    Route("GET", "/nodes/{node}/lxc/{vmid}/interfaces", interfaces, permission=("/vms/{vmid}", "VM.Audit")),
    Route("GET", "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces", agent_interfaces),
)
