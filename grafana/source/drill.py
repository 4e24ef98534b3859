"""The PromQL of the pages of one cluster, node, guest or storage, and the lists that several of them show.

As in promql.py, every expression counts an exporter that is scraped twice once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from grafana.source import house, links
from grafana.source.board import Column, Query
from grafana.source.promql import IN_CLUSTER, TEMPLATES, most
from grafana.source.scenarios import SEEN, Feature
from grafana.source.states import GUEST_STATES

ONE_NODE = f'{IN_CLUSTER}, id="node/$node"'
ON_NODE = f'{IN_CLUSTER}, node="$node"'
ONE_GUEST = f'{IN_CLUSTER}, id=~"(qemu|lxc)/$guest"'

OFFLINE = "a node that is offline has no figures"
STOPPED = "a guest that is stopped has no such figures"
NO_FIGURES = "no figures: the guest's node is gone, or the exporter is down"
NO_AGENT = "nothing from an agent: the guest has none, or it has fallen silent"
RELEASE_9 = "Proxmox VE tells it since release 9"

Texts = Mapping[str, tuple[str, str]]


def of_node(expr: str) -> str:
    """`expr` per node with the node's name as a label: ids are `node/NAME`."""
    return f'label_replace({expr}, "node", "$1", "id", "node/(.+)")'


def coded(metric: str, selector: str, texts: Texts, label: str, by: str = "cluster, id") -> str:
    """A set of states, one series per state, as one series whose value is the present state's place in `texts`, from 1.

    Where two exporters disagree for a moment, the later in `texts` wins: in doubt the worse.
    """
    terms = (f'{place} * ({metric}{{{selector}, {label}="{state}"}} == 1)' for place, state in enumerate(texts, 1))
    return f"max by ({by}) ({' or '.join(terms)})"


def code_texts(texts: Texts) -> Any:
    """The texts of what `coded` gives."""
    return house.value_map({str(place): text for place, text in enumerate(texts.values(), 1)}, ("No data", "text"))


def on_node(expr: str) -> str:
    """`expr` per guest, of the guests of the chosen node alone."""
    return f"({expr}) and on (cluster, id) pvewatch_guest_info{{{ON_NODE}}}"


def of_node_guests(series: str) -> str:
    """`series` (a selector, or a rate of one) of the guests that are on the chosen node at the end of the range."""
    return f"max by (cluster, id) ({series} and on (cluster, id) (pvewatch_guest_info{{{ON_NODE}}} @ end()))"


def guest_states(where: str = IN_CLUSTER) -> str:
    """Every guest with name, VMID, kind, node and its state as labels; templates left out."""
    info = f"topk by (cluster, id) (1, pvewatch_guest_info{{{where}}})"
    state = f"max by (cluster, id, status) (pve_guest_status{{{IN_CLUSTER}}}) == 1"
    return (
        f"({state} unless on (cluster, id) {TEMPLATES}) * on (cluster, id) group_left (name, vmid, kind, node) {info}"
    )


def guest_columns() -> list[Column]:
    """The first columns of a list of the chosen cluster's guests: the VMID leads to the guest and what acts on it."""
    here, vmid = links.chosen("cluster"), links.column("VMID")
    return [
        Column(
            "vmid",
            "VMID",
            links=[links.to_guest(here, vmid), *links.guest_acts(here, links.column("Kind"), vmid)],
            width=90,
        ),
        Column("name", "Guest", links=[links.to_guest(here, vmid)]),
        Column("kind", "Kind", width=80),
        Column("status", "State", mappings=house.value_map(GUEST_STATES, ("Unknown", "purple")), colored=True),
    ]


def node_column(heading: str = "Node", source: str = "node", *, acts: bool = False) -> Column:
    """A column with the name of a node of the chosen cluster, which leads to the node."""
    here, name = links.chosen("cluster"), links.column(heading)
    return Column(source, heading, links=[links.to_node(here, name), *(links.node_acts(here, name) if acts else ())])


def ratio(source: str, heading: str, steps: Any = None) -> Column:
    """A column with a bar from 0 to 1."""
    return Column(source, heading, unit="percentunit", decimals=0, maximum=1, steps=steps, bar=True)


def when(metric: str, selector: str, *, by: str = "cluster, id") -> str:
    """A time in milliseconds, as Grafana wants it; never (0) is left out."""
    return f"1000 * max by ({by}) ({metric}{{{selector}}}) > 0"


def figures(
    metric: str,
    selector: str,
    legend: str,
    *,
    needs: Sequence[Feature] = (SEEN,),
    may_be_empty: str | None = None,
) -> Query:
    """A figure of one node or guest as it is."""
    return Query(most(metric, selector), legend, needs=needs, may_be_empty=may_be_empty)


def share(used: str, size: str, selector: str) -> str:
    """Used of size, where there is a size."""
    return f"{most(used, selector)} / ({most(size, selector)} > 0)"
