"""Guests, nodes and storages out of one `GET /cluster/resources`: most of what there is to know, for one call.

    pve_up{cluster="home",id="qemu/100"} 1
    pve_cpu_usage_ratio{cluster="home",id="qemu/100"} 0.0163
    pve_guest_status{cluster="home",id="qemu/100",status="running"} 1

By hand: `pvesh get /cluster/resources`.

Names, labels and types of prometheus-pve-exporter are kept, so that dashboards and rules made for it go on working.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from operator import attrgetter

from exporter.collectors.definition import Collector, Incomplete, Request, every_poll, keep_poll
from exporter.expectations import expected_running, looked_at
from exporter.exposition import Metric, Number, Sample
from exporter.frozen_figures import trusted
from exporter.jobs import Considerate
from exporter.snapshot import View
from pvewatch.pve.errors import Forbidden
from pvewatch.pve.models import Guest, Node, Permissions, Resources, Storage

GUEST_STATES = (
    "running", "stopped", "paused", "suspended", "prelaunch",
    "io-error", "guest-panicked", "internal-error", "unknown", "other",
)  # fmt: skip
# Beyond these a guest's tags stand on pve_guest_info only.
MAX_TAGS = 16
NODE_STATES = ("online", "offline", "unknown")


def read(request: Request) -> Resources:
    """Ask for all resources; figures that PVE only repeats are withheld (see `trusted`).

    A token without rights gets 200 and next to nothing. That is told as `forbidden`, with the rows there are: a
    cluster without guests and one whose guests may not be seen must not look the same.
    """
    found = _unique(request.client.cluster_resources(Considerate().breathe))
    previous = request.previous if isinstance(request.previous, Resources) else None
    found = trusted(found, request.frozen_since, request.now, request.settings.figures_expire_seconds)
    found = _with_known_names(found, previous)
    missing = "" if found.guests else _why_no_guests(request.client.permissions())
    if not missing:
        return found
    told = f"{missing}; `pvewatch check` prints the commands that mend it"
    raise Incomplete(found, Forbidden(told, host=str(request.cluster.hosts[0]), path="/cluster/resources"))


def _why_no_guests(granted: Permissions) -> str:
    """Why the token sees no guest; empty where it might and there is none. Pure."""
    if not granted:
        return "the token may nothing at all"
    # What is granted on / and counts below stands at these paths, too; a pool's members are seen by its privileges.
    # Storages that may not be seen are no failure here: alerts about guests would end with it. `pvewatch check` tells.
    seen = any("VM.Audit" in names for path, names in granted.items() if path.startswith(("/vms", "/pool/")))
    return "" if seen else "the token lacks VM.Audit on /vms, so no guest is visible"


Row = Guest | Node | Storage


def _unique(found: Resources) -> Resources:
    """One row for each id: two equal series would make Prometheus refuse them."""
    kinds: tuple[Sequence[Row], ...] = (found.guests, found.nodes, found.storages)
    if all(len({row.id for row in rows}) == len(rows) for rows in kinds):
        return found
    return replace(
        found,
        guests=tuple({guest.id: guest for guest in reversed(found.guests)}.values())[::-1],
        nodes=tuple({node.id: node for node in reversed(found.nodes)}.values())[::-1],
        storages=tuple({storage.id: storage for storage in reversed(found.storages)}.values())[::-1],
    )


def _with_known_names(found: Resources, previous: Resources | None) -> Resources:
    """Rows with status unknown come without name and template flag: those do not change because a node is gone."""
    if previous is None or not any(map(_is_nameless, found.guests)):
        return found

    def named(guest: Guest) -> Guest:
        before = previous.guest(guest.id) if _is_nameless(guest) else None
        return guest if before is None else replace(guest, name=before.name, template=before.template)

    return replace(found, guests=tuple(map(named, found.guests)))


def _is_nameless(guest: Guest) -> bool:
    return guest.name is None and guest.status == "unknown"


def _guests(view: View) -> Iterable[Guest]:
    return view.resources.guests if view.resources else ()


def _nodes(view: View) -> Iterable[Node]:
    return view.resources.nodes if view.resources else ()


def _storages(view: View) -> Iterable[Storage]:
    return view.resources.storages if view.resources else ()


def _figure(attribute: str, *rows: Callable[[View], Iterable[Row]]) -> Callable[[View], Iterator[Sample]]:
    get: Callable[[Row], Number | None] = attrgetter(attribute)

    def samples(view: View) -> Iterator[Sample]:
        for of in rows:
            for row in of(view):
                yield (row.id,), get(row)

    return samples


def _up(view: View) -> Iterator[Sample]:
    for guest in _guests(view):
        yield (guest.id,), int(guest.status == "running")
    for storage in _storages(view):
        yield (storage.id,), int(storage.status == "available")


def _ha_state(view: View) -> Iterator[Sample]:
    rows: tuple[Guest | Node, ...] = (*_guests(view), *_nodes(view))
    for row in rows:
        if row.ha_state is not None:
            yield (row.id, row.ha_state), 1


def _lock_state(view: View) -> Iterator[Sample]:
    for guest in _guests(view):
        if guest.lock is not None:
            yield (guest.id, guest.lock), 1


def _guest_info(view: View) -> Iterator[Sample]:
    for guest in _guests(view):
        yield (guest.id, guest.node, guest.name or "", guest.kind, str(int(guest.template)), guest.tags or ""), 1


def _tag_info(view: View) -> Iterator[Sample]:
    for guest in _guests(view):
        for tag in guest.tag_list[:MAX_TAGS]:
            yield (guest.id, tag), 1


def _pool_info(view: View) -> Iterator[Sample]:
    for guest in _guests(view):
        if guest.pool is not None:
            yield (guest.id, guest.pool), 1


def _storage_info(view: View) -> Iterator[Sample]:
    for storage in _storages(view):
        yield (storage.id, storage.node, storage.storage, storage.plugin_type or "", ",".join(storage.content)), 1


def _guest_status(view: View) -> Iterator[Sample]:
    for guest in _guests(view):
        status = guest.status if guest.status in GUEST_STATES else "other"
        for state in GUEST_STATES:
            yield (guest.id, state), int(state == status)


def _node_status(view: View) -> Iterator[Sample]:
    for node in _nodes(view):
        status = node.status if node.status in NODE_STATES else "unknown"
        for state in NODE_STATES:
            yield (node.id, state), int(state == status)


def _own_guest_info(view: View) -> Iterator[Sample]:
    for guest in _guests(view):
        tags = ";".join(guest.tag_list)  # as Proxmox VE joins them since 7.3, whatever separates them in an old guest
        yield (guest.id, guest.kind, str(guest.vmid), guest.name or "", guest.node, tags), 1


def _expected_running(view: View) -> Iterator[Sample]:
    for guest in _guests(view):
        expected = expected_running(guest, view)
        yield (guest.id,), None if expected is None else int(expected)


_LASTING_GUEST = attrgetter(
    "id", "status", "name", "node", "template", "tags", "pool", "lock", "ha_state",
    "cpu_limit", "memory_limit_bytes", "disk_limit_bytes",
)  # fmt: skip
_LASTING_NODE = attrgetter(
    "id", "name", "status", "ha_state", "cpu_limit", "memory_limit_bytes", "disk_limit_bytes", "level"
)
_LASTING_STORAGE = attrgetter("id", "storage", "node", "status", "plugin_type", "content", "shared", "disk_limit_bytes")


def _lasting(view: View) -> object:
    """What stays from poll to poll on an ordinary day: states, names and limits, no figures."""
    return (
        [_LASTING_GUEST(guest) for guest in _guests(view)],
        [_LASTING_NODE(node) for node in _nodes(view)],
        [_LASTING_STORAGE(storage) for storage in _storages(view)],
    )


_ID = ("id",)

# Each stands under two names: with the same function they are worked out once.
_RECEIVED = _figure("net_in_bytes", _guests)
_SENT = _figure("net_out_bytes", _guests)
_READ = _figure("disk_read_bytes", _guests)
_WRITTEN = _figure("disk_write_bytes", _guests)

METRICS = (
    Metric(
        "pve_up",
        "gauge",
        "Node online, cluster quorate, guest running, storage available: 1. Anything else, unknown included: 0.",
        _ID,
        _up,
        made_of=_lasting,
    ),
    Metric(
        "pve_disk_size_bytes",
        "gauge",
        "Size of the root disk or storage.",
        _ID,
        _figure("disk_limit_bytes", _nodes, _guests, _storages),
        made_of=_lasting,
    ),
    Metric(
        "pve_disk_usage_bytes",
        "gauge",
        "Used part of the root disk or storage; always 0 for VMs, of which PVE does not know it.",
        _ID,
        _figure("disk_used_bytes", _nodes, _guests, _storages),
    ),
    Metric(
        "pve_memory_size_bytes",
        "gauge",
        "Memory of the node, or the guest's limit.",
        _ID,
        _figure("memory_limit_bytes", _nodes, _guests),
        made_of=_lasting,
    ),
    Metric("pve_memory_usage_bytes", "gauge", "Used memory.", _ID, _figure("memory_used_bytes", _nodes, _guests)),
    Metric(
        "pve_guest_memory_host_bytes",
        "gauge",
        "Memory that the VM takes from its node, QEMU's own included; since PVE 9.",
        _ID,
        _figure("memory_host_bytes", _guests),
    ),
    Metric(
        "pve_network_transmit_bytes",
        "gauge",
        "Deprecated, use pve_network_transmit_bytes_total: bytes sent by the guest since it started.",
        _ID,
        _SENT,
    ),
    Metric(
        "pve_network_receive_bytes",
        "gauge",
        "Deprecated, use pve_network_receive_bytes_total: bytes received by the guest since it started.",
        _ID,
        _RECEIVED,
    ),
    Metric(
        "pve_disk_write_bytes",
        "gauge",
        "Deprecated, use pve_disk_written_bytes_total: bytes written by the guest since it started.",
        _ID,
        _WRITTEN,
    ),
    Metric(
        "pve_disk_read_bytes",
        "gauge",
        "Deprecated, use pve_disk_read_bytes_total: bytes read by the guest since it started.",
        _ID,
        _READ,
    ),
    Metric(
        "pve_cpu_usage_ratio",
        "gauge",
        "CPU use as a share of the allotted CPUs, 0 to 1.",
        _ID,
        _figure("cpu_ratio", _nodes, _guests),
    ),
    Metric(
        "pve_cpu_usage_limit", "gauge", "Number of CPUs.", _ID, _figure("cpu_limit", _nodes, _guests), made_of=_lasting
    ),
    Metric(
        "pve_uptime_seconds",
        "gauge",
        "Seconds since the node or guest started.",
        _ID,
        _figure("uptime_seconds", _nodes, _guests),
    ),
    Metric(
        "pve_storage_shared",
        "gauge",
        "Whether the storage is shared: then every node shows the same one.",
        _ID,
        lambda view: (((storage.id,), int(storage.shared)) for storage in _storages(view)),
        made_of=_lasting,
    ),
    Metric("pve_network_transmit_bytes_total", "counter", "Bytes sent by the guest since it started.", _ID, _SENT),
    Metric(
        "pve_network_receive_bytes_total",
        "counter",
        "Bytes received by the guest since it started.",
        _ID,
        _RECEIVED,
    ),
    Metric("pve_disk_written_bytes_total", "counter", "Bytes written by the guest since it started.", _ID, _WRITTEN),
    Metric("pve_disk_read_bytes_total", "counter", "Bytes read by the guest since it started.", _ID, _READ),
    Metric(
        "pve_ha_state",
        "gauge",
        "The HA state; only the present one is shown.",
        ("id", "state"),
        _ha_state,
        made_of=_lasting,
    ),
    Metric("pve_lock_state", "gauge", "The guest's lock; only the present one is shown.", ("id", "state"), _lock_state),
    Metric(
        "pve_guest_info",
        "gauge",
        "The guest as PVE describes it; always 1.",
        ("id", "node", "name", "type", "template", "tags"),
        _guest_info,
        made_of=_lasting,
    ),
    Metric(
        "pve_guest_tag_info",
        "gauge",
        "One series for each tag of the guest; always 1.",
        ("id", "tag"),
        _tag_info,
        made_of=_lasting,
    ),
    Metric(
        "pve_guest_pool_info",
        "gauge",
        "The resource pool of the guest, where it has one and the token may see it; always 1.",
        ("id", "pool"),
        _pool_info,
        made_of=_lasting,
    ),
    Metric(
        "pve_storage_info",
        "gauge",
        "The storage as PVE describes it; always 1.",
        ("id", "node", "storage", "plugintype", "content"),
        _storage_info,
        made_of=_lasting,
    ),
    Metric(
        "pve_guest_status",
        "gauge",
        "The guest's state, 1 for the present one. Guests of a node that is gone are unknown, whatever PVE repeats.",
        ("id", "status"),
        _guest_status,
        made_of=_lasting,
    ),
    Metric(
        "pve_node_status",
        "gauge",
        "The node's state, 1 for the present one.",
        ("id", "status"),
        _node_status,
        made_of=_lasting,
    ),
    Metric(
        "pvewatch_guest_info",
        "gauge",
        "The guest's name, place and tags, which alerts about it carry; always 1.",
        ("id", "kind", "vmid", "name", "node", "tags"),
        _own_guest_info,
        made_of=_lasting,
    ),
    Metric(
        "pvewatch_guest_expected_running",
        "gauge",
        "Whether the guest should run: onboot, HA or its tag says so, and nobody has stopped it on purpose.",
        _ID,
        _expected_running,
        reads=("config", "tasks"),
        made_of=looked_at,
    ),
)

COLLECTOR = Collector("resources", "cluster", read, METRICS, every_poll, keep_poll)
