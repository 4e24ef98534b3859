"""Links between dashboards and to people's pages.

From a row of a table a value is taken by the column's heading (`column`), from a line or figure by its label (`label`),
on the page of one cluster, node or guest by the variable (`chosen`).
"""

from __future__ import annotations

from typing import Any

from grafana.source import house

CLUSTER = "pve-cluster"
NODE = "pve-node"
GUEST = "pve-guest"
STORAGE = "pve-storage"
FLEET = "pve-overview"
ALERTS = "pve-alerts"
BACKUPS = "pve-backups"
AGENTS = "pve-agents"
SERVICES = "pve-services"
AUTOMATION = "pve-automation"
OWN = "pve-pvewatch"

ACT = "${action_api:raw}"
_KEPT = "${datasource:queryparam}&${__url_time_range}"


def column(heading: str) -> str:
    """The value of the row in the column of that heading (after renaming)."""
    return f'${{__data.fields["{heading}"]:percentencode}}'


def label(name: str) -> str:
    """The label of the line or figure that is clicked."""
    return f"${{__field.labels.{name}:percentencode}}"


def chosen(variable: str) -> str:
    """The value chosen at the top of the dashboard."""
    return f"${{{variable}:percentencode}}"


def board(title: str, uid: str, **variables: str) -> Any:
    """Another dashboard with the data source, the time and these variables, e.g. `cluster=links.column("Cluster")`."""
    carried = "".join(f"&var-{name}={value}" for name, value in variables.items())
    return house.link(title, f"/d/{uid}?{_KEPT}{carried}", new_tab=False)


def to_cluster(cluster: str) -> Any:
    """The dashboard of a cluster."""
    return board("Cluster", CLUSTER, cluster=cluster)


def to_node(cluster: str, node: str) -> Any:
    """The dashboard of a node."""
    return board("Node", NODE, cluster=cluster, node=node)


def to_guest(cluster: str, vmid: str) -> Any:
    """The dashboard of a guest."""
    return board("Guest", GUEST, cluster=cluster, guest=vmid)


def to_storage(cluster: str, storage: str) -> Any:
    """The dashboard of a storage."""
    return board("Storage", STORAGE, cluster=cluster, storage=storage)


def guest_acts(cluster: str, kind: str, vmid: str) -> list[Any]:
    """The action API's pages of a guest and its place in Proxmox VE; opening any of them changes nothing."""
    page = f"{ACT}/guests/{cluster}/{kind}/{vmid}"
    return [
        house.link("Guest page", page),
        house.link("Act: start …", f"{page}/act/start"),
        house.link("Act: shut down …", f"{page}/act/shutdown"),
        house.link("Act: reset …", f"{page}/act/reset"),
        house.link("Proxmox VE", f"{ACT}/pve/{cluster}/{kind}/{vmid}"),
    ]


def node_acts(cluster: str, node: str) -> list[Any]:
    """The guests of a node among the pages that act, and the node's place in Proxmox VE."""
    return [
        house.link("Act on its guests …", f"{ACT}/?cluster={cluster}&q={node}"),
        house.link("Proxmox VE", f"{ACT}/pve/{cluster}/node/{node}"),
    ]


def cluster_in_pve(cluster: str) -> Any:
    """The web interface of a cluster."""
    return house.link("Proxmox VE", f"{ACT}/pve/{cluster}")


def runbook(alert: str) -> Any:
    """What an alert means and how to mend it."""
    return house.link("Runbook", f"{ACT}/runbooks/{alert}")
