"""Rules about what is asked: variables, windows, double counting, the number of lines."""

from __future__ import annotations

import re
from collections.abc import Iterator

from grafana.source.panels import Document, links, queries, shown

BUILT_IN = re.compile(r"__(rate_interval|interval|range|data|field|value|series|url_time_range|from|to|all)\b")
_RANKED = re.compile(r"\b(?:topk|bottomk)\s*(?:by \([^)]*\) )?\(\s*(?!1,)")
_ADDED_UP = re.compile(r"\b(?:sum|count|avg)(?: by \([^)]*\))? ?\(\s*(?:rate\(|increase\()?(?:pve|pvewatch|probe)_")
_OF_A_CLUSTER = re.compile(r"\b((?:pve|probe)_\w+|\w+:pve_\w+:\w+)(\{[^}]*\})?")
_BY_GUEST = {"vmid", "name", "guest"}
_BY_NODE = {"id", "node"}
_LINES = ("timeseries", "state-timeline", "bargauge")


def known_variables(document: Document) -> Iterator[tuple[str, str]]:
    """Every variable exists, and no word is one that has lost its dollar sign."""
    names = {variable["name"] for variable in document["templating"]["list"]}
    for panel in shown(document):
        for text in [target["expr"] for target in panel["targets"]] + [link["url"] for link in links(panel)]:
            for used in re.findall(r"\$\{?([A-Za-z_]\w*)", text):
                if used not in names and not BUILT_IN.match(used):
                    yield panel["title"], f"${used} is not a variable of this dashboard"
            for word in re.findall(r'[=~]"([a-z_]+)\|?"', text):
                if word in names:
                    yield panel["title"], f'"{word}" is a variable without its dollar sign'


def matched_as_regex(document: Document) -> Iterator[tuple[str, str]]:
    """A variable that may have several values becomes a regular expression, which `=` does not understand."""
    several = {variable["name"] for variable in document["templating"]["list"] if variable.get("multi")}
    for panel, target in queries(document):
        for name in re.findall(r'[^=!]="[^"]*\$\{?(\w+)', target["expr"]):
            if name in several:
                yield panel["title"], f"compares with ${name}, which may be several, by = instead of =~"


def _without_labels(expr: str) -> str:
    """`expr` without lists of labels, of which one is called pve_version."""
    return re.sub(r"\b(?:by|on|group_left|without) ?\([^)]*\)", "", expr)


def chosen_cluster(document: Document) -> Iterator[tuple[str, str]]:
    """Every series of a cluster is asked for the chosen clusters only."""
    if "cluster" not in {variable["name"] for variable in document["templating"]["list"]}:
        return
    for panel, target in queries(document):
        for metric, selector in _OF_A_CLUSTER.findall(_without_labels(target["expr"])):
            if "$cluster" not in selector:
                yield panel["title"], f"{metric} is read of all clusters, not of the chosen ones"


def bounded(document: Document) -> Iterator[tuple[str, str]]:
    """No panel draws a line per guest, node or storage of a whole fleet."""
    for panel, target in queries(document):
        if panel["type"] not in _LINES or _RANKED.search(target["expr"]):
            continue
        named = set(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
        one_guest, one_node = "$guest" in target["expr"], "$node" in target["expr"]
        if (
            (named & _BY_GUEST and not one_guest)
            or (named & _BY_NODE and not (one_guest or one_node))
            or ("storage" in named and not (one_node or "$storage" in target["expr"]))
        ):
            yield panel["title"], "draws one line per guest, node or storage without topk()"


def windows(document: Document) -> Iterator[tuple[str, str]]:
    """Rates are taken over what Grafana computes from the scrape interval."""
    for panel, target in queries(document):
        for window in re.findall(r"\b(?:rate|irate|increase)\([^\[]*\[([^\]]*)\]", target["expr"]):
            if window not in ("$__rate_interval", "$__range"):
                yield panel["title"], f"[{window}] must be [$__rate_interval], or [$__range] for a total"
            if window == "$__range" and not target.get("instant"):
                yield panel["title"], "[$__range] is a window for one figure, not for a line"


def query_kind(document: Document) -> Iterator[tuple[str, str]]:
    """Lines and states ask for a range, figures and tables for an instant."""
    for panel, target in queries(document):
        instant = panel["type"] not in ("timeseries", "state-timeline")
        if (target.get("instant"), target.get("range")) != (instant, not instant):
            yield panel["title"], f"asks for {'a range' if instant else 'an instant'} where it shows the other"


def counted_once(document: Document) -> Iterator[tuple[str, str]]:
    """Where two exporters are scraped every series is there twice; `max by` comes before anything is added up."""
    for panel, target in queries(document):
        if _ADDED_UP.search(target["expr"]):
            yield panel["title"], "counts every series twice where two exporters are scraped"


def one_line_per_guest(document: Document) -> Iterator[tuple[str, str]]:
    """A guest keeps its line when it moves: lines of guests are not told apart by node."""
    for panel, target in queries(document):
        named = set(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
        if panel["type"] in _LINES and named & _BY_GUEST and "node" in named:
            yield panel["title"], "a guest that moves becomes two lines: its legend names the node"
        of_guests = "guest_info" in target["expr"] and "$guest" not in target["expr"]
        if of_guests and "name" in named and not named & {"vmid", "id"}:
            yield panel["title"], "names repeat and change: show the VMID beside the guest's name"


def datasource(document: Document) -> Iterator[tuple[str, str]]:
    """The data source is the variable, so that the file fits any server."""
    for panel in shown(document):
        for holder in (panel, *panel["targets"]):
            if (holder.get("datasource") or {}).get("uid") != "${datasource}":
                yield panel["title"], "names a data source instead of ${datasource}"
