"""What exists in the simulated cluster: nodes, guests and storages, made from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from pvewatch.simulator.figures import fraction

Kind = Literal["qemu", "lxc"]

MIB = 1024**2
GIB = 1024**3
AUTO_RESET_TAG = "pvewatch-auto-reset"
USERLAND_BOOT_SECONDS = 5.0
_HANGS_KEPT = 50
STATISTICS_EXPIRE_SECONDS = 300.0  # pmxcfs drops the last values of a silent node after 5 minutes

_ROLES = (
    *("web", "db", "mail", "dns", "git", "ci", "cache", "files", "proxy", "backup", "erp", "wiki", "vpn", "build"),
    *("media", "ldap", "queue", "search", "print", "metrics"),
)
_TAGS: tuple[str | None, ...] = ("prod;web", "prod", None, "test", "prod;db", None, "staging", "dmz;prod")
_POOLS: tuple[str | None, ...] = ("prod", None, "prod", "test")


@dataclass(frozen=True, slots=True)
class Power:
    """Whether a guest runs, and since when. Replaced as a whole, so that an old one can be kept and shown."""

    running: bool = False
    paused: bool = False
    started_at: float = 0.0  # unix seconds of the QEMU process or container, where counters begin
    alive_at: float = 0.0  # unix seconds when the guest's own userland is up
    hung_at: float | None = None
    hung_before: tuple[tuple[float, float], ...] = ()  # past hangs of this process: its counters stood still
    pid: int = 0


@dataclass(slots=True)
class Guest:
    """A virtual machine or container: its configuration and its state."""

    kind: Kind
    vmid: int
    node: str
    name: str
    cores: int
    memory_bytes: int
    disk_bytes: int
    tags: str | None = None
    pool: str | None = None
    onboot: bool = False
    template: bool = False
    agent: bool = False
    balloon: bool = False  # its driver inside tells what is free
    lock: str | None = None
    ha_group: str | None = None
    ha_state: str | None = None
    notes: str | None = None
    addresses: tuple[str, ...] = ()
    stopped_on_purpose: bool = False
    power: Power = field(default_factory=Power)
    published: Power = field(default_factory=Power)  # as of the last refresh of the statistics
    boots: int = 0

    @property
    def id(self) -> str:
        """The identity everywhere in the API: "qemu/100"."""
        return f"{self.kind}/{self.vmid}"

    @property
    def config_file(self) -> str:
        """The path of its configuration as error texts name it."""
        return config_file(self.node, self.kind, self.vmid)

    def start(self, now: float, pid: int, boot_seconds: float = USERLAND_BOOT_SECONDS) -> None:
        """Power on: counters and uptime begin again, the userland comes up a little later."""
        self.power = Power(running=True, started_at=now, alive_at=now + boot_seconds, pid=pid)
        self.boots += 1

    def stop(self) -> None:
        """Power off."""
        self.power = Power()

    def reset(self, now: float, boot_seconds: float = USERLAND_BOOT_SECONDS) -> None:
        """The reset button: the userland boots again, the QEMU process with its counters and uptime goes on."""
        self.unhang(now)
        self.power = replace(self.power, paused=False, alive_at=now + boot_seconds)
        self.boots += 1

    def hang(self, now: float) -> None:
        """The userland stops answering; Proxmox VE still says running."""
        if self.power.running and self.power.hung_at is None:
            self.power = replace(self.power, hung_at=now)

    def unhang(self, now: float) -> None:
        """The userland goes on where it was."""
        if self.power.hung_at is not None:
            past = (*self.power.hung_before, (self.power.hung_at, now))[-_HANGS_KEPT:]
            self.power = replace(self.power, hung_at=None, hung_before=past)


def config_file(node: str, kind: str, vmid: int | str) -> str:
    """The configuration path that error texts name, relative to /etc/pve."""
    return f"nodes/{node}/{'qemu-server' if kind == 'qemu' else 'lxc'}/{vmid}.conf"


@dataclass(slots=True)
class Node:
    """A Proxmox VE host."""

    name: str
    nodeid: int
    ip: str
    cores: int
    memory_bytes: int
    disk_bytes: int
    booted_at: float
    offline_since: float | None = None
    statistics_stopped_at: float | None = None  # pvestatd ended
    shown_offline: bool = False  # the row in lists follows at the next refresh

    @property
    def id(self) -> str:
        """The identity in resource rows: "node/pve1"."""
        return f"node/{self.name}"

    @property
    def frozen_since(self) -> float | None:
        """Since when nobody hears its statistics any more (unix seconds)."""
        return min(
            (when for when in (self.offline_since, self.statistics_stopped_at) if when is not None), default=None
        )


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage as storage.cfg names it; not shared means that each node has its own."""

    name: str
    plugin_type: str
    content: str
    shared: bool
    size_bytes: int
    used_share: float


