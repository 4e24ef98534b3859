"""Which privilege every collector and every action needs, on which path, and what is lost without it: the one table.

`pvewatch check` reads it, docs/permissions.md and docs/metrics.md are made of it, and tests hold it against the calls
that are really made. What Proxmox VE asks for was tried privilege by privilege on 8.4.21 and 9.2.11. Names:
https://pve.proxmox.com/pve-docs/chapter-pveum.html#pveum_permission_management
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pvewatch.pve.models import AclRow, Permissions

Holder = Literal["monitor", "power", "/pve"]
"""The two tokens of a cluster, and a login of /pve, whose features are prometheus-pve-exporter's collectors."""

OLDEST, NEWEST = 7, 9
# Since this version the guest agent's read-only calls have a privilege of their own.
AGENT_AUDIT_SINCE = 9


@dataclass(frozen=True, slots=True)
class Need:
    """What one feature asks for.

    `feature` is a collector's name, or what else is done. `calls` are API paths, GET unless a method stands before.
    `privilege` is empty where any token may ask; `path` is an ACL path such as `/vms/{vmid}`. `refused`: Proxmox VE
    answers 403 without it, else 200 with less. Without an `essential` one the cluster is not monitored in earnest.
    It holds for the major versions from `since` up to, not including, `before`.
    """

    holder: Holder
    feature: str
    calls: tuple[str, ...]
    privilege: str = ""
    path: str = ""
    loss: str = ""
    refused: bool = True
    essential: bool = False
    since: int = OLDEST
    before: int = NEWEST + 1

    @property
    def base(self) -> str:
        """The path that stands for all of its kind: `/vms` for `/vms/{vmid}`."""
        return self.path.partition("/{")[0] or "/"

    def holds_for(self, major: int) -> bool:
        """Whether that version asks for it; one newer than any known counts as the newest."""
        return self.since <= min(max(major, OLDEST), NEWEST) < self.before


_monitor, _power, _pve = partial(Need, "monitor"), partial(Need, "power"), partial(Need, "/pve")
_GUEST = "/nodes/{node}/{kind}/{vmid}"
_AGENT = "/nodes/{node}/qemu/{vmid}/agent"


def _cluster_wide(feature: str, *calls: str, loss: str, since: int = OLDEST, before: int = NEWEST + 1) -> Need:
    essential = feature == "status"
    return _monitor(feature, calls, "Sys.Audit", "/", loss, essential=essential, since=since, before=before)


def _of_node(feature: str, *calls: str, loss: str) -> Need:
    return _monitor(feature, calls, "Sys.Audit", "/nodes/{node}", loss)


def _of_guest(feature: str, *calls: str, loss: str, refused: bool = True) -> Need:
    return _monitor(feature, calls, "VM.Audit", "/vms/{vmid}", loss, refused)


def _of_agent(feature: str, *calls: str, loss: str) -> tuple[Need, Need]:
    since, before = AGENT_AUDIT_SINCE, AGENT_AUDIT_SINCE
    return (
        _monitor(feature, calls, "VM.GuestAgent.Audit", "/vms/{vmid}", loss, since=since),
        _monitor(feature, calls, "VM.Monitor", "/vms/{vmid}", loss, before=before),
    )


