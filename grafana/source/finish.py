"""The last pass over a dashboard: what the SDK leaves out, and where each panel lies on the 24-column grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from grafana.source.board import Built, Panel, Query, Row

GRID_COLUMNS = 24


def finished(
    document: dict[str, Any], rows: Sequence[Row], headings: Mapping[int, dict[str, Any]], annotations: list[Any]
) -> Built:
    """The dashboard `document` of the SDK with its `rows` laid out; `headings`: the row panels by number."""
    document["annotations"] = {"list": annotations}
    document["version"] = 1
    for variable in document["templating"]["list"]:
        for key in [name for name in variable if name.startswith("auto")]:
            del variable[key]
        if variable["type"] == "constant":
            variable["current"] = {"selected": True, "text": variable["query"], "value": variable["query"]}
            variable["options"] = [dict(variable["current"])]
        elif variable["type"] == "query":
            variable["definition"] = variable["query"]
    for entry in document["links"]:
        # The SDK hides them in a menu that older servers do not have.
        entry.pop("placement", None)
    promises: dict[tuple[int, str], Query] = {}
    document["panels"] = panels = []
    y = 0
    for row in rows:
        if row.title is not None:
            heading = headings[row.number]
            heading["gridPos"] = {"h": 1, "w": GRID_COLUMNS, "x": 0, "y": y}
            heading["panels"] = []
            panels.append(heading)
            y += 1
        placed, bottom = _place(row.panels, y, promises)
        (panels[-1]["panels"] if row.collapsed else panels).extend(placed)
        y = y if row.collapsed else bottom
    may_lack = {panel.document["id"]: panel.may_lack for row in rows for panel in row.panels if panel.may_lack}
    return Built(document, promises, may_lack)


def _place(panels: Sequence[Panel], y: int, promises: dict[tuple[int, str], Query]) -> tuple[list[dict[str, Any]], int]:
    """Panels from left to right, and on; returns their JSON and the first free line below them."""
    placed, x, line_height = [], 0, 0
    for panel in panels:
        if x + panel.width > GRID_COLUMNS:
            x, y, line_height = 0, y + line_height, 0
        document = panel.document
        document["gridPos"] = {"h": panel.height, "w": panel.width, "x": x, "y": y}
        placed.append(document)
        for target, query in zip(document.get("targets", []), panel.queries, strict=True):
            promises[(document["id"], target["refId"])] = query
        x, line_height = x + panel.width, max(line_height, panel.height)
    return placed, y + line_height
