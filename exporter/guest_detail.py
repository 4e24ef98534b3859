"""One guest with what the collectors do not keep: settings, snapshots, tasks, addresses, backups, read when asked for.

Bounded: an answer is kept for a while, few are read at once, and each read has its time. What cannot be read leaves the
rest as it is and says why.

Backups Proxmox VE shows to those who may restore them: to others it answers 200 without them, so none seen is never
told as none there.

Settings that could carry a secret are withheld and only named: what is shown is a list of the harmless ones, because
Proxmox VE keeps adding settings (environments of containers, arguments of QEMU, passwords of cloud-init).
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from exporter.snapshot import View
from pvewatch.inventory import AddressEntry, BackupEntry, GuestDetail, GuestEntry, SnapshotEntry, TaskEntry
from pvewatch.pve.addresses import configured_cards, reported_cards
from pvewatch.pve.client import PveClient
from pvewatch.pve.errors import PveError
from pvewatch.pve.parsers import WrongShape, amount, flag, mapping, number, rows, text

KEEP_SECONDS = 30.0
KEPT_GUESTS = 500
READS_AT_ONCE = 4
# For all parts together; a read that has begun may take the client's own time on top.
READ_SECONDS = 10.0
CALL_SECONDS = 8.0
TASKS = 50
MOST_ROWS = 500
MOST_BACKUP_STORAGES = 8
MOST_CHARACTERS = 8192

NO_BACKUPS_SEEN = (
    "none seen; Proxmox VE shows backups only to a token with Datastore.AllocateSpace on the storage and VM.Backup on"
    " the guest, which a read-only token lacks"
)
NO_BACKUP_STORAGE = "not asked: the token sees no available storage for backups on the guest's node"

# qemu-server src/PVE/QemuServer.pm and pve-container src/PVE/LXC/Config.pm, the schemas of a guest's settings.
_HARMLESS = re.compile(
    r"(acpi|affinity|agent|allow-ksm|arch|audio\d+|autostart|balloon|bios|boot|bootdisk|ciuser|citype|cmode|console|cores"
    r"|cpu|cpulimit|cpuunits|description|digest|dev\d+|efidisk\d+|features|freeze|hostname|hostpci\d+|hotplug|hugepages"
    r"|ide\d+|ipconfig\d+|keephugepages|keyboard|kvm|localtime|lock|machine|memory|meta|migrate_downtime|migrate_speed"
    r"|mp\d+|name|nameserver|net\d+|numa\d*|onboot|ostype|parallel\d+|parent|protection|reboot|rng\d+|rootfs|sata\d+"
    r"|scsi\d+|scsihw|searchdomain|serial\d+|shares|smp|snaptime|sockets|spice_enhancements|startdate|startup|swap"
    r"|tablet|tags|tdf|template|timezone|tpmstate\d+|tty|unprivileged|unused\d+|usb\d+|vcpus|vga|virtio\d+|virtiofs\d+"
    r"|vmgenid|vmstatestorage|watchdog)"
)


class ReaderBusy(Exception):
    """As many guests as may be are being read already; it is worth asking again in a few seconds."""


class GuestReader:
    """Reads single guests and remembers the answers for KEEP_SECONDS. Any thread may ask."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], GuestDetail] = OrderedDict()
        self._reading: dict[tuple[str, str], threading.Event] = {}

    def read(self, client: PveClient, guest: GuestEntry, storages: Sequence[str] = ()) -> GuestDetail:
        """What there is to know of this guest now; `storages` are asked for its backups. Raises ReaderBusy."""
        key = (guest.cluster, guest.id)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and 0 <= self._clock() - kept.read_at < KEEP_SECONDS and kept.guest.node == guest.node:
                return kept.model_copy(update={"guest": guest})
            # Who asks for a guest that is being read waits for that answer: looking twice is not asking PVE twice.
            under_way = self._reading.get(key)
            if under_way is None:
                if len(self._reading) >= READS_AT_ONCE:
                    raise ReaderBusy
                self._reading[key] = threading.Event()
        if under_way is not None:
            under_way.wait(READ_SECONDS + CALL_SECONDS)
            with self._lock:
                found = self._kept.get(key)
            if found is None:
                raise ReaderBusy
            return found.model_copy(update={"guest": guest})
        try:
            answer = _read(client, guest, storages, self._clock)
            with self._lock:
                self._kept[key] = answer
                self._kept.move_to_end(key)
                while len(self._kept) > KEPT_GUESTS:
                    self._kept.popitem(last=False)
            return answer
        finally:
            with self._lock:
                self._reading.pop(key).set()


def backup_storages(view: View, node: str) -> tuple[str, ...]:
    """The node's available storages that hold backups, by name; at most MOST_BACKUP_STORAGES."""
    found = sorted(
        storage.storage
        for storage in (view.resources.storages if view.resources else ())
        if storage.node == node and storage.status == "available" and "backup" in storage.content
    )
    return tuple(found[:MOST_BACKUP_STORAGES])