NEEDS: tuple[Need, ...] = (
    _monitor(
        "resources",
        ("/cluster/resources",),
        "VM.Audit",
        "/vms/{vmid}",
        "no guest is seen, and none can be missed",
        refused=False,
        essential=True,
    ),
    _monitor(
        "resources",
        ("/cluster/resources",),
        "Sys.Audit",
        "/nodes/{node}",
        "nodes have a status and no figures",
        refused=False,
        essential=True,
    ),
    _monitor(
        "resources",
        ("/cluster/resources",),
        "Datastore.Audit",
        "/storage/{storage}",
        "no storage is seen",
        refused=False,
        essential=True,
    ),
    _monitor(
        "resources",
        ("/cluster/resources",),
        "Pool.Audit",
        "/pool/{pool}",
        "guests are shown without their pool",
        refused=False,
    ),
    _cluster_wide("status", "/cluster/status", loss="no quorum, no list of members"),
    _monitor(
        "tasks",
        ("/cluster/tasks",),
        "Sys.Audit",
        "/",
        "Proxmox VE lists only the token's own tasks, so nothing is told about tasks",
        refused=False,
        essential=True,
    ),
    _monitor("version", ("/version",)),
    _cluster_wide("quorum", "/cluster/config/nodes", loss="no votes"),
    _cluster_wide("qdevice", "/cluster/config/qdevice", loss="nothing about the quorum device"),
    _cluster_wide("ha", "/cluster/ha/status/current", loss="nothing about High Availability"),
    _cluster_wide("ha", "/cluster/ha/groups", loss="no HA groups", before=9),
    _cluster_wide("ha", "/cluster/ha/rules", loss="no HA rules", since=9),
    _cluster_wide("backup", "/cluster/backup", loss="no backup jobs"),
    _cluster_wide("backup", "/cluster/backup-info/not-backed-up", loss="no guests without a backup job"),
    _monitor(
        "backup",
        ("/cluster/backup-info/not-backed-up",),
        "VM.Audit",
        "/vms/{vmid}",
        "Proxmox VE hides guests without a backup job, as if all were backed up, so their number is withheld",
        refused=False,
    ),
    _monitor(
        "backup",
        ("/access/acl",),
        "Sys.Audit",
        "/access",
        "not known whether NoAccess hides a guest from the token, so the number of those without a job is withheld",
        refused=False,
    ),
    _cluster_wide("ceph", "/cluster/ceph/status", "/nodes/{node}/ceph/status", loss="nothing about Ceph"),
    _of_node("node", "/nodes/{node}/status", loss="no load, I/O wait, swap, KSM, kernel and version of the node"),
    _of_node("node_history", "/nodes/{node}/rrddata", loss="no network rates and pressure of the node"),
    _of_guest(
        "replication",
        "/nodes/{node}/replication",
        loss="no replication job of any node that sends a guest which the token may not see",
    ),
    _of_node("services", "/nodes/{node}/services", loss="no services of the node"),
    _of_node("clock", "/nodes/{node}/time", loss="no difference of the clocks"),
    _monitor("certificates", ("/nodes/{node}/certificates/info",)),
    _monitor("subscription", ("/nodes/{node}/subscription",)),
    _of_node("disks", "/nodes/{node}/disks/list", loss="no health and wear of disks"),
    _cluster_wide("zfs", "/nodes/{node}/disks/zfs", loss="no ZFS pools"),
    _cluster_wide("thin_pools", "/nodes/{node}/disks/lvmthin", loss="no LVM thin pools, and no metadata of them"),
    # The zone of a node's own bridges is /sdn/zones/localnetwork; /access/permissions names /sdn only.
    _monitor(
        "provisioning",
        ("/nodes/{node}/network",),
        "SDN.Audit",
        "/sdn",
        "Proxmox VE hides the bridges, as if there were none",
        refused=False,
        since=8,
    ),
    _monitor("provisioning", ("/nodes/{node}/network",), before=8),
    _monitor(
        "provisioning",
        ("/nodes/{node}/storage/{storage}/content",),
        "Datastore.Audit",
        "/storage/{storage}",
        "no container templates of the storage",
    ),
    _monitor("provisioning", ("/nodes/{node}/aplinfo",)),
    _of_guest("config", f"{_GUEST}/config", loss="not known whether guests start at boot, and their agent's switch"),
    _of_guest(
        "guest_activity",
        "/nodes/{node}/qemu",
        "/nodes/{node}/lxc",
        loss="no counters of disks and network cards, no ballooning, no pressure",
        refused=False,
    ),
    _of_node("guest_activity", "/nodes/{node}/netstat", loss="no counters of containers' network cards"),
    _of_guest("guest_snapshots", f"{_GUEST}/snapshot", loss="no snapshots"),
    _of_guest("guest_pending", f"{_GUEST}/pending", loss="no pending changes of the configuration"),
    *_of_agent(
        "guest_agent",
        f"{_AGENT}/get-fsinfo",
        f"POST {_AGENT}/ping",
        loss="no file systems inside VMs, and not known whether their agent answers",
    ),
    _of_guest(
        "addresses",
        "/nodes/{node}/lxc/{vmid}/interfaces",
        loss="service discovery and probes know only the addresses that a container's configuration fixes",
    ),
    *_of_agent(
        "addresses",
        f"{_AGENT}/network-get-interfaces",
        loss="service discovery and probes know only the addresses that a VM's configuration fixes",
    ),
    _of_guest(
        "guest details",
        f"{_GUEST}/status/current",
        f"{_GUEST}/config",
        f"{_GUEST}/snapshot",
        "/nodes/{node}/lxc/{vmid}/interfaces",
        loss="the action API's page of a guest stays bare",
    ),
    _monitor(
        "guest details",
        ("/nodes/{node}/tasks",),
        "Sys.Audit",
        "/nodes/{node}",
        "the action API's page of a guest shows no tasks of other users",
        refused=False,
    ),
    _monitor(
        "guest details",
        ("/nodes/{node}/storage/{storage}/content",),
        "Datastore.Audit",
        "/storage/{storage}",
        "a guest in the inventory has no backups; what Proxmox VE shows of them takes Datastore.AllocateSpace on the"
        " storage and VM.Backup on the guest as well, which a reading role leaves out",
    ),
    *_of_agent(
        "guest details",
        f"{_AGENT}/network-get-interfaces",
        loss="the action API's page of a VM shows no addresses",
    ),
    _power(
        "finding the guest",
        ("/cluster/resources", f"{_GUEST}/status/current"),
        "VM.Audit",
        "/vms/{vmid}",
        "every action is refused, because the guest is not seen",
        refused=False,
        essential=True,
    ),
    *(
        _power(
            action,
            tuple(f"POST {_GUEST}/status/{verb}" for verb in verbs),
            "VM.PowerMgmt",
            "/vms/{vmid}",
            "the action fails",
            essential=True,
        )
        for action, verbs in (("start", ("start",)), ("shutdown", ("shutdown",)), ("reset", ("reset", "stop", "start")))
    ),
    _power("following its own task", ("/nodes/{node}/tasks/{upid}/status",)),
    _power(
        "tasks of others",
        ("/nodes/{node}/tasks",),
        "Sys.Audit",
        "/nodes/{node}",
        "a task that somebody else runs on the guest is seen only where it locks the guest",
        refused=False,
    ),
    _pve("status", ("/cluster/status",), "Sys.Audit", "/", "no pve_up"),
    _pve("status", ("/cluster/resources",), "VM.Audit", "/vms/{vmid}", "no pve_up of the guest", refused=False),
    _pve(
        "status",
        ("/cluster/resources",),
        "Datastore.Audit",
        "/storage/{storage}",
        "no pve_up of the storage",
        refused=False,
    ),
    _pve("resources", ("/cluster/resources",), "VM.Audit", "/vms/{vmid}", "the guest is not seen", refused=False),
    _pve("resources", ("/cluster/resources",), "Sys.Audit", "/nodes/{node}", "no figures of the node", refused=False),
    _pve(
        "resources",
        ("/cluster/resources",),
        "Datastore.Audit",
        "/storage/{storage}",
        "the storage is not seen",
        refused=False,
    ),
    _pve("node", ("/cluster/status",), "Sys.Audit", "/", "no pve_node_info"),
    _pve("cluster", ("/cluster/status",), "Sys.Audit", "/", "no pve_cluster_info"),
    _pve("version", ("/version",)),
    _pve(
        "backup-info",
        ("/cluster/status", "/cluster/backup-info/not-backed-up"),
        "Sys.Audit",
        "/",
        "no guests without a backup job",
    ),
    _pve(
        "backup-info",
        ("/cluster/backup-info/not-backed-up",),
        "VM.Audit",
        "/vms/{vmid}",
        "guests without a backup job are hidden, as if all were backed up",
        refused=False,
    ),
    _pve("qdevice", ("/cluster/status", "/cluster/config/qdevice"), "Sys.Audit", "/", "no quorum device"),
    _pve("subscription", ("/cluster/status",), "Sys.Audit", "/", "not known which node the target is"),
    _pve("subscription", ("/nodes/{node}/subscription",)),
    _pve("config", ("/cluster/status",), "Sys.Audit", "/", "not known which node the target is"),
    _pve(
        "config",
        ("/nodes/{node}/qemu", "/nodes/{node}/lxc", f"{_GUEST}/config"),
        "VM.Audit",
        "/vms/{vmid}",
        "no pve_onboot_status of the guest",
        refused=False,
    ),
    _pve("replication", ("/cluster/status",), "Sys.Audit", "/", "not known which node the target is"),
    _pve(
        "replication",
        ("/nodes/{node}/replication",),
        "VM.Audit",
        "/vms/{vmid}",
        "no replication job, as soon as one guest is hidden",
    ),
)

