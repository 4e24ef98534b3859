"""/nodes/N/qemu and /nodes/N/lxc: lists, configuration, state and what changes it."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

from pvewatch.simulator.answers import Answer, failed
from pvewatch.simulator.lifecycle import ACTIONS, order_from
from pvewatch.simulator.readings import guest_figures
from pvewatch.simulator.routes import Call, Parameter, Route
from pvewatch.simulator.world import GIB, MIB, Guest, Kind, config_file

_QEMU_BY_MAJOR = {7: "7.2.10", 8: "9.2.0", 9: "10.1.2"}
_BLOCK_FIGURES = ("bytes", "merged")
_PRESSURES = ("cpusome", "cpufull", "iosome", "iofull", "memorysome", "memoryfull")


def guests(call: Call, kind: Kind) -> Answer:
    """/nodes/N/qemu or /lxc: only rows of guests that the caller may see; `full` adds what QEMU itself tells."""
    rows = []
    for guest in call.cluster.world.guests.values():
        if guest.node == call.node.name and guest.kind == kind and _may_see(call, guest):
            row = _live_row(call, guest)
            if kind == "qemu" and call.parameters.get("full"):
                row |= _qemu_details(call, guest)
            rows.append(row)
    return Answer(rows)


def current(call: Call, kind: Kind) -> Answer:
    """…/status/current."""
    guest = _guest(call, kind)
    row = _live_row(call, guest)
    if kind == "qemu":
        row |= _qemu_details(call, guest)
        if guest.agent:
            row["agent"] = 1
    row["ha"] = {"managed": int(guest.ha_state is not None)}
    if guest.ha_state is not None:
        row["ha"]["state"] = guest.ha_state
        if call.cluster.world.version.major < 9:
            row["ha"]["group"] = guest.ha_group
    return Answer(row)


def config(call: Call, kind: Kind) -> Answer:
    """…/config: a virtual machine's `memory` is a string, a container's a number."""
    guest = _guest(call, kind)
    mac = f"BC:24:11:{guest.vmid >> 16 & 0xFF:02X}:{guest.vmid >> 8 & 0xFF:02X}:{guest.vmid & 0xFF:02X}"
    volume = f"{'vm' if kind == 'qemu' else 'subvol'}-{guest.vmid}-disk-0"
    disk = f"{call.cluster.world.disk_storage.name}:{volume},size={guest.disk_bytes // GIB}G"
    answer: dict[str, Any] = {"ostype": "l26" if kind == "qemu" else "debian", "cores": guest.cores}
    memory = guest.memory_bytes // MIB
    uuid = hashlib.blake2b(f"{call.cluster.world.seed}/{guest.id}".encode(), digest_size=16).hexdigest()
    uuid = f"{uuid[:8]}-{uuid[8:12]}-{uuid[12:16]}-{uuid[16:20]}-{uuid[20:]}"
    if kind == "qemu":
        qemu = _QEMU_BY_MAJOR[call.cluster.world.version.major]
        answer |= {
            "name": guest.name,
            "memory": str(memory),
            "boot": "order=scsi0;net0",
            "scsihw": "virtio-scsi-pci",
            "scsi0": disk,
            "net0": f"virtio={mac},bridge=vmbr0",
            "meta": f"creation-qemu={qemu},ctime={int(call.node.booted_at)}",
            "smbios1": f"uuid={uuid}",
            "vmgenid": uuid,
        }
        if guest.agent:
            answer["agent"] = "1"
    else:
        answer |= {
            "hostname": guest.name,
            "arch": "amd64",
            "memory": memory,
            "swap": memory // 2,
            "rootfs": disk,
            "net0": f"name=eth0,bridge=vmbr0,hwaddr={mac},ip=dhcp,type=veth",
        }
    if guest.onboot:
        answer["onboot"] = 1
    if guest.template:
        answer["template"] = 1
    answer |= {key: value for key, value in (("tags", guest.tags), ("lock", guest.lock)) if value is not None}
    if guest.notes:
        answer["description"] = guest.notes
    answer["digest"] = hashlib.blake2b(repr(sorted(answer.items())).encode(), digest_size=20).hexdigest()
    return Answer(answer)


def act(call: Call, kind: Kind, action: str) -> Answer:
    """POST …/status/ACTION: the UPID of the task that will try it."""
    order = order_from(action, dict(call.parameters))
    return Answer(call.cluster.lifecycle.submit(call.node.name, kind, call.vmid, order, call.token, call.now))


def _guest(call: Call, kind: Kind) -> Guest:
    guest = call.cluster.world.guests.get(call.vmid)
    if guest is None or guest.kind != kind or guest.node != call.node.name:
        raise failed(f"Configuration file '{config_file(call.node.name, kind, call.vmid)}' does not exist")
    return guest


def _may_see(call: Call, guest: Guest) -> bool:
    return call.token.may(f"/vms/{guest.vmid}", "VM.Audit", pool=guest.pool)


def _live_row(call: Call, guest: Guest) -> dict[str, Any]:
    """What a node says about its guest now, without waiting for the statistics."""
    power = guest.power
    figures = guest_figures(call.cluster.world, guest, power, float(int(call.now)))
    row: dict[str, Any] = {
        "vmid": guest.vmid,
        "name": guest.name,
        "status": "running" if power.running else "stopped",
        "cpus": guest.cores,
        "maxmem": guest.memory_bytes,
        "maxdisk": guest.disk_bytes,
        **{key: figures[key] for key in ("cpu", "mem", "disk", "netin", "netout", "uptime")},
    }
    if power.running:
        row["pid"] = power.pid
    if guest.template:
        row["template"] = 1
    row |= {key: value for key, value in (("tags", guest.tags), ("lock", guest.lock)) if value is not None}
    if guest.kind == "lxc":
        swap = guest.memory_bytes // 2
        row |= {"type": "lxc", "maxswap": swap, "swap": 0}
        row |= {key: figures[key] for key in ("diskread", "diskwrite")}
    if call.cluster.world.version.major >= 9:
        row |= _version_9_figures(guest, figures)
    return row


def _version_9_figures(guest: Guest, figures: dict[str, Any]) -> dict[str, Any]:
    added: dict[str, Any] = {}
    if guest.kind == "qemu":
        added["memhost"] = int(figures["mem"] * 1.04)
    if guest.power.running:
        for pressure in _PRESSURES:
            percent = round(100 * figures["cpu"] * 0.1, 2) if pressure.startswith("cpu") else 0
            if guest.kind == "qemu":
                added[f"pressure{pressure}"] = percent
            elif pressure != "cpufull":
                added[f"pressure{pressure}"] = f"{percent:.2f}"  # containers' come as text
    return added


def _qemu_details(call: Call, guest: Guest) -> dict[str, Any]:
    power = guest.power
    if not power.running:
        return {"qmpstatus": "stopped"}
    figures = guest_figures(call.cluster.world, guest, power, float(int(call.now)))
    qemu = _QEMU_BY_MAJOR[call.cluster.world.version.major]
    return {
        **(_balloon(guest, figures) if guest.balloon else {}),
        "qmpstatus": "paused" if power.paused else "running",
        "diskread": figures["diskread"],
        "diskwrite": figures["diskwrite"],
        "running-qemu": qemu,
        "running-machine": f"pc-i440fx-{qemu.rpartition('.')[0]}+pve0",
        "nics": {f"tap{guest.vmid}i0": {"netin": figures["netin"], "netout": figures["netout"]}},
        "blockstat": {"scsi0": _blockstat(figures, call.cluster.world.version.major)},
        "proxmox-support": {
            "backup-fleecing": True,
            "backup-max-workers": True,
            "pbs-dirty-bitmap": True,
            "pbs-dirty-bitmap-migration": True,
            "pbs-dirty-bitmap-savevm": True,
            "pbs-library-version": "1.5.1",
            "pbs-masterkey": True,
            "query-bitmap-info": True,
        },
    }


def _balloon(guest: Guest, figures: dict[str, Any]) -> dict[str, Any]:
    """What QEMU tells when the balloon driver inside answers."""
    free = guest.memory_bytes - figures["mem"]
    info = {"actual": guest.memory_bytes, "max_mem": guest.memory_bytes, "free_mem": free}
    info |= {"total_mem": guest.memory_bytes, "last_update": figures["uptime"]}
    return {"balloon": guest.memory_bytes, "freemem": free, "ballooninfo": info}


def _blockstat(figures: dict[str, Any], major: int) -> dict[str, Any]:
    """QEMU's statistics of a disk; what nothing reads is zero."""
    read, written = figures["diskread"], figures["diskwrite"]
    operations = ("rd", "wr", "flush", "unmap", *(("zone_append",) if major >= 9 else ()))
    zero = {f"{outcome}_{operation}_operations": 0 for operation in operations for outcome in ("failed", "invalid")}
    zero |= {f"{operation}_{figure}": 0 for operation in operations for figure in ("operations", "total_time_ns")}
    zero |= {
        f"{operation}_{figure}": 0 for operation in operations if operation != "flush" for figure in _BLOCK_FIGURES
    }
    return {
        **zero,
        "account_failed": True,
        "account_invalid": True,
        "flush_operations": written // 65536,
        "idle_time_ns": 2_000_000,
        "rd_bytes": read,
        "rd_operations": read // 16384,
        "rd_total_time_ns": read * 20,
        "timed_stats": [],
        "wr_bytes": written,
        "wr_highest_offset": written,
        "wr_operations": written // 16384,
        "wr_total_time_ns": written * 40,
    }


