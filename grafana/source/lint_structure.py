"""Rules about the frame: uid, variables, links, rows, grid, defaults, and that the file fits any server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from grafana.source.panels import Document, links, panels, shown
from pvewatch.render.links import DEFAULT_PUBLIC_URL

GRID_WIDTHS = {24, 12, 8, 6, 4}
VARIABLE_ORDER = ("datasource", "cluster", "node", "guest", "storage", "action_api")
MAX_OPEN_PANELS = 25
MAX_OPEN_QUERIES = 40
CARRIED = ("${datasource:queryparam}", "${__url_time_range}")


def titled_uid(document: Document) -> Iterator[tuple[str, str]]:
    """A uid by hand, the common title, two tags."""
    if not re.fullmatch(r"pve-[a-z-]+", document.get("uid") or ""):
        yield "dashboard", "the uid is chosen by hand and begins with pve-"
    if not document["title"].startswith("Proxmox VE / "):
        yield "dashboard", "the title begins with 'Proxmox VE / '"
    if "pvewatch" not in document["tags"] or len(document["tags"]) != 2:
        yield "dashboard", "it has the tag pvewatch and one of its topic"


def variables_in_order(document: Document) -> Iterator[tuple[str, str]]:
    """The same variables in the same order everywhere, read again when the time changes."""
    found = document["templating"]["list"]
    names = [variable["name"] for variable in found]
    if names != [name for name in VARIABLE_ORDER if name in names]:
        yield "variables", f"{names} are not in the order {VARIABLE_ORDER}"
    for variable in (entry for entry in found if entry["type"] == "query"):
        where = f"variable {variable['name']}"
        if variable["refresh"] != 2 or variable["sort"] != 1:
            yield where, "is not read again when the time changes, or not sorted"
        if not variable["query"].startswith("label_values("):
            yield where, "is not made by label_values()"
        if variable["name"] != "cluster" and "$cluster" not in variable["query"]:
            yield where, "does not follow the chosen cluster"
        if variable.get("includeAll") and variable.get("allValue") != ".*":
            yield where, "its All becomes a list of every value"


def links_out(document: Document) -> Iterator[tuple[str, str]]:
    """Links lead to a dashboard with data source and time, or to the action API in a tab of its own."""
    for panel in shown(document):
        for link in links(panel):
            url = link["url"]
            if not url.startswith(("${action_api:raw}/", "/d/")):
                yield panel["title"], f"{url} leads to neither a dashboard nor the action API"
            if url.startswith("${action_api") and link.get("targetBlank") is not True:
                yield panel["title"], "a page of the action API opens in a tab of its own"
            if re.search(r"(?:fields\[\"[^\"]*\"\]|labels\.\w+)(?!\w)(?!:percentencode)", url):
                yield panel["title"], "a value in a path is not percent-encoded"
            if url.startswith("/d/") and not all(part in url for part in CARRIED):
                yield panel["title"], "a link loses the data source or the time"


def way_back(document: Document) -> Iterator[tuple[str, str]]:
    """Every dashboard leads to all others with its variables and time, and to the action API."""
    by_tag = [link for link in document["links"] if link["type"] == "dashboards" and link["tags"] == ["pvewatch"]]
    if not any(link["includeVars"] and link["keepTime"] for link in by_tag):
        yield "dashboard", "has no way to the others"
    needed = {"pve-guest": ("/act/", "/pve/", "/runbooks/"), "pve-node": ("/pve/", "/runbooks/")}
    urls = " ".join(link["url"] for panel in panels(document) for link in links(panel))
    for part in needed.get(document.get("uid", ""), ()):
        if part not in urls:
            yield "dashboard", f"has no link to {part}: the next step is one click away"


def rows(document: Document) -> Iterator[tuple[str, str]]:
    """Open rows first; a collapsed row holds its panels, so that they ask nothing."""
    collapsed = False
    for panel in (entry for entry in document["panels"] if entry["type"] == "row"):
        if bool(panel["collapsed"]) != bool(panel["panels"]):
            yield panel["title"], "a collapsed row holds its panels and an open one holds none"
        if collapsed and not panel["collapsed"]:
            yield panel["title"], "an open row stands below a collapsed one"
        collapsed = collapsed or bool(panel["collapsed"])


def defaults(document: Document) -> Iterator[tuple[str, str]]:
    """Six hours and a refresh each minute, or a history of days that is not refreshed."""
    expected = {"timezone": "browser", "graphTooltip": 1, "schemaVersion": 42, "editable": False}
    for name, value in expected.items():
        if document.get(name) != value:
            yield "dashboard", f"{name} is {document.get(name)!r}, not {value!r}"
    history = re.fullmatch(r"now-\d+d", document["time"]["from"])
    if (document["time"]["from"], document["refresh"]) != ("now-6h", "1m") and not (
        history and not document["refresh"]
    ):
        yield "dashboard", "opens on six hours with a refresh each minute, or on days without one"
    if document["time"]["to"] != "now":
        yield "dashboard", "does not end now"


def grid(document: Document) -> Iterator[tuple[str, str]]:
    """Widths that reflow, nothing over another, a first line of one height. Collapsed rows too."""
    inside = [panel["panels"] for panel in document["panels"] if panel["type"] == "row" and panel["panels"]]
    for group in ([entry for entry in document["panels"] if entry["type"] != "row"], *inside):
        yield from _overlaps(group)
    if len({panel["gridPos"]["h"] for panel in document["panels"] if panel["gridPos"]["y"] == 0}) != 1:
        yield "dashboard", "the panels of the first line differ in height"


def _overlaps(group: Sequence[Document]) -> Iterator[tuple[str, str]]:
    taken: dict[tuple[int, int], str] = {}
    for panel in group:
        at = panel["gridPos"]
        if at["w"] not in GRID_WIDTHS or at["x"] + at["w"] > 24:
            yield panel["title"], f"is {at['w']} columns wide at {at['x']}"
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cell in taken:
                yield panel["title"], f"lies over {taken[cell]}"
                break
            taken[cell] = panel["title"]


def size(document: Document) -> Iterator[tuple[str, str]]:
    """What opens at once stays few enough for Prometheus."""
    opened = list(panels(document, only_open=True))
    asked = sum(len(panel.get("targets", [])) for panel in opened)
    if len(opened) > MAX_OPEN_PANELS or asked > MAX_OPEN_QUERIES:
        yield "dashboard", f"opens with {len(opened)} panels and {asked} queries"


def portable(document: Document) -> Iterator[tuple[str, str]]:
    """Nothing belongs to one server or one installation."""
    for key in ("id", "__inputs", "__requires", "__elements"):
        if key in document:
            yield "dashboard", f"{key} belongs to one server"
    # The default address of the action API is the one host; rendering replaces it.
    for host in re.findall(r"https?://[^\"/$]+", json.dumps(document)):
        if host != DEFAULT_PUBLIC_URL:
            yield "dashboard", f"{host} is the address of one installation"
    if re.search(r"(?i)\b(?:password|secret|api[_-]?key|bearer)\b\s*[=:]\s*\S", json.dumps(document)):
        yield "dashboard", "holds something that looks like a secret"


def ids(document: Document) -> Iterator[tuple[str, str]]:
    """Ids and refIds are there once each: links and marks point at them."""
    found = [panel["id"] for panel in panels(document)] + [p["id"] for p in document["panels"] if p["type"] == "row"]
    if len(set(found)) != len(found) or 0 in found:
        yield "dashboard", "two panels have the same id, or one has none"
    for panel in panels(document):
        refs = [target.get("refId") for target in panel.get("targets", [])]
        if len(set(refs)) != len(refs) or None in refs:
            yield panel["title"], "two queries have the same refId, or one has none"


def whole_bundle(documents: Sequence[Document]) -> Iterator[tuple[str, str]]:
    """Between dashboards: uids and titles once, links to dashboards and variables that exist."""
    uids = [document["uid"] for document in documents]
    titles = [document["title"] for document in documents]
    for doubled in {uid for uid in uids if uids.count(uid) > 1} | {t for t in titles if titles.count(t) > 1}:
        yield doubled, "is the uid or title of two dashboards"
    names = {document["uid"]: {v["name"] for v in document["templating"]["list"]} for document in documents}
    for document in documents:
        for url in (link["url"] for panel in panels(document) for link in links(panel)):
            if not (match := re.match(r"/d/([^/?]+)", url)):
                continue
            if match[1] not in names:
                yield document["uid"], f"a link leads to {match[1]}, which is not in the bundle"
                continue
            for variable in re.findall(r"[?&]var-(\w+)=", url):
                if variable not in names[match[1]]:
                    yield document["uid"], f"a link gives {match[1]} the variable {variable}, which it does not have"


def repeated_work(documents: Sequence[Document]) -> Iterator[tuple[str, str]]:
    """A ratio or join over all guests that several panels ask for is a recording rule."""
    asked: dict[str, set[str]] = {}
    for document in documents:
        for panel in shown(document):
            for target in panel["targets"]:
                expr = target["expr"]
                if re.search(r"_bytes\{[^}]*\}\) ?/ ?\(", expr) and not re.search(r"\$(?:guest|node|storage)\b", expr):
                    asked.setdefault(expr, set()).add(f"{document['uid']}: {panel['title']}")
    for places in (places for places in asked.values() if len(places) > 1):
        yield sorted(places)[0], f"asks for the same ratio as {', '.join(sorted(places)[1:])}: record it once"