# On PVE 8 this right also permits commands inside guests, so a read-only role does not have it.
UNSAFE_TO_READ = frozenset({"VM.Monitor"})

ROLE_NAMES: dict[Holder, str] = {"monitor": "watch-monitor", "power": "watch-power", "/pve": "watch-monitor"}
# The order of the tables and roles: what is needed most comes first.
_ORDER = ("Sys.Audit", "VM.Audit", "Datastore.Audit", "Pool.Audit", "VM.PowerMgmt")


def needs(holder: Holder, major: int, feature: str | None = None) -> tuple[Need, ...]:
    """What one token needs at that version of Proxmox VE, in the order of the table."""
    return tuple(
        need
        for need in NEEDS
        if need.holder == holder and need.holds_for(major) and (feature is None or need.feature == feature)
    )


def features(holder: Holder) -> tuple[str, ...]:
    """The names of what that token is for."""
    return tuple(dict.fromkeys(need.feature for need in NEEDS if need.holder == holder))


def role(holder: Holder, major: int) -> tuple[str, ...]:
    """The privileges of the role that is advised for that version; the power role holds what an action needs."""
    wanted = {
        need.privilege
        for need in needs(holder, major)
        if need.privilege and (holder == "monitor" or need.essential) and need.privilege not in UNSAFE_TO_READ
    }
    return tuple(sorted(wanted, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)))


