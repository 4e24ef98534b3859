"""What new guests can be made of, as the inventory's entries."""

from __future__ import annotations

from typing import TypedDict

from exporter.collectors.provisioning import COLLECTOR
from exporter.snapshot import View
from pvewatch.inventory import ApplianceEntry, BridgeEntry, TemplateEntry
from pvewatch.pve.models_provisioning import NodeProvisioning


class OfNode(TypedDict):
    """The fields of a node's entry; see `NodeEntry`."""

    bridges: list[BridgeEntry] | None
    provisioning_age_seconds: float | None
    provisioning_error: str | None


def of_node(view: View, node: str, now: float) -> OfNode:
    """That node's bridges, with the age (seconds at `now`) of all that it told."""
    reading = view.readings.get((COLLECTOR.name, node))
    known = reading.value if reading else None
    taken_at = reading.taken_at if reading else None
    bridges = None
    if isinstance(known, NodeProvisioning) and known.bridges is not None:
        bridges = [BridgeEntry(name=one.name, type=one.type, active=one.active) for one in known.bridges]
    return OfNode(
        bridges=bridges,
        provisioning_age_seconds=max(0.0, now - taken_at) if known is not None and taken_at is not None else None,
        provisioning_error=reading.failure.message if reading and reading.failure else None,
    )


def templates(view: View) -> list[TemplateEntry] | None:
    """All nodes' container templates; None when none of them has told."""
    answers = _answers(view)
    if all(answer.templates is None for answer in answers):
        return None
    return [
        TemplateEntry(volid=one.volid, storage=one.storage, node=answer.node, size_bytes=one.size_bytes)
        for answer in answers
        for one in answer.templates or ()
    ]


def appliances(view: View) -> list[ApplianceEntry] | None:
    """What can be downloaded, out of the newest list; None when no node has told."""
    newest = max(
        (
            (reading.taken_at or 0.0, reading.value.appliances)
            for (collector, _), reading in view.readings.items()
            if collector == COLLECTOR.name
            and isinstance(reading.value, NodeProvisioning)
            and reading.value.appliances is not None
        ),
        key=lambda told: told[0],
        default=None,
    )
    if newest is None:
        return None
    return [
        ApplianceEntry(
            template=one.template,
            os=one.os,
            version=one.version,
            section=one.section,
            headline=one.headline,
            architecture=one.architecture,
        )
        for one in newest[1]
    ]


def _answers(view: View) -> list[NodeProvisioning]:
    return view.answers(COLLECTOR.name, NodeProvisioning)
