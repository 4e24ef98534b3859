"""Hosts of the environment form that turn out to be one cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pvewatch.config import Settings, load_settings
from pvewatch.pve import parsers
from pvewatch.pve.grouping import group
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


def test_two_hosts_of_one_cluster_become_one_cluster_named_after_the_lowest(settings: Settings) -> None:
    answers = {"first": THREE, "second": THREE, "other": ALONE}

    grouped, members = group(settings, lambda entry: answers[entry.name])

    assert members == {"first": ["first", "second"], "other": ["other"]}
    assert [host.host for host in grouped.clusters[0].hosts] == [THREE.nodes[1].ip, THREE.nodes[0].ip]
    assert [host.fingerprint for host in grouped.clusters[0].hosts] == [None, FINGERPRINT]


def test_a_host_that_does_not_answer_is_known_by_its_address(settings: Settings) -> None:
    answers = {"first": None, "second": THREE, "other": ALONE}
    assert group(settings, lambda entry: answers[entry.name])[1] == {"first": ["first", "second"], "other": ["other"]}


def test_the_decision_outlives_an_outage_of_all_hosts(settings: Settings) -> None:
    answers = {"first": THREE, "second": THREE, "other": ALONE}
    before = group(settings, lambda entry: answers[entry.name])[1]
    assert group(settings, lambda _entry: None)[1] == before


def test_standalone_hosts_of_the_same_name_stay_apart(settings: Settings) -> None:
    assert len(group(settings, lambda _entry: ALONE)[0].clusters) == 3


def test_clusters_of_the_file_are_never_joined(tmp_path: Path) -> None:
    path = tmp_path / "pvewatch.yaml"
    path.write_text("clusters: [{name: a, hosts: [x]}, {name: b, hosts: [y]}]")
    settings = load_settings(path, {})
    grouped, members = group(settings, lambda _entry: THREE)
    assert grouped == settings
    assert members == {"a": ["a"], "b": ["b"]}
