"""The areas that are read from Proxmox VE. To add one: a module, and a line here."""

from exporter.collectors import addresses, config, node, resources, status, tasks, version
from exporter.collectors.definition import Collector

# In the order in which they are asked: the others look at what resources found.
COLLECTORS: tuple[Collector, ...] = (
    resources.COLLECTOR,
    status.COLLECTOR,
    tasks.COLLECTOR,
    version.COLLECTOR,
    node.COLLECTOR,
    config.COLLECTOR,
    addresses.COLLECTOR,
)
