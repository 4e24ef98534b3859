"""/version, /cluster and /nodes: what is asked about the whole cluster."""

from __future__ import annotations

import time
from typing import Any

from pvewatch.simulator.answers import Answer, failed
from pvewatch.simulator.readings import guest_figures, node_figures, storage_used_bytes
from pvewatch.simulator.routes import Call, Parameter, Route
from pvewatch.simulator.world import Guest, Node, ReplicationJob

_SYS_AUDIT = ("/", "Sys.Audit")
_REPLICATION_SECONDS = 900


def version(call: Call) -> Answer:
    """/version and /nodes/N/version."""
    release = call.cluster.world.version
    return Answer({"version": release.version, "release": release.release, "repoid": release.repoid})


def cluster_status(call: Call) -> Answer:
    """/cluster/status: a `cluster` row only in a real cluster."""
    world = call.cluster.world
    rows: list[dict[str, Any]] = []
    if world.clustered:
        rows.append(
            {
                "type": "cluster",
                "id": "cluster",
                "name": world.name,
                "nodes": len(world.nodes),
                "quorate": int(world.quorate),
                "version": len(world.nodes),
            }
        )
    rows += [
        {
            "type": "node",
            "id": node.id,
            "name": node.name,
            "nodeid": node.nodeid,
            "ip": node.ip,
            "level": world.subscription.level if world.subscription else "",
            "local": int(node is world.local_node),
            "online": int(node.offline_since is None),
        }
        for node in world.nodes.values()
    ]
    return Answer(rows)


def cluster_resources(call: Call) -> Answer:
    """/cluster/resources: pools, guests, nodes, storages, networks, each row only to whom it may be shown."""
    wanted = call.parameters.get("type")
    guests = [_guest_row(call, guest) for guest in _visible_guests(call)]
    rows: list[dict[str, Any]] = []
    if wanted is None:
        rows += _pool_rows(call)
    if wanted in (None, "vm"):
        rows += guests
    if wanted in (None, "node"):
        rows += [node_row(call, node, resources=True) for node in call.cluster.world.nodes.values()]
    if wanted in (None, "storage"):
        rows += _storage_rows(call)
    if wanted in (None, "sdn"):
        rows += _network_rows(call)
    return Answer(rows)


def nodes(call: Call) -> Answer:
    """/nodes: rows as in /cluster/resources, with the fingerprint."""
    return Answer([node_row(call, node, resources=False) for node in call.cluster.world.nodes.values()])


def node_row(call: Call, node: Node, *, resources: bool) -> dict[str, Any]:
    """A node's row; without Sys.Audit on it every figure is missing, and so are most of an offline one's."""
    subscribed = call.cluster.world.subscription
    level = subscribed.level if subscribed else ""
    row: dict[str, Any] = {"type": "node", "id": node.id, "node": node.name, "level": level}
    # /cluster/status goes on saying online of a node whose statistics daemon has ended.
    row["status"] = "offline" if node.shown_offline else "unknown" if call.cluster.expired(node) else "online"
    if resources:
        row["cgroup-mode"] = 2
        if _has_ha(call):
            row["hastate"] = "online"
    else:
        row["ssl_fingerprint"] = call.cluster.fingerprint
    if not call.token.may(f"/nodes/{node.name}", "Sys.Audit"):
        return row
    if call.cluster.expired(node):
        return row
    row |= {"maxcpu": node.cores, "maxmem": node.memory_bytes, "maxdisk": node.disk_bytes}
    if not node.shown_offline:
        row |= node_figures(call.cluster.world, node, call.cluster.published_at(node))
    return row


def cluster_tasks(call: Call) -> Answer:
    """/cluster/tasks: without Sys.Audit on / only the caller's own."""
    everything = call.token.may("/", "Sys.Audit")
    tasks = [task for task in call.cluster.tasks.of_cluster() if everything or task.owner == call.token.id]
    return Answer([task.cluster_row() for task in tasks])


