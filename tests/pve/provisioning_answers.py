"""Answers that no recorded server gave: a row of /nodes/N/aplinfo in the form of pve-manager's PVE/APLInfo.pm."""

from __future__ import annotations

from typing import Any

APPLIANCE: dict[str, Any] = {
    "template": "debian-12-standard_12.7-1_amd64.tar.zst",
    "package": "debian-12-standard",
    "version": "12.7-1",
    "os": "debian-12",
    "section": "system",
    "type": "lxc",
    "architecture": "amd64",
    "headline": "Debian 12 Bookworm (standard)",
    "description": "A small Debian Bookworm system.\n",
    "infopage": "https://pve.proxmox.com/wiki/Linux_Container#pct_supported_distributions",
    "location": "http://download.proxmox.com/images/system/debian-12-standard_12.7-1_amd64.tar.zst",
    "source": "http://download.proxmox.com/images",
    "sha512sum": "0" * 128,
}
