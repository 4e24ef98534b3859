"""How entries of the environment form are put together, case by case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvewatch.config import Cluster, HostPort, Settings, TokenRef
from pvewatch.pve import parsers
from pvewatch.pve.grouping import ask_status, decide, group_as_remembered, group_by_asking
from pvewatch.pve.models import ClusterStatus, NodeStatusRow
from tests.pve.conftest import Answer, FakeHost, cluster_of

FIXTURES = Path(__file__).parents[1] / "fixtures"


def recorded_status(name: str) -> ClusterStatus:
    return parsers.cluster_status(json.loads((FIXTURES / name).read_text())["body"]["data"])


LAB = recorded_status("recorded-8.4/c3-cluster-status.json")
ALONE = recorded_status("recorded-9.2/cluster-status.json")
TOKEN = TokenRef(token_id="pvewatch@pve!monitor", token_secret_env="SOME_SECRET")
POWER = TokenRef(token_id="pvewatch@pve!power", token_secret_env="SOME_SECRET")


def entry(name: str, host: str, **more: object) -> Cluster:
    return Cluster.model_validate(
        {"name": name, "hosts": [HostPort(host=host)], "monitor": TOKEN, "from_environment": True, **more}
    )


def settings_of(data: Path, *entries: Cluster) -> Settings:
    return Settings(clusters=entries, data_dir=data)


A, B, C = entry("a", "10.77.0.11"), entry("b", "10.77.0.12"), entry("c", "10.0.0.99")


def test_two_hosts_of_one_cluster_become_one_cluster_named_after_the_first() -> None:
    assert decide((A, B, C), {"a": LAB, "b": LAB, "c": ALONE}, {}) == {"a": "a", "b": "a", "c": "c"}


def test_an_unreachable_host_is_found_by_its_address_among_the_nodes() -> None:
    assert decide((A, B), {"a": LAB, "b": None}, {}) == {"a": "a", "b": "a"}


def test_the_name_stays_that_of_the_lowest_entry_when_just_that_host_is_down() -> None:
    assert decide((A, B), {"a": None, "b": LAB}, {}) == {"a": "a", "b": "a"}


def test_an_unreachable_host_is_found_by_its_name_with_or_without_a_domain() -> None:
    named = entry("b", "pve2.example.net")
    assert decide((A, named), {"a": LAB, "b": None}, {}) == {"a": "a", "b": "a"}


def test_a_host_that_nothing_is_known_of_stays_alone() -> None:
    assert decide((A, C), {"a": LAB, "c": None}, {}) == {"a": "a", "c": "c"}


def test_standalone_hosts_of_the_same_name_are_not_one_cluster() -> None:
    assert decide((A, B), {"a": ALONE, "b": ALONE}, {}) == {"a": "a", "b": "b"}


def test_clusters_of_the_same_name_with_other_nodes_are_not_one_cluster() -> None:
    other = ClusterStatus(LAB.name, True, 1, 1, (NodeStatusRow("elsewhere", 1, "10.9.9.9", "", True, True),))
    assert decide((A, C), {"a": LAB, "c": other}, {}) == {"a": "a", "c": "c"}


def test_what_was_decided_counts_while_nobody_can_be_asked() -> None:
    hidden = entry("b", "pve.example.net")
    assert decide((A, hidden), {"a": None, "b": None}, {"a": "a", "b": "a"}) == {"a": "a", "b": "a"}
    assert decide((A, hidden), {"a": LAB, "b": None}, {"a": "a", "b": "a"}) == {"a": "a", "b": "a"}


def test_what_is_seen_now_outweighs_what_was_decided() -> None:
    assert decide((A, B), {"a": ALONE, "b": LAB}, {"a": "a", "b": "a"}) == {"a": "a", "b": "b"}


@given(
    answers=st.fixed_dictionaries({name: st.sampled_from([LAB, ALONE, None]) for name in "abc"}),
    remembered=st.dictionaries(st.sampled_from("abcx"), st.sampled_from("abcx")),
)
def test_every_entry_belongs_to_a_group_named_after_its_lowest_entry(
    answers: dict[str, ClusterStatus | None], remembered: dict[str, str]
) -> None:
    decision = decide((A, B, C), answers, remembered)
    assert set(decision) == {"a", "b", "c"}
    for name, root in decision.items():
        assert decision[root] == root
        assert root == min(other for other in decision if decision[other] == root)
        assert root <= name


def test_the_worker_comes_to_the_same_groups_without_asking(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, A, entry("b", "10.77.0.12", power=POWER), C)
    answers = {"a": LAB, "b": None, "c": ALONE}
    asked = group_by_asking(settings, lambda cluster: answers[cluster.name])
    assert [group.members for group in asked] == [("a", "b"), ("c",)]
    assert asked[0].cluster.name == "a"
    assert [host.host for host in asked[0].cluster.hosts] == ["10.77.0.11", "10.77.0.12"]
    assert asked[0].cluster.power == POWER
    assert group_as_remembered(settings) == asked


def test_clusters_of_a_configuration_file_are_left_as_they_are(tmp_path: Path) -> None:
    written = [cluster.model_copy(update={"from_environment": False}) for cluster in (A, B)]
    groups = group_by_asking(settings_of(tmp_path, *written), lambda _: LAB)
    assert [group.members for group in groups] == [("a",), ("b",)]
    assert not (tmp_path / "clusters.json").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"form":9}', '{"form":1,"groups":{"x":3}}', "\x00"])
def test_a_decision_that_cannot_be_read_is_made_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "clusters.json").write_text(content)
    assert [group.members for group in group_as_remembered(settings_of(tmp_path, A, B))] == [("a",), ("b",)]
    assert [group.members for group in group_by_asking(settings_of(tmp_path, A, B), lambda _: LAB)] == [("a", "b")]


def test_a_running_host_is_asked_and_a_dead_one_is_no_error(host: FakeHost, token: TokenRef) -> None:
    host.answer = lambda _method, _path: Answer.recorded("recorded-8.4/c3-cluster-status.json")
    assert ask_status(cluster_of(host).model_copy(update={"monitor": token})) == LAB
    gone = cluster_of(HostPort(host="127.0.0.1", port=1)).model_copy(update={"monitor": token})
    assert ask_status(gone) is None