def _read(client: PveClient, guest: GuestEntry, storages: Sequence[str], clock: Callable[[], float]) -> GuestDetail:
    deadline = time.monotonic() + READ_SECONDS
    found: dict[str, Any] = {}
    errors: dict[str, str] = {}
    place: dict[str, Any] = {"node": guest.node, "kind": guest.kind, "vmid": guest.vmid}

    def settings() -> Mapping[str, Any]:
        return mapping(client.read("/nodes/{node}/{kind}/{vmid}/config", **place))

    parts: tuple[tuple[str, Callable[[], object]], ...] = (
        ("configuration", settings),
        ("snapshots", lambda: _snapshots(client.read("/nodes/{node}/{kind}/{vmid}/snapshot", **place))),
        ("tasks", lambda: _tasks(client, guest)),
        ("addresses", lambda: _reported_addresses(client, guest, place)),
    )
    for name, ask in parts:
        if time.monotonic() > deadline:
            errors[name] = f"not asked: the others took more than {READ_SECONDS:.0f} s"
            continue
        try:
            found[name] = ask()
        except PveError as error:
            errors[name] = str(error)
        except WrongShape as error:
            errors[name] = f"Proxmox VE gave an answer of another form: {error}"
    backups, missing = _backups(client, guest, storages, deadline)
    if backups:
        found["backups"] = backups
    if missing:
        errors["backups"] = missing
    known: Mapping[str, Any] = found.pop("configuration", {})
    shown = {key: value for key, value in sorted(known.items()) if _HARMLESS.fullmatch(str(key)) and _is_plain(value)}
    if known:
        found["configuration"] = {
            key: value[:MOST_CHARACTERS] if isinstance(value, str) else value for key, value in shown.items()
        }
        configured = _configured_addresses(known)
        if configured or "addresses" in found:
            found["addresses"] = [*found.get("addresses", []), *configured]
    withheld = sorted(str(key)[:100] for key in known if key not in shown)[:MOST_ROWS]
    return GuestDetail(read_at=clock(), guest=guest, withheld=withheld, errors=errors, **found)


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float)


def _snapshots(data: object) -> list[SnapshotEntry]:
    """Oldest first; the row `current` is the present state and no snapshot."""
    found = []
    for row in rows(data)[:MOST_ROWS]:
        name = text(row.get("name"))
        if name is None or name == "current":
            continue
        found.append(
            SnapshotEntry(
                name=name,
                parent=text(row.get("parent")),
                taken_at=number(row.get("snaptime")),
                description=(text(row.get("description")) or "").strip()[:MOST_CHARACTERS],
                with_memory=flag(row.get("vmstate")),
            )
        )
    return sorted(found, key=lambda entry: (entry.taken_at or 0.0, entry.name))


def _tasks(client: PveClient, guest: GuestEntry) -> list[TaskEntry]:
    return [
        TaskEntry(
            upid=task.upid,
            type=task.type,
            user=task.user,
            node=task.node,
            started=task.started,
            ended=task.ended,
            running=task.running,
            exit_status=task.exit_status,
            ok=task.ok,
        )
        for task in client.node_tasks(guest.node, vmid=guest.vmid, limit=TASKS)
    ]


def _backups(
    client: PveClient, guest: GuestEntry, storages: Sequence[str], deadline: float
) -> tuple[list[BackupEntry], str | None]:
    """Newest first, with why they may not be all; a storage that fails leaves the others."""
    found: list[BackupEntry] = []
    problems: list[str] = []
    for storage in storages:
        if time.monotonic() > deadline:
            problems.append(f"{storage} not asked: the others took more than {READ_SECONDS:.0f} s")
            continue
        try:
            data = client.read(
                "/nodes/{node}/storage/{storage}/content",
                {"content": "backup", "vmid": guest.vmid},
                node=guest.node,
                storage=storage,
            )
            found += _backups_in(data, guest, storage)
        except PveError as error:
            problems.append(f"{storage}: {error}")
        except WrongShape as error:
            problems.append(f"{storage}: Proxmox VE gave an answer of another form: {error}")
    found.sort(key=lambda entry: (-(entry.taken_at or 0.0), entry.volid))
    if not storages:
        problems.append(NO_BACKUP_STORAGE)
    elif not found and len(problems) < len(storages):
        problems.append(NO_BACKUPS_SEEN)
    return found[:MOST_ROWS], "; ".join(problems) or None


def _backups_in(data: object, guest: GuestEntry, storage: str) -> list[BackupEntry]:
    """Of this guest only: a VMID may have been that of a guest of the other kind before."""
    return [
        BackupEntry(volid=volid, taken_at=number(row.get("ctime")), size_bytes=amount(row.get("size")), storage=storage)
        for row in rows(data)
        if (volid := text(row.get("volid"))) is not None
        and row.get("content") == "backup"
        and number(row.get("vmid")) == guest.vmid
        and row.get("subtype") in (None, guest.kind)
    ]


def _reported_addresses(client: PveClient, guest: GuestEntry, place: dict[str, Any]) -> list[AddressEntry]:
    """What the guest's own system says: the container's cards, or those that the VM's agent sees."""
    if guest.status != "running":
        return []
    if guest.kind == "lxc":
        cards = rows(client.read("/nodes/{node}/{kind}/{vmid}/interfaces", **place))
    else:
        answer = client.read("/nodes/{node}/{kind}/{vmid}/agent/network-get-interfaces", **place)
        cards = rows(mapping(answer).get("result"))
    found = dict.fromkeys(islice(reported_cards(cards), MOST_ROWS))
    return [AddressEntry(interface=card, address=address, source="guest") for card, address in found]


def _configured_addresses(known: Mapping[str, Any]) -> list[AddressEntry]:
    return [
        AddressEntry(interface=card, address=address, source="configuration")
        for card, address in islice(configured_cards(known), MOST_ROWS)
    ]