_ACTION_PARAMETERS = {
    ("qemu", "start"): ("timeout:integer", "machine", "migratedfrom", "stateuri", "targetstorage", "force-cpu"),
    ("qemu", "stop"): ("timeout:integer", "keepActive:boolean", "migratedfrom", "overrule-shutdown:boolean"),
    ("qemu", "shutdown"): ("timeout:integer", "forceStop:boolean", "keepActive:boolean"),
    ("qemu", "reboot"): ("timeout:integer",),
    ("qemu", "reset"): (),
    ("qemu", "suspend"): (),  # to memory only
    ("qemu", "resume"): ("nocheck:boolean",),
    ("lxc", "start"): ("debug:boolean",),
    ("lxc", "stop"): ("overrule-shutdown:boolean",),
    ("lxc", "shutdown"): ("timeout:integer", "forceStop:boolean"),
    ("lxc", "reboot"): ("timeout:integer",),
    ("lxc", "suspend"): (),
    ("lxc", "resume"): (),
}


def _action_parameters(kind: Kind, action: str) -> tuple[Parameter, ...]:
    texts = list(_ACTION_PARAMETERS[kind, action])
    if kind == "qemu" or action in ("start", "stop"):
        texts.append("skiplock:boolean")
    return tuple(Parameter(name, type_ or "string") for name, _, type_ in (text.partition(":") for text in texts))


def _routes(kind: Kind) -> tuple[Route, ...]:
    guest = f"/nodes/{{node}}/{kind}/{{vmid}}"
    audit = ("/vms/{vmid}", "VM.Audit")
    listing = (Parameter("full", "boolean"),) if kind == "qemu" else ()
    return (
        Route("GET", f"/nodes/{{node}}/{kind}", partial(guests, kind=kind), parameters=listing),
        Route("GET", f"{guest}/config", partial(config, kind=kind), (Parameter("current", "boolean"),), audit),
        Route("GET", f"{guest}/status/current", partial(current, kind=kind), permission=audit),
        *(
            Route(
                "POST",
                f"{guest}/status/{action}",
                partial(act, kind=kind, action=action),
                _action_parameters(kind, action),
                ("/vms/{vmid}", "VM.PowerMgmt"),
            )
            for action in ACTIONS[kind]
        ),
    )


ROUTES = (*_routes("qemu"), *_routes("lxc"))
