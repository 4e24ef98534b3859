"""Answers of Proxmox VE about bridges, container templates and downloadable appliances → models.

The list of appliances was not recorded from a live server: it follows the API reference and pve-manager's source
(PVE/API2/Nodes.pm, PVE/APLInfo.pm).
"""

from __future__ import annotations

from pvewatch.pve.models_provisioning import Appliance, Bridge, ContainerTemplate
from pvewatch.pve.parsers import amount, flag, rows, text

MAX_BRIDGES = 500
MAX_TEMPLATES = 500
MAX_APPLIANCES = 500
LONGEST_TEXT = 200
# pve-manager PVE/API2/Network.pm; a virtual network of the SDN is a bridge on each node of its zone.
_BRIDGES = frozenset({"bridge", "OVSBridge", "vnet"})


def bridges(data: object) -> tuple[Bridge, ...]:
    """`/nodes/{node}/network`, by name; what is no bridge is left out, `active` is absent where it is not."""
    found = {}
    for row in rows(data):
        name, kind = _words(row.get("iface")), _words(row.get("type"))
        if name is not None and kind in _BRIDGES:
            found[name] = Bridge(name, kind, flag(row.get("active")))
    return tuple(found[name] for name in sorted(found)[:MAX_BRIDGES])


def container_templates(data: object, storage: str) -> tuple[ContainerTemplate, ...]:
    """`/nodes/{node}/storage/{storage}/content`, by volume; what is no template is left out."""
    found = {}
    for row in rows(data):
        volid = text(row.get("volid"))
        # Not shortened: it is what a guest is made with.
        if volid is not None and len(volid) <= LONGEST_TEXT and row.get("content") == "vztmpl":
            found[volid] = ContainerTemplate(volid, storage, amount(row.get("size")))
    return tuple(found[volid] for volid in sorted(found)[:MAX_TEMPLATES])


def appliances(data: object) -> tuple[Appliance, ...]:
    """`/nodes/{node}/aplinfo`, by template."""
    found = {}
    for row in rows(data):
        template = text(row.get("template"))
        if template is not None and len(template) <= LONGEST_TEXT:
            found[template] = Appliance(
                template=template,
                os=_words(row.get("os")),
                version=_words(row.get("version")),
                section=_words(row.get("section")),
                headline=_words(row.get("headline")),
                architecture=_words(row.get("architecture")),
            )
    return tuple(found[template] for template in sorted(found)[:MAX_APPLIANCES])


def _words(value: object) -> str | None:
    return " ".join((text(value) or "").split())[:LONGEST_TEXT].strip() or None