def ha_status(call: Call) -> Answer:
    """/cluster/ha/status/current."""
    world = call.cluster.world
    local = world.local_node.name
    quorate = world.quorate
    rows: list[dict[str, Any]] = [
        {
            "id": "quorum",
            "type": "quorum",
            "node": local,
            "quorate": int(quorate),
            "status": "OK" if quorate else f"No quorum on node '{local}'!",
        }
    ]
    if world.version.major >= 9:
        armed = "armed" if _has_ha(call) else "standby"
        text = "armed (CRM watchdog active)" if _has_ha(call) else "standby (CRM watchdog standby)"
        rows.append({"id": "fencing", "type": "fencing", "node": local, "armed-state": armed, "status": text})
    if not _has_ha(call):
        return Answer(rows)
    timestamp = int(call.now) - 3
    when = time.asctime(time.gmtime(timestamp))
    rows.append(
        {"id": "master", "type": "master", "node": local, "timestamp": timestamp, "status": f"{local} (active, {when})"}
    )
    managed = [guest for guest in world.guests.values() if guest.ha_state is not None]
    for node in world.nodes.values():
        mode = "active" if any(guest.node == node.name for guest in managed) else "idle"
        if node.offline_since is not None:
            mode = "old timestamp - dead?"
        rows.append(
            {
                "id": f"lrm:{node.name}",
                "type": "lrm",
                "node": node.name,
                "timestamp": timestamp,
                "status": f"{node.name} ({mode}, {when})",
            }
        )
    for guest in managed:
        sid = f"vm:{guest.vmid}" if guest.kind == "qemu" else f"ct:{guest.vmid}"
        row = {
            "id": f"service:{sid}",
            "sid": sid,
            "type": "service",
            "node": guest.node,
            "state": guest.ha_state,
            "crm_state": guest.ha_state,
            "request_state": guest.ha_state,
            "max_relocate": 1,
            "max_restart": 1,
            "status": f"{sid} ({guest.node}, {guest.ha_state})",
        }
        rows.append(row | ({"group": guest.ha_group} if world.version.major < 9 else {}))
    return Answer(rows)


def not_backed_up(call: Call) -> Answer:
    """/cluster/backup-info/not-backed-up: guests in no backup job; here every fifth, and templates."""
    return Answer(
        [
            {"vmid": guest.vmid, "type": guest.kind, "name": guest.name}
            for guest in _visible_guests(call)
            if guest.template or guest.vmid % 5 == 0
        ]
    )


def qdevice(call: Call) -> Answer:
    """/cluster/config/qdevice: empty where none is set up, as on most clusters."""
    device = call.cluster.world.qdevice
    if device is None:
        return Answer({})
    return Answer(
        {
            "Algorithm": "Fifty-Fifty split",
            "Echo reply": "Received" if device.connected else "Waiting",
            "Last poll call": "never",
            "Model": "Net",
            "QNetd host": device.host,
            "State": "Connected" if device.connected else "Connecting",
            "Tie-breaker": "Node with lowest node ID",
        }
    )


def replication(call: Call) -> Answer:
    """/cluster/replication: the jobs as configured, of guests that the caller may see."""
    visible = {guest.vmid for guest in _visible_guests(call)}
    return Answer([_job_config(call, job) for job in call.cluster.world.replication if job.vmid in visible])


def node_replication(call: Call) -> Answer:
    """/nodes/N/replication: this node's jobs with how they went; refused when one of their guests may not be seen."""
    rows = []
    for job in call.cluster.world.replication:
        guest = call.cluster.world.guests[job.vmid]
        if guest.node == call.node.name:
            call.token.require(f"/vms/{job.vmid}", "VM.Audit", pool=guest.pool)
            rows.append(_job_config(call, job) | _job_state(call, job))
    return Answer(rows)


def replication_status(call: Call) -> Answer:
    """/nodes/N/replication/ID/status: the job's row of the list."""
    for job in call.cluster.world.replication:
        guest = call.cluster.world.guests[job.vmid]
        if job.id == call.names["id"] and guest.node == call.node.name:
            call.token.require(f"/vms/{job.vmid}", "VM.Audit", pool=guest.pool)
            return Answer(_job_config(call, job) | _job_state(call, job))
    raise failed(f"no such replication job '{call.names['id']}'")


def _job_config(call: Call, job: ReplicationJob) -> dict[str, Any]:
    guest = call.cluster.world.guests[job.vmid]
    return {
        "id": job.id,
        "type": "local",
        "guest": job.vmid,
        "jobnum": job.number,
        "source": guest.node,
        "target": job.target,
        "schedule": "*/15",
    }


def _job_state(call: Call, job: ReplicationJob) -> dict[str, Any]:
    # How the keys come and go: https://git.proxmox.com/?p=pve-manager.git;f=PVE/API2/Replication.pm
    quarter = int(call.now) // _REPLICATION_SECONDS * _REPLICATION_SECONDS
    guest = call.cluster.world.guests[job.vmid]
    row: dict[str, Any] = {"vmtype": guest.kind, "fail_count": 0, "next_sync": quarter + _REPLICATION_SECONDS}
    if job.state == "new":
        return row | {"last_sync": 0, "last_try": 0}
    if job.state == "failing":
        words = f"command 'zfs snapshot {job.id}' failed: exit code 1"
        row |= {"fail_count": 3, "error": words}
        return row | {"last_sync": quarter - 4 * _REPLICATION_SECONDS, "last_try": quarter, "duration": 1.26}
    return row | {"last_sync": quarter, "last_try": quarter, "duration": 4.182913}


def _has_ha(call: Call) -> bool:
    return any(guest.ha_state is not None for guest in call.cluster.world.guests.values())


def _visible_guests(call: Call) -> list[Guest]:
    guests = call.cluster.world.guests.values()
    visible = [guest for guest in guests if call.token.may(f"/vms/{guest.vmid}", "VM.Audit", pool=guest.pool)]
    return sorted(visible, key=lambda guest: guest.id)


