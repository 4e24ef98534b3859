"""A guest's backups in the inventory: recorded answers, and an empty one that says nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from exporter.guest_detail import MOST_BACKUP_STORAGES, NO_BACKUP_STORAGE, NO_BACKUPS_SEEN
from pvewatch.inventory import GuestDetail
from tests.exporter.conftest import Bench, RecordedCluster, recorded

CONTENT = "/nodes/pve1/storage/{}/content"
Place = Callable[..., None]


@pytest.fixture
def place(pve: RecordedCluster) -> Place:
    """Give the first node these storages for backups, and the others none."""

    def put(*names: str, status: str = "available", content: str = "backup,iso") -> None:
        def edit(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            others = [row for row in rows if row["type"] != "storage"]
            return others + [
                {"id": f"storage/pve1/{name}", "type": "storage", "node": "pve1", "storage": name, "status": status}
                | {"content": content, "shared": 0, "plugintype": "dir"}
                for name in names
            ]

        pve.change("/cluster/resources", edit)

    return put


def detail(bench: Bench) -> GuestDetail:
    bench.poll()
    found = bench.exporter.guest_detail("lab", "lxc", 200)
    assert found is not None
    return found


def test_backups_that_the_token_may_see_are_told_newest_first(pve: RecordedCluster, bench: Bench, place: Place) -> None:
    place("local")
    pve.answers[CONTENT.format("local")] = recorded("node-storage-local-content-backup")
    found = detail(bench)
    assert [(entry.volid, entry.taken_at, entry.size_bytes, entry.storage) for entry in found.backups or []] == [
        ("local:backup/vzdump-lxc-200-2026_11_21-09_24_40.tar.zst", 1795253080, 1080402, "local"),
        ("local:backup/vzdump-lxc-200-2026_11_21-09_17_25.tar.zst", 1795252645, 1080500, "local"),
    ]
    assert "backups" not in found.errors
    (asked,) = [path for _, path, _ in pve.host.asked if "/storage/local/content" in path and "backup" in path]
    assert "vmid=200" in asked


def test_an_empty_answer_is_not_told_as_no_backups(pve: RecordedCluster, bench: Bench, place: Place) -> None:
    place("local")
    pve.answers[CONTENT.format("local")] = recorded("as-auditor-storage-content-backup")
    found = detail(bench)
    assert found.backups is None
    assert found.errors["backups"] == NO_BACKUPS_SEEN
    assert "VM.Backup" in NO_BACKUPS_SEEN


def test_disks_and_backups_of_other_guests_are_not_this_ones(pve: RecordedCluster, bench: Bench, place: Place) -> None:
    place("local")
    pve.answers[CONTENT.format("local")] = recorded("node-storage-local-content-after-backup")
    pve.change(CONTENT.format("local"), lambda rows: [row | {"subtype": "qemu"} for row in rows])
    assert detail(bench).backups is None


def test_a_storage_that_refuses_leaves_the_others(pve: RecordedCluster, bench: Bench, place: Place) -> None:
    place("local", "nas")
    pve.answers[CONTENT.format("local")] = recorded("node-storage-local-content-backup")
    pve.answers[CONTENT.format("nas")] = recorded("as-privsep-noacl-storage-content")
    found = detail(bench)
    assert len(found.backups or []) == 2
    assert found.errors["backups"].startswith("nas: ")


def test_where_every_storage_refuses_that_is_the_reason(pve: RecordedCluster, bench: Bench, place: Place) -> None:
    place("nas")
    pve.answers[CONTENT.format("nas")] = recorded("as-privsep-noacl-storage-content")
    found = detail(bench)
    assert found.backups is None
    assert "Datastore.Audit" in found.errors["backups"]
    assert NO_BACKUPS_SEEN not in found.errors["backups"]


@pytest.mark.parametrize("how", [{"status": "unknown"}, {"content": "images"}])
def test_without_a_storage_to_ask_that_is_said(bench: Bench, place: Place, how: dict[str, str]) -> None:
    place("local", **how)
    found = detail(bench)
    assert (found.backups, found.errors["backups"]) == (None, NO_BACKUP_STORAGE)


def test_a_bounded_number_of_storages_is_asked(pve: RecordedCluster, bench: Bench, place: Place) -> None:
    place(*(f"store{number:02}" for number in range(20)))
    detail(bench)
    asked = {path for _, path, _ in pve.host.asked if "content=backup" in path}
    assert len(asked) == MOST_BACKUP_STORAGES
