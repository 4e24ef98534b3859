"""One guest with what the collectors do not keep: its settings, snapshots, tasks and addresses, read when asked for.

Bounded: an answer is kept for a while, few are read at once, and each read has its time. What cannot be read leaves the
rest as it is and says why.

Settings that could carry a secret are withheld and only named: what is shown is a list of the harmless ones, because
Proxmox VE keeps adding settings (environments of containers, arguments of QEMU, passwords of cloud-init).
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pvewatch.inventory import AddressEntry, GuestDetail, GuestEntry, SnapshotEntry, TaskEntry
from pvewatch.pve.client import PveClient
from pvewatch.pve.errors import PveError
from pvewatch.pve.parsers import WrongShape, flag, mapping, number, rows, text

KEEP_SECONDS = 30.0
KEPT_GUESTS = 500
READS_AT_ONCE = 4
# For all parts together; a read that has begun may take the client's own time on top.
READ_SECONDS = 10.0
CALL_SECONDS = 8.0
TASKS = 50
MOST_ROWS = 500
MOST_CHARACTERS = 8192

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

    def read(self, client: PveClient, guest: GuestEntry) -> GuestDetail:
        """What there is to know of this guest now. Raises ReaderBusy."""
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
            answer = _read(client, guest, self._clock)
            with self._lock:
                self._kept[key] = answer
                self._kept.move_to_end(key)
                while len(self._kept) > KEPT_GUESTS:
                    self._kept.popitem(last=False)
            return answer
        finally:
            with self._lock:
                self._reading.pop(key).set()


def _read(client: PveClient, guest: GuestEntry, clock: Callable[[], float]) -> GuestDetail:
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
    known: Mapping[str, Any] = found.pop("configuration", {})
    shown = {key: value for key, value in sorted(known.items()) if _HARMLESS.fullmatch(str(key)) and _is_plain(value)}
    if known:
        found["configuration"] = {
            key: value[:MOST_CHARACTERS] if isinstance(value, str) else value for key, value in shown.items()
        }
        configured = list(_configured_addresses(known))
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


def _reported_addresses(client: PveClient, guest: GuestEntry, place: dict[str, Any]) -> list[AddressEntry]:
    """What the guest's own system says: the container's cards, or those that the VM's agent sees."""
    if guest.status != "running":
        return []
    if guest.kind == "lxc":
        cards = rows(client.read("/nodes/{node}/{kind}/{vmid}/interfaces", **place))
    else:
        answer = client.read("/nodes/{node}/{kind}/{vmid}/agent/network-get-interfaces", **place)
        cards = rows(mapping(answer).get("result"))
    found: dict[tuple[str, str], AddressEntry] = {}
    for card in cards[:MOST_ROWS]:
        name = text(card.get("name")) or ""
        listed = card.get("ip-addresses")
        given = [row.get("ip-address") for row in rows(listed)] if isinstance(listed, list) else []
        # Containers of before PVE 8.3 have these two only, with the prefix' length behind the address.
        for value in (*given, card.get("inet"), card.get("inet6")):
            address = (text(value) or "").partition("/")[0]
            if address and name != "lo":
                found[name, address] = AddressEntry(interface=name[:64], address=address[:64], source="guest")
    return list(found.values())[:MOST_ROWS]


def _configured_addresses(known: Mapping[str, Any]) -> Iterator[AddressEntry]:
    """Fixed addresses of the settings: a container's net0, a VM's ipconfig0 for cloud-init."""
    for key, value in sorted(known.items()):
        match = re.fullmatch(r"(net|ipconfig)(\d{1,2})", str(key))
        if match is None or not isinstance(value, str):
            continue
        options = dict(part.partition("=")[::2] for part in value.split(","))
        for name in ("ip", "ip6"):
            address = options.get(name, "").partition("/")[0]
            if re.fullmatch(r"[0-9a-fA-F:.]{2,45}", address):
                card = options.get("name") or f"net{match[2]}"
                yield AddressEntry(interface=card[:64], address=address, source="configuration")