@dataclass(frozen=True, slots=True)
class QDevice:
    """A quorum device as /cluster/config/qdevice tells of it."""

    connected: bool = True
    host: str = "192.0.2.5:5403"


@dataclass(frozen=True, slots=True)
class ReplicationJob:
    """Copies a guest's disks from its node to another every quarter of an hour."""

    vmid: int
    target: str
    number: int = 0
    state: Literal["ok", "failing", "new"] = "ok"

    @property
    def id(self) -> str:
        """The identity of a job: "101-0"."""
        return f"{self.vmid}-{self.number}"


@dataclass(frozen=True, slots=True)
class Subscription:
    """A node's subscription; `next_due` is a date such as 2027-03-01."""

    status: str = "active"
    level: str = "c"
    next_due: str = "2027-03-01"


@dataclass(frozen=True, slots=True)
class Version:
    """What /version answers and what differs between the releases."""

    version: str
    release: str
    repoid: str
    kernel: str

    @property
    def major(self) -> int:
        """7, 8 or 9."""
        return int(self.release.split(".")[0])


VERSIONS = {
    "7.4": Version("7.4-17", "7.4", "513c62be", "5.15.158-2-pve"),
    "8.4": Version("8.4.21", "8.4", "2606ac850d46da29", "6.8.12-16-pve"),
    "9.2": Version("9.2.11", "9.2", "14a22df35955d97d", "6.17.2-1-pve"),
}


