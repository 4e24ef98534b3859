"""Each collector can be switched off and has an interval of its own."""

from __future__ import annotations

import pytest

from exporter.collectors import COLLECTORS
from exporter.collectors.selection import selected
from pvewatch.config import ConfigError, ExporterSettings

NAMES = [collector.name for collector in COLLECTORS]


def settings(**collectors: object) -> ExporterSettings:
    return ExporterSettings.model_validate({"collectors": collectors})


def test_every_collector_has_a_name_of_its_own() -> None:
    assert len(NAMES) == len(set(NAMES))


def test_all_run_when_nothing_is_said() -> None:
    assert [collector.name for collector in selected(COLLECTORS, ExporterSettings())] == NAMES


@pytest.mark.parametrize("name", [name for name in NAMES if name != "resources"])
def test_each_collector_can_be_switched_off(name: str) -> None:
    found = selected(COLLECTORS, settings(**{name: {"enabled": False}}))
    assert [collector.name for collector in found] == [other for other in NAMES if other != name]


def test_an_interval_of_ones_own_is_kept_and_answers_live_twice_as_long() -> None:
    own = settings(version={"interval_seconds": 3600})
    (version,) = [collector for collector in selected(COLLECTORS, own) if collector.name == "version"]
    assert version.interval(own) == 3600
    assert version.keep_seconds(own) == 7200


def test_the_interval_of_what_is_not_mentioned_stays() -> None:
    own = settings(version={"interval_seconds": 3600})
    (status,) = [collector for collector in selected(COLLECTORS, own) if collector.name == "status"]
    assert status.interval(own) == own.poll_interval_seconds


def test_a_collector_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"exporter\.collectors\.nodes: is no collector.*node, "):
        selected(COLLECTORS, settings(nodes={"enabled": False}))


def test_resources_cannot_be_switched_off_or_slowed_down() -> None:
    with pytest.raises(ConfigError) as refused:
        selected(COLLECTORS, settings(resources={"enabled": False, "interval_seconds": 300}))
    assert [problem.place for problem in refused.value.problems] == [
        "exporter.collectors.resources.enabled",
        "exporter.collectors.resources.interval_seconds",
    ]
    assert "poll_interval_seconds" in str(refused.value)
