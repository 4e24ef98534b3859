"""Bridges, container templates and appliances: recorded answers, those of the API's source, and odd ones."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvewatch.pve import parsers_provisioning
from pvewatch.pve.models_provisioning import Appliance, Bridge, ContainerTemplate
from pvewatch.pve.parsers import WrongShape
from tests.pve.provisioning_answers import APPLIANCE

FIXTURES = Path(__file__).parents[1] / "fixtures"


def recorded(name: str) -> Any:
    return json.loads((FIXTURES / f"recorded-{name}.json").read_text())["body"]["data"]


@pytest.mark.parametrize("version", ["8.4", "9.2"])
def test_a_recorded_bridge_is_read_and_the_network_card_beside_it_is_none(version: str) -> None:
    found = parsers_provisioning.bridges(recorded(f"{version}/node-network"))
    assert found == (Bridge("vmbr0", "bridge", active=True),)


def test_a_bridge_that_is_down_says_nothing_of_being_active() -> None:
    (found,) = parsers_provisioning.bridges([{"iface": "vmbr1", "type": "OVSBridge"}])
    assert not found.active


@pytest.mark.parametrize("name", ["8.4/as-auditor-storage-content", "9.2/node-storage-content"])
def test_a_recorded_template_is_read_and_disks_beside_it_are_none(name: str) -> None:
    volid = "local:vztmpl/alpine-3.17-default_20260101_amd64.tar.gz"
    found = parsers_provisioning.container_templates(recorded(name), "local")
    assert found == (ContainerTemplate(volid, "local", 1032622),)


def test_an_appliance_is_read_and_its_texts_are_bounded() -> None:
    odd = APPLIANCE | {"template": "b.tar.gz", "headline": "long\n" * 1000, "os": None}
    second, first = parsers_provisioning.appliances([APPLIANCE, odd])[::-1]
    assert (first.template, first.os) == ("b.tar.gz", None)
    assert len(first.headline or "") <= parsers_provisioning.LONGEST_TEXT
    assert second == Appliance(
        "debian-12-standard_12.7-1_amd64.tar.zst",
        "debian-12",
        "12.7-1",
        "system",
        "Debian 12 Bookworm (standard)",
        "amd64",
    )


def test_a_name_that_is_too_long_to_be_used_is_left_out_and_not_shortened() -> None:
    long = "local:vztmpl/" + "x" * 300
    assert parsers_provisioning.container_templates([{"volid": long, "content": "vztmpl"}], "local") == ()
    assert parsers_provisioning.appliances([{"template": long}]) == ()


def test_of_very_many_a_bounded_number_is_shown() -> None:
    many = range(2000)
    bridges = [{"iface": f"vmbr{number}", "type": "bridge"} for number in many]
    templates = [{"volid": f"local:vztmpl/{number}", "content": "vztmpl"} for number in many]
    assert len(parsers_provisioning.bridges(bridges)) == parsers_provisioning.MAX_BRIDGES
    assert len(parsers_provisioning.container_templates(templates, "local")) == parsers_provisioning.MAX_TEMPLATES
    assert len(parsers_provisioning.appliances([{"template": str(number)} for number in many])) == 500


KEYS = st.sampled_from(["iface", "type", "active", "volid", "content", "size", *APPLIANCE])
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(["x"]) | st.just({})
WORDS = st.sampled_from(["vmbr0", "bridge", "vztmpl", "local:vztmpl/x", 1, "1", -5])


@given(st.lists(st.dictionaries(KEYS, VALUES | WORDS, max_size=8) | VALUES, max_size=4) | VALUES)
def test_whatever_stands_in_an_answer_it_is_read_or_named_wrong(data: Any) -> None:
    for parse in (
        parsers_provisioning.bridges,
        lambda rows: parsers_provisioning.container_templates(rows, "local"),
        parsers_provisioning.appliances,
    ):
        with contextlib.suppress(WrongShape):
            parse(data)