def taken_away(granted: Permissions, acl: Collection[AclRow], privilege: str, base: str) -> list[str]:
    """The places below `base` where a token lacks the privilege, sorted: /vms/100 with the role NoAccess. Pure.

    `granted` looks at every place that the ACL has an entry for, whoever's, and leaves out those where the token may
    nothing: without the ACL they are not seen. NoAccess on a pool takes its guests and storages away. Source:
    get_effective_permissions, compile_acl_path in RPCEnvironment.pm, https://git.proxmox.com/?p=pve-access-control.git
    """
    below = f"{base.rstrip('/')}/"
    named = {*granted, *(row.path for row in acl)}
    places = {place for place in named if place.startswith(below) and place != below}
    lacking = {place for place in places if privilege not in granted.get(place, ())}
    if base in ("/vms", "/storage"):
        shut = {row.path for row in acl if row.role == "NoAccess" and f"{row.path}/".startswith("/pool/")}
        lacking |= {place for place in shut if not granted.get(place)}
    return sorted(lacking)


def calls_of(feature: str, holder: Holder = "monitor") -> tuple[str, ...]:
    """All calls of a collector, whatever the version."""
    found = (call for need in NEEDS if (need.holder, need.feature) == (holder, feature) for call in need.calls)
    return tuple(dict.fromkeys(found))


def in_words(feature: str, holder: Holder = "monitor") -> str:
    """The privileges of a collector for a cell of a table."""
    found: dict[str, str] = {}
    for need in NEEDS:
        if (need.holder, need.feature) == (holder, feature) and need.privilege:
            found.setdefault(f"{need.privilege} on {need.path}", versions(need))
    return "; ".join(f"{name} ({when})" if when else name for name, when in found.items()) or "any token"


def versions(need: Need) -> str:
    """Which versions of Proxmox VE ask for it; empty for all."""
    if need.since > OLDEST:
        return f"since PVE {need.since}"
    return f"before PVE {need.before}" if need.before <= NEWEST else ""
