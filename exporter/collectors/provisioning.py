"""What new guests can be made of: each node's bridges, container templates, and the appliances it could download.

    GET /api/v1/inventory: "bridges": [{"name": "vmbr0", "type": "bridge", "active": true}]

It shows no metrics: the inventory has all of it. By hand: `pvesh get /nodes/pve1/network --type any_bridge`,
`pvesh get /nodes/pve1/storage/local/content --content vztmpl`, `pvesh get /nodes/pve1/aplinfo`.

Since PVE 8 bridges need SDN.Audit or SDN.Use on their zone, /sdn/zones/localnetwork for a node's own. Without it the
answer is 200 and they are missing, so an empty list is not "no bridges". Templates need Datastore.Audit on the storage;
appliances any token may list.

A shared storage is asked about on one node, and so are appliances, which are the same list everywhere: the first by
name that is online.

Appliances were not recorded from a live server: they follow the API reference and Proxmox VE's source.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from exporter.collectors.definition import Collector, Incomplete, Request, every, keep
from exporter.exposition import Metric
from pvewatch.pve.errors import PveError, Unreachable
from pvewatch.pve.models import Storage
from pvewatch.pve.models_provisioning import Appliance, ContainerTemplate, NodeProvisioning

INTERVAL_SECONDS = 1800.0
# More than any node has; each costs a call, for which a dead mount takes its time.
MOST_STORAGES = 32


def read(request: Request) -> NodeProvisioning:
    """Ask one node; a part that fails leaves the others."""
    node, client = request.node, request.client
    problem: PveError | None = None
    bridges = None
    try:
        bridges = client.bridges(node)
    except Unreachable:
        raise  # the node is gone: the others would wait as long
    except PveError as error:
        problem = error
    appliances: tuple[Appliance, ...] | None = None
    if node == _first_online(request):
        try:
            appliances = client.appliances(node)
        except PveError as error:
            problem = problem or error
    templates, failure = _templates(request)
    problem = problem or failure
    answer = NodeProvisioning(node, bridges, templates, appliances)
    if problem is not None:
        raise Incomplete(answer, problem)
    return answer


def _templates(request: Request) -> tuple[tuple[ContainerTemplate, ...] | None, PveError | None]:
    """Of all storages that can be read, None when none of those that there are could; and the first failure."""
    found: list[ContainerTemplate] = []
    storages = list(islice(_storages(request), MOST_STORAGES))
    told, problem = not storages, None
    for storage in storages:
        if request.stopping():
            break
        try:
            found += request.client.container_templates(request.node, storage)
            told = True
        except PveError as error:
            problem = problem or error
            if isinstance(error, Unreachable):
                break
    return tuple(found) if told else None, problem


def _storages(request: Request) -> Iterator[str]:
    """Those of this node that hold container templates and are this node's to tell of."""
    online = _online(request)
    resources = request.view.resources
    usable = [
        storage
        for storage in (resources.storages if resources else ())
        if storage.status == "available" and "vztmpl" in storage.content and storage.node in online
    ]
    for storage in sorted(usable, key=lambda one: one.storage):
        if storage.node == request.node and (not storage.shared or storage.node == _teller(storage, usable)):
            yield storage.storage


def _teller(storage: Storage, usable: list[Storage]) -> str:
    return min(one.node for one in usable if one.storage == storage.storage)


def _online(request: Request) -> frozenset[str]:
    resources = request.view.resources
    return frozenset(node.name for node in (resources.nodes if resources else ()) if node.status == "online")


def _first_online(request: Request) -> str | None:
    return min(_online(request), default=None)


METRICS: tuple[Metric, ...] = ()

COLLECTOR = Collector(
    "provisioning",
    "node",
    read,
    METRICS,
    every(INTERVAL_SECONDS),
    keep(INTERVAL_SECONDS),
)
