"""Answers of Proxmox VE about one node beyond its status → models."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from pvewatch.pve.models import Number
from pvewatch.pve.models_node import (
    Certificate,
    NodeCertificates,
    NodeHistory,
    NodeServices,
    Service,
    Subscription,
)
from pvewatch.pve.parsers import WrongShape, amount, mapping, number, rows, text

RESOURCES = ("cpu", "io", "memory")
KINDS = ("some", "full")
# PVE looks after about 20 services; a list beyond this is not that list.
MAX_SERVICES = 64
# A row older than this beside newer, empty ones: the statistics have stopped since.
_HISTORY_GAP_SECONDS = 180
_ABSENT_UNITS = frozenset({"not-found", "masked", "masked-runtime"})
# PVE 7 gives systemd's SubState only.
_ACTIVE_BY_SUBSTATE = {"running": "active", "exited": "active", "dead": "inactive", "failed": "failed"}
_SERVICE_NAME = re.compile(r"[A-Za-z0-9@:_.\-]{1,64}")


def node_history(data: object, node: str) -> NodeHistory | None:
    """The newest row of `/nodes/{node}/rrddata` that has figures; None when the last minutes have none.

    A missing sample is a row with `time` only. Pressure comes in percent.
    """
    known = [(at, row) for row in rows(data) if (at := number(row.get("time"))) is not None]
    filled = [(at, row) for at, row in known if len(row) > 1]
    if not filled:
        return None
    at, row = max(filled, key=lambda item: item[0])
    if max(moment for moment, _ in known) - at > _HISTORY_GAP_SECONDS:
        return None
    pressure = {
        (resource, kind): percent / 100
        for resource in RESOURCES
        for kind in KINDS
        if (percent := number(row.get(f"pressure{resource}{kind}"))) is not None
    }
    return NodeHistory(
        node=node,
        at=float(at),
        net_in_bytes_per_second=amount(row.get("netin")),
        net_out_bytes_per_second=amount(row.get("netout")),
        arc_size_bytes=amount(row.get("arcsize")),
        pressure=pressure,
    )


def services(data: object, node: str) -> NodeServices:
    """`/nodes/{node}/services`, by name."""
    found = {}
    for row in rows(data):
        name = text(row.get("service")) or text(row.get("name"))
        if name is not None and _SERVICE_NAME.fullmatch(name):
            found[name] = _service(name, row)
    return NodeServices(node, tuple(found[name] for name in sorted(found)[:MAX_SERVICES]))


def _service(name: str, row: Mapping[str, Any]) -> Service:
    unit = text(row.get("unit-state"))
    state = text(row.get("active-state")) or _ACTIVE_BY_SUBSTATE.get(text(row.get("state")) or "", "unknown")
    return Service(
        name=name,
        state=state,
        enabled=unit is not None and unit.startswith("enabled"),
        installed=unit not in _ABSENT_UNITS,
    )


def node_time(data: object) -> Number:
    """`/nodes/{node}/time`: the node's clock in whole unix seconds. Raises WrongShape when it is not said."""
    found = number(mapping(data).get("time"))
    if found is None:
        raise WrongShape("the answer has no time")
    return found


def certificates(data: object, node: str) -> NodeCertificates:
    """`/nodes/{node}/certificates/info`, by file name; one without an end is left out."""
    found = {}
    for row in rows(data):
        name = (text(row.get("filename")) or "").rpartition("/")[2]
        not_after = number(row.get("notafter"))
        if name and not_after is not None:
            found[name] = Certificate(name, not_after)
    return NodeCertificates(node, tuple(found[name] for name in sorted(found)))


def subscription(data: object, node: str) -> Subscription:
    """`/nodes/{node}/subscription`; the due date is `2026-12-31`, which is taken as midnight UTC."""
    row = mapping(data)
    due: float | None = None
    try:
        day = datetime.date.fromisoformat(text(row.get("nextduedate")) or "")
        due = datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC).timestamp()
    except (ValueError, OverflowError):
        due = None
    return Subscription(node, text(row.get("status")), text(row.get("level")), due)
