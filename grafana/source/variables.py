"""The variables of the drill-down, under the same names in every dashboard: links carry them by name."""

from __future__ import annotations

from typing import Any

from grafana.source import house

# All is `.*`, not an alternation of hundreds of values: every series that is asked for has these labels.
ANY = ".*"


def cluster(*, several: bool = False) -> Any:
    """Every cluster that is read, seen or not. `several` on lists; one on the page of one cluster, node or guest."""
    query = 'label_values(pve_collector_success{collector="resources"}, cluster)'
    return house.query_variable("cluster", "Cluster", query, several=several, all_value=ANY if several else None)


def node(*, several: bool = False) -> Any:
    """The nodes of the chosen clusters."""
    query = 'label_values(pve_node_info{cluster=~"$cluster"}, name)'
    return house.query_variable("node", "Node", query, several=several, all_value=ANY if several else None)


def guest() -> Any:
    """The guests of the chosen clusters: the VMID is the value, the name is what is read."""
    query = 'query_result(max by (name, vmid) (pvewatch_guest_info{cluster=~"$cluster"}))'
    return house.query_variable("guest", "Guest", query, regex='/name="(?<text>[^"]+)|vmid="(?<value>[^"]+)/g')


def storage(*, several: bool = False) -> Any:
    """The storages of the chosen clusters and, on a page of one node, of that node."""
    query = 'label_values(pve_storage_info{cluster=~"$cluster"}, storage)'
    return house.query_variable("storage", "Storage", query, several=several, all_value=ANY if several else None)