@dataclass(slots=True)
class World:
    """One cluster, or a single host when there is one node."""

    name: str
    seed: int
    version: Version
    nodes: dict[str, Node]
    guests: dict[int, Guest]
    storages: tuple[Storage, ...]
    qdevice: QDevice | None = None
    replication: tuple[ReplicationJob, ...] = ()
    subscription: Subscription | None = None

    @property
    def clustered(self) -> bool:
        """A single host has no cluster row, node id 0 and no HA."""
        return len(self.nodes) > 1

    @property
    def has_zfs(self) -> bool:
        """A single host has its disks on LVM."""
        return self.clustered

    @property
    def has_ceph(self) -> bool:
        """Ceph needs three nodes."""
        return len(self.nodes) >= 3

    @property
    def disk_storage(self) -> Storage:
        """Where guests have their disks."""
        return next((found for found in self.storages if found.content == "images,rootdir"), self.storages[0])

    @property
    def local_node(self) -> Node:
        """The node that answers: the first that is online, as behind a floating address."""
        online = [node for node in self.nodes.values() if node.offline_since is None]
        return online[0] if online else next(iter(self.nodes.values()))

    @property
    def quorate(self) -> bool:
        """More than half of the nodes see each other."""
        online = sum(node.offline_since is None for node in self.nodes.values())
        return not self.clustered or online > len(self.nodes) // 2

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools that have a member."""
        return tuple(sorted({guest.pool for guest in self.guests.values() if guest.pool}))

    def guest(self, guest_id: str) -> Guest | None:
        """The guest with the id "qemu/100", or None."""
        return next((guest for guest in self.guests.values() if guest.id == guest_id), None)


def build(name: str, seed: int, nodes: int, guests: int, version: str, now: float) -> World:
    """A cluster `name` with so many nodes and guests, all of it decided by `seed`; `now` in unix seconds.

    There is always a running virtual machine 101 that may be reset automatically. With enough guests there are also
    containers, guests stopped on purpose, a template and (with three nodes) one that HA looks after.
    """
    members = {
        f"pve{index}": Node(
            name=f"pve{index}",
            nodeid=index if nodes > 1 else 0,
            ip=f"192.0.2.{10 + index}" if index < 240 else f"198.51.100.{index % 250}",
            cores=(16, 24, 32)[int(fraction(seed, name, index, "cores") * 3)],
            memory_bytes=(128, 192, 256)[int(fraction(seed, name, index, "memory") * 3)] * GIB,
            disk_bytes=400 * GIB,
            booted_at=now - (2 + 60 * fraction(seed, name, index, "boot")) * 86400,
        )
        for index in range(1, nodes + 1)
    }
    vmids = [101, 100, *range(102, 100 + guests)][:guests]
    world = World(
        name=name,
        seed=seed,
        version=VERSIONS[version],
        nodes=members,
        guests={vmid: _guest(vmid, seed, name, list(members.values()), guests, now) for vmid in sorted(vmids)},
        storages=(
            Storage("local", "dir", "iso,vztmpl,backup", False, 100 * GIB, 0.31),
            Storage("local-zfs", "zfspool", "images,rootdir", False, 1800 * GIB, 0.54)
            if nodes > 1
            else Storage("local-lvm", "lvmthin", "images,rootdir", False, 1800 * GIB, 0.54),
            Storage("nas", "nfs", "backup,images,rootdir", True, 8000 * GIB, 0.62),
        ),
    )
    if nodes >= 3 and 102 in world.guests:
        world.guests[102].ha_group, world.guests[102].ha_state = "main", "started"
    return world


def _guest(vmid: int, seed: int, cluster: str, nodes: list[Node], guests: int, now: float) -> Guest:
    chance = fraction(seed, cluster, vmid)
    index = vmid - 100
    template = guests >= 6 and index == guests - 1
    kind: Kind = "lxc" if index % 4 == 3 and not template else "qemu"
    purpose = not template and index % 8 == 5
    role = _ROLES[(index + seed) % len(_ROLES)]
    tags = _TAGS[(index + seed) % len(_TAGS)]
    if vmid == 101 or index % 8 == 4:
        tags = f"{tags};{AUTO_RESET_TAG}" if tags else AUTO_RESET_TAG
    guest = Guest(
        kind=kind,
        vmid=vmid,
        node=nodes[index % len(nodes)].name,
        name="debian-12-template" if template else f"{role}{1 + index // len(_ROLES)}",
        cores=1 if template else (1, 2, 4, 8)[int(chance * 4)],
        memory_bytes=(1, 2, 4, 8)[int(fraction(seed, cluster, vmid, "memory") * 4)] * GIB,
        disk_bytes=(8, 16, 32, 64)[int(fraction(seed, cluster, vmid, "disk") * 4)] * GIB,
        tags=None if template else tags,
        pool=None if template else _POOLS[(index + seed) % len(_POOLS)],
        onboot=not template and (vmid == 101 or purpose or chance < 0.85),
        template=template,
        agent=kind == "qemu" and not template and chance < 0.7,
        balloon=kind == "qemu" and not template and chance < 0.7,
        stopped_on_purpose=purpose,
    )
    if not template and not purpose:
        started_at = now - (0.2 + 30 * fraction(seed, cluster, vmid, "uptime")) * 86400
        node = next(node for node in nodes if node.name == guest.node)
        started_at = max(started_at, node.booted_at + 60)
        pid = 1000 + int(fraction(seed, vmid, "pid") * 3_000_000)
        guest.power = Power(running=True, started_at=started_at, alive_at=started_at + USERLAND_BOOT_SECONDS, pid=pid)
        guest.boots = 1
    guest.published = guest.power
    return guest
