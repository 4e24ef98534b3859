"""Ways through a dashboard's JSON that every check takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]


def panels(document: Document, *, only_open: bool = False) -> Iterator[Document]:
    """Every panel that is no row, also those inside collapsed rows unless `only_open`."""
    for panel in document["panels"]:
        if panel["type"] != "row":
            yield panel
        elif not only_open:
            yield from panel.get("panels", [])


def shown(document: Document) -> Iterator[Document]:
    """Every panel that shows figures: all but those of text."""
    yield from (panel for panel in panels(document) if panel["type"] != "text")


def queries(document: Document) -> Iterator[tuple[Document, Document]]:
    """Every panel with each of its queries."""
    yield from ((panel, target) for panel in shown(document) for target in panel["targets"])


def fields(panel: Document) -> list[Document]:
    """How a panel's fields look: the defaults, then each override as a flat dict, with its heading as `of`."""
    found = [panel["fieldConfig"]["defaults"]]
    for override in panel["fieldConfig"]["overrides"]:
        entries = {entry["id"]: entry.get("value") for entry in override["properties"]}
        found.append({"of": str(override["matcher"].get("options")), **entries})
    return found


def links(panel: Document) -> list[Document]:
    """The data links of a panel's fields."""
    if panel["type"] == "text":
        return []
    return [link for field in fields(panel) for link in field.get("links") or []]