def _published(call: Call, guest: Guest) -> dict[str, Any]:
    node = call.cluster.world.nodes[guest.node]
    return guest_figures(call.cluster.world, guest, guest.published, call.cluster.published_at(node))


def _guest_row(call: Call, guest: Guest) -> dict[str, Any]:
    row: dict[str, Any] = {"id": guest.id, "type": guest.kind, "vmid": guest.vmid, "node": guest.node}
    if guest.pool is not None and call.token.may(f"/pool/{guest.pool}", "Pool.Audit"):
        row["pool"] = guest.pool
    row |= {key: value for key, value in (("lock", guest.lock), ("tags", guest.tags)) if value is not None}
    if guest.ha_state is not None:
        row["hastate"] = guest.ha_state
    if call.cluster.expired(call.cluster.world.nodes[guest.node]):
        return row | {"status": "unknown"}
    power = guest.published
    figures = _published(call, guest)
    row |= figures
    row |= {
        "name": guest.name,
        "template": int(guest.template),
        "maxcpu": guest.cores,
        "maxmem": guest.memory_bytes,
        "maxdisk": guest.disk_bytes,
        # Here a paused machine says so; the node's own list says running.
        "status": ("paused" if power.paused else "running") if power.running else "stopped",
    }
    if call.cluster.world.version.major >= 9:
        row["memhost"] = int(figures["mem"] * 1.04) if guest.kind == "qemu" else figures["mem"]
    return row


def _pool_rows(call: Call) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for pool in call.cluster.world.pools:
        if not call.token.may(f"/pool/{pool}", "Pool.Audit"):
            continue
        row: dict[str, Any] = {"id": f"/pool/{pool}", "type": "pool", "pool": pool}
        members = [
            guest for guest in call.cluster.world.guests.values() if guest.pool == pool and guest.published.running
        ]
        if members:
            figures = [_published(call, guest) for guest in members]
            cores = sum(guest.cores for guest in members)
            busy = sum(figure["cpu"] * guest.cores for figure, guest in zip(figures, members, strict=True))
            row |= {
                "cpu": busy / cores,
                "maxcpu": cores,
                "mem": sum(figure["mem"] for figure in figures),
                "maxmem": sum(guest.memory_bytes for guest in members),
                "uptime": max(figure["uptime"] for figure in figures),
            }
        rows.append(row)
    return rows


def _storage_rows(call: Call) -> list[dict[str, Any]]:
    world = call.cluster.world
    rows: list[dict[str, Any]] = []
    for storage in world.storages:
        if not call.token.may(f"/storage/{storage.name}", "Datastore.Audit"):
            continue
        for node in world.nodes.values():
            row: dict[str, Any] = {
                "id": f"storage/{node.name}/{storage.name}",
                "type": "storage",
                "node": node.name,
                "storage": storage.name,
                "plugintype": storage.plugin_type,
                "content": storage.content,
                "shared": int(storage.shared),
                "status": "unknown",
            }
            if not call.cluster.expired(node):
                used = storage_used_bytes(world, storage, node, call.cluster.published_at(node))
                row |= {"status": "available", "disk": used, "maxdisk": storage.size_bytes}
            rows.append(row)
    return rows


def _network_rows(call: Call) -> list[dict[str, Any]]:
    # The zone of the host's own bridges came with 8.
    if call.cluster.world.version.major < 8 or not call.token.may("/sdn/zones/localnetwork", "SDN.Audit"):
        return []
    zone = "localnetwork"
    rows: list[dict[str, Any]] = []
    for node in call.cluster.world.nodes.values():
        if call.cluster.world.version.major < 9:
            names = {"id": f"sdn/{node.name}/{zone}", "type": "sdn", "sdn": zone}
        else:
            names = {
                "id": f"network/{node.name}/zone/{zone}",
                "type": "network",
                "network": zone,
                "network-type": "zone",
            }
        rows.append({"node": node.name, "status": "ok", **names})
    return rows


ROUTES = (
    Route("GET", "/version", version),
    Route("GET", "/cluster/status", cluster_status, permission=_SYS_AUDIT),
    Route(
        "GET",
        "/cluster/resources",
        cluster_resources,
        parameters=(Parameter("type", ("vm", "storage", "node", "sdn")),),
    ),
    Route("GET", "/cluster/tasks", cluster_tasks),
    Route("GET", "/cluster/ha/status/current", ha_status, permission=_SYS_AUDIT),
    Route("GET", "/cluster/backup-info/not-backed-up", not_backed_up, permission=_SYS_AUDIT),
    Route("GET", "/cluster/config/qdevice", qdevice, permission=_SYS_AUDIT),
    Route("GET", "/cluster/replication", replication),
    Route("GET", "/nodes", nodes),
    Route("GET", "/nodes/{node}/replication", node_replication),
    Route("GET", "/nodes/{node}/replication/{id}/status", replication_status),
)
