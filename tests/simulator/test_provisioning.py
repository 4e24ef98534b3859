"""Bridges, content of storages and appliances of the simulated cluster, and what a token without the right sees."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from pvewatch.pve import parsers_provisioning
from pvewatch.simulator.permissions import AclEntry, Token
from tests.simulator.conftest import Bench, recorded

CONTENT = "/nodes/pve1/storage/nas/content"


def with_token(bench: Bench, name: str, **places: set[str]) -> str:
    entries = tuple(AclEntry("/" + path.replace("_", "/"), frozenset(held)) for path, held in places.items())
    token = Token(f"{name}@pve!t", "a-secret", entries)
    bench.cluster.tokens += (token,)
    bench.tokens = {**bench.tokens, name: token}
    return name


def bridges(bench: Bench, by: str) -> list[str]:
    rows = bench.get("/nodes/pve1/network", by, type="any_bridge")
    return [bridge.name for bridge in parsers_provisioning.bridges(rows)]


def test_bridges_vanish_without_the_right_to_their_zone(bench: Bench) -> None:
    assert bridges(bench, "auditor") == ["vmbr0", "vmbr1"]
    assert bridges(bench, "none") == []
    assert bridges(bench, with_token(bench, "user", sdn_zones={"SDN.Use"})) == ["vmbr0", "vmbr1"]


def test_a_network_card_and_a_bridge_have_the_recorded_fields(bench: Bench) -> None:
    real = {row["iface"]: set(row) for row in recorded("8.4", "node-network").body["data"]}
    found = {row["iface"]: set(row) for row in bench.get("/nodes/pve1/network")}
    assert {name: found[name] for name in real} == real


def test_templates_need_the_right_to_the_storage_as_recorded(bench: Bench) -> None:
    world = bench.cluster.world
    world.storages = (replace(world.storages[0], content="vztmpl"), *world.storages[1:])
    path = "/nodes/pve1/storage/local/content"
    rows = bench.get(path, "auditor", content="vztmpl")
    assert set(rows[0]) == set(recorded("8.4", "as-auditor-storage-content").body["data"][0])
    assert len(parsers_provisioning.container_templates(rows, "local")) == 2
    refusal = recorded("8.4", "as-privsep-noacl-storage-content")
    reply = bench.ask("GET", path, "none")
    assert (reply.status, reply.reason) == (refusal.status, refusal.reason)


def test_backups_are_dropped_without_a_word_unless_the_token_may_restore_them(bench: Bench) -> None:
    def seen(by: str) -> list[Any]:
        rows: list[Any] = bench.get(CONTENT, by, content="backup", vmid=200)
        return rows

    assert seen("auditor") == recorded("8.4", "as-auditor-storage-content-backup").body["data"] == []
    space = {"Datastore.AllocateSpace"}
    assert seen(with_token(bench, "space", storage_nas=space)) == []
    mine = seen(with_token(bench, "mine", storage_nas=space, vms_200={"VM.Backup"}))
    assert {row["vmid"] for row in mine} == {200}
    assert set(mine[0]) == set(recorded("8.4", "node-storage-local-content-backup").body["data"][0])
    assert seen(with_token(bench, "owner", storage_nas={"Datastore.Audit", "Datastore.Allocate"})) == mine


def test_appliances_are_listed_to_any_token(bench: Bench) -> None:
    found = parsers_provisioning.appliances(bench.get("/nodes/pve1/aplinfo", "none"))
    assert "debian-12-standard_12.7-1_amd64.tar.zst" in {one.template for one in found}


def test_an_unknown_storage_is_refused_in_words(bench: Bench) -> None:
    reply = bench.ask("GET", "/nodes/pve1/storage/nowhere/content")
    assert reply.status == 500
    assert "does not exist" in json.loads(reply.body or b"{}")["message"]
