"""The areas that are read from Proxmox VE. To add one: a module, and a line here."""

from exporter.collectors import (
    backup,
    certificates,
    clock,
    config,
    guest_activity,
    guest_agent,
    guest_pending,
    guest_snapshots,
    ha,
    node,
    node_history,
    qdevice,
    quorum,
    replication,
    resources,
    services,
    status,
    subscription,
    tasks,
    version,
)
from exporter.collectors.definition import Collector

# In the order in which they are asked: the others look at what resources found.
COLLECTORS: tuple[Collector, ...] = (
    resources.COLLECTOR,
    status.COLLECTOR,
    tasks.COLLECTOR,
    version.COLLECTOR,
    quorum.COLLECTOR,
    qdevice.COLLECTOR,
    ha.COLLECTOR,
    backup.COLLECTOR,
    node.COLLECTOR,
    node_history.COLLECTOR,
    replication.COLLECTOR,
    services.COLLECTOR,
    clock.COLLECTOR,
    certificates.COLLECTOR,
    subscription.COLLECTOR,
    config.COLLECTOR,
    guest_activity.COLLECTOR,
    guest_snapshots.COLLECTOR,
    guest_pending.COLLECTOR,
    guest_agent.COLLECTOR,
)
