"""What new guests can be made of on one node, as typed values: bridges, container templates and appliances."""

from __future__ import annotations

from dataclasses import dataclass

from pvewatch.pve.models import Number


@dataclass(frozen=True, slots=True)
class Bridge:
    """A row of `GET /nodes/{node}/network?type=any_bridge`. `type` is bridge, OVSBridge or, of the SDN, vnet."""

    name: str
    type: str
    active: bool


@dataclass(frozen=True, slots=True)
class ContainerTemplate:
    """A template on a storage; `volid` is such as `local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst`."""

    volid: str
    storage: str
    size_bytes: Number | None


@dataclass(frozen=True, slots=True)
class Appliance:
    """A row of `GET /nodes/{node}/aplinfo`: a template that the node could download. `template` is the file's name."""

    template: str
    os: str | None
    version: str | None
    section: str | None
    headline: str | None
    architecture: str | None


@dataclass(frozen=True, slots=True)
class NodeProvisioning:
    """What one node said. A part that could not be read, or is another node's to tell, is None.

    Of a token without the right Proxmox VE hides bridges with 200: none of them is "none seen".
    """

    node: str
    bridges: tuple[Bridge, ...] | None
    templates: tuple[ContainerTemplate, ...] | None
    appliances: tuple[Appliance, ...] | None
