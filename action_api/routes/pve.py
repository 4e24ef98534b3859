"""Ways into Proxmox VE's own interface, for links that know a cluster's name and not its address, as Grafana's do.

No sign-in: an address out of the configuration is all that is given away, and Proxmox VE asks for its own. Where it
leads is never taken from the request: an unknown cluster is refused, and the rest only chooses what is opened there.
"""

from __future__ import annotations

from urllib.parse import quote

from flask import Blueprint, redirect
from werkzeug.wrappers import Response

from action_api.routes.errors import Refused
from action_api.routes.services import services

blueprint = Blueprint("pve", __name__, url_prefix="/pve")


@blueprint.get("/<cluster>")
def cluster(cluster: str) -> Response:
    """The cluster's interface."""
    return redirect(_address(cluster), 302)


@blueprint.get("/<cluster>/<any(qemu, lxc, node):kind>/<name>")
def entity(cluster: str, kind: str, name: str) -> Response:
    """A guest (kind and VMID) or a node, whose place in the interface stands behind the `#`."""
    return redirect(f"{_address(cluster)}/#v1:0:={quote(f'{kind}/{name}', safe='')}:4:::::::", 302)


def _address(name: str) -> str:
    for found in services().settings.clusters:
        if found.name == name:
            return found.web_url.rstrip("/")
    raise Refused(
        404,
        "cluster_not_found",
        f"There is no cluster {name[:63]!r} in the configuration.",
        remedy="It may have been renamed; open it from the overview.",
    )
