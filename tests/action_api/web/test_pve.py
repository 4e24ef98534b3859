"""Ways into Proxmox VE's own interface."""

from __future__ import annotations

import pytest

from tests.action_api.web.site import Site


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/pve/alpha", "https://alpha.example:8006"),
        ("/pve/alpha/qemu/100", "https://alpha.example:8006/#v1:0:=qemu%2F100:4:::::::"),
        ("/pve/alpha/node/pve1", "https://alpha.example:8006/#v1:0:=node%2Fpve1:4:::::::"),
    ],
)
def test_a_link_leads_to_the_place_in_proxmox_ve(site: Site, path: str, leads_to: str) -> None:
    answer = site.app.test_client().get(path)
    assert (answer.status_code, answer.headers["Location"]) == (302, leads_to)


def test_a_cluster_that_is_not_configured_leads_nowhere(site: Site) -> None:
    assert site.app.test_client().get("/pve/evil.example/qemu/100").status_code == 404
