"""Answers about disks, pools and Ceph that no recorded server had: in the shapes of the API reference."""

from __future__ import annotations

from typing import Any

SSD: dict[str, Any] = {
    "devpath": "/dev/sda",
    "model": "INTEL_SSDSC2KB960G8",
    "vendor": "ATA     ",
    "serial": "BTYF0123456K960",
    "wwn": "0x55cd2e4152a1b2c3",
    "size": 960197124096,
    "type": "ssd",
    "rpm": 0,
    "health": "PASSED",
    "wearout": 97,
    "used": "LVM",
    "gpt": 0,
    "osdid": -1,
    "osdid-list": None,
}
HARD_DISK = SSD | {
    "devpath": "/dev/sdb",
    "model": "ST4000NM000A-2HZ100",
    "serial": "WS20ABCD",
    "wwn": "0x5000c500d1e2f3a4",
    "size": 4000787030016,
    "type": "hdd",
    "rpm": "7200",
    "wearout": "N/A",
    "used": "ZFS",
}
ZFS_POOL: dict[str, Any] = {
    "name": "rpool",
    "size": 1992864825344,
    "alloc": 1041529569280,
    "free": 951335256064,
    "frag": 12,
    "dedup": 1.0,
    "health": "ONLINE",
}
# As `zpool list -p` gives "-" for each figure of a pool that cannot be used, which becomes 0.
FAULTED_POOL = ZFS_POOL | {"name": "tank", "size": 0, "alloc": 0, "free": 0, "frag": 0, "health": "FAULTED"}
THIN_POOL: dict[str, Any] = {
    "lv": "data",
    "vg": "pve",
    "lv_size": 367913697280,
    "used": 210446634844,
    "metadata_size": 3758096384,
    "metadata_used": 187904819,
}
CEPH: dict[str, Any] = {
    "fsid": "6a1b8c3e-0000-4000-8000-000000000001",
    "health": {
        "status": "HEALTH_WARN",
        "checks": {
            "OSD_DOWN": {"severity": "HEALTH_WARN", "summary": {"message": "1 osds down", "count": 1}, "muted": False},
            "POOL_NO_REDUNDANCY": {
                "severity": "HEALTH_WARN",
                "summary": {"message": "1 pool", "count": 1},
                "muted": True,
            },
        },
        "mutes": [{"code": "POOL_NO_REDUNDANCY", "sticky": True}],
    },
    "quorum": [0, 1],
    "quorum_names": ["pve1", "pve2"],
    "monmap": {"num_mons": 3, "mons": [{"name": "pve1"}, {"name": "pve2"}, {"name": "pve3"}]},
    "osdmap": {"num_osds": 6, "num_up_osds": 5, "num_in_osds": 6},
    "pgmap": {
        "num_pgs": 129,
        "pgs_by_state": [
            {"state_name": "active+clean", "count": 100},
            {"state_name": "active+undersized+degraded", "count": 29},
        ],
        "bytes_total": 12002349744128,
        "bytes_used": 3000587436032,
        "bytes_avail": 9001762308096,
    },
}
