"""Hosts of the environment form that turn out to be one cluster."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pvewatch.config import Settings, load_settings
from pvewatch.pve import parsers
from pvewatch.pve.grouping import Group, group_as_remembered, group_by_asking
from pvewatch.pve.models import ClusterStatus
from tests.pve.conftest import FIXTURES

FINGERPRINT = ":".join(["AB"] * 32)


def recorded(name: str) -> ClusterStatus:
    return parsers.cluster_status(json.loads((FIXTURES / name).read_text())["body"]["data"])


THREE = recorded("recorded-8.4/c3-cluster-status.json")
ALONE = recorded("recorded-9.2/cluster-status.json")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    env = {}
    hosts = {"first": THREE.nodes[1].ip, "second": THREE.nodes[0].ip, "other": "pve9.lan"}
    for number, (name, host) in enumerate(hosts.items(), start=1):
        prefix = f"PROXMOX_NODE_{number}_"
        env |= {
            f"{prefix}NAME": name,
            f"{prefix}HOST": str(host),
            f"{prefix}TOKEN_ID": "pvewatch@pve!monitor",
            f"{prefix}TOKEN_SECRET": "x",
        }
    env["PROXMOX_NODE_2_FINGERPRINT"] = FINGERPRINT
    return load_settings(None, env)


def names(groups: tuple[Group, ...]) -> dict[str, tuple[str, ...]]:
    return {group.cluster.name: group.members for group in groups}


def asking(settings: Settings, answers: dict[str, ClusterStatus | None]) -> tuple[Group, ...]:
    return group_by_asking(settings, lambda entry: answers[entry.name])


def test_two_hosts_of_one_cluster_become_one_cluster_named_after_the_lowest(settings: Settings) -> None:
    groups = asking(settings, {"first": THREE, "second": THREE, "other": ALONE})

    assert names(groups) == {"first": ("first", "second"), "other": ("other",)}
    assert [host.host for host in groups[0].cluster.hosts] == [THREE.nodes[1].ip, THREE.nodes[0].ip]


def test_each_host_keeps_the_fingerprint_given_for_it(settings: Settings) -> None:
    joined = asking(settings, {"first": THREE, "second": THREE, "other": ALONE})[0].cluster
    assert [host.fingerprint for host in joined.hosts] == [None, FINGERPRINT]


def test_a_host_that_does_not_answer_is_known_by_its_address(settings: Settings) -> None:
    groups = asking(settings, {"first": None, "second": THREE, "other": ALONE})
    assert names(groups) == {"first": ("first", "second"), "other": ("other",)}


def test_the_decision_outlives_an_outage_of_all_hosts_and_is_known_to_who_does_not_ask(settings: Settings) -> None:
    before = names(asking(settings, {"first": THREE, "second": THREE, "other": ALONE}))

    assert names(asking(settings, {"first": None, "second": None, "other": None})) == before
    assert names(group_as_remembered(settings)) == before


def test_a_damaged_decision_is_made_anew(settings: Settings) -> None:
    settings.data_dir.mkdir()
    (settings.data_dir / "clusters.json").write_text("{")
    assert len(asking(settings, {"first": None, "second": None, "other": None})) == 3


def test_standalone_hosts_of_the_same_name_stay_apart(settings: Settings) -> None:
    assert len(asking(settings, {"first": ALONE, "second": ALONE, "other": ALONE})) == 3


def test_clusters_of_one_name_with_other_addresses_stay_apart(settings: Settings) -> None:
    elsewhere = replace(THREE, nodes=tuple(replace(node, ip=f"192.0.2.{node.nodeid}") for node in THREE.nodes))
    groups = asking(settings, {"first": THREE, "second": elsewhere, "other": ALONE})
    assert names(groups) == {"first": ("first",), "second": ("second",), "other": ("other",)}


def test_clusters_of_the_file_are_never_joined(tmp_path: Path) -> None:
    path = tmp_path / "pvewatch.yaml"
    path.write_text("clusters: [{name: a, hosts: [x]}, {name: b, hosts: [y]}]")
    groups = group_by_asking(load_settings(path, {}), lambda _entry: THREE)
    assert names(groups) == {"a": ("a",), "b": ("b",)}
