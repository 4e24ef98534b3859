"""Previews show values as Grafana would: merged rows, units, mappings, gaps, and why there is nothing."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_795_000_000.0


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/preview_panels.py, imported as tools/previews.py does."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    for name in ("preview_panels", "preview_values"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("preview_panels")


def sample(value: float, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [NOW, str(value)]}


def test_rows_of_several_queries_meet_on_the_labels_that_they_share(panels: ModuleType) -> None:
    answers = {
        "A": [sample(1, cluster="lab", id="qemu/100", name="web"), sample(0, cluster="lab", id="qemu/101", name="db")],
        "B": [sample(7, cluster="lab", id="qemu/101")],
    }
    assert panels.merged(answers, several=True) == [
        {"cluster": "lab", "id": "qemu/100", "name": "web", "Value #A": 1.0},
        {"cluster": "lab", "id": "qemu/101", "name": "db", "Value #A": 0.0, "Value #B": 7.0},
    ]


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "text"),
    [
        (0.731, "percentunit", 0, "73 %"),
        (3 * 1024**3, "bytes", 1, "3.0 GiB"),
        (20_100_000, "bps", None, "20.1 Mb/s"),
        (0.042, "s", 2, "42.0 ms"),
        (86_400 * 1.5, "s", 0, "1.5 days"),
        ((NOW - 7200) * 1000, "dateTimeFromNow", None, "2.0 hours ago"),
        ((NOW + 7200) * 1000, "dateTimeFromNow", None, "in 2.0 hours"),
        (5, "none", 0, "5"),
        (float("nan"), "bytes", None, "NaN"),
    ],
)
def test_a_number_is_written_in_its_unit(
    panels: ModuleType, value: float, unit: str, decimals: int | None, text: str
) -> None:
    assert panels.written(value, unit, decimals, NOW) == text


def stat(panels: ModuleType, *values: float) -> str:
    options = {"0": {"text": "Does <not> answer", "color": "red"}}
    steps = [{"value": None, "color": "blue"}, {"value": 5, "color": "orange"}]
    defaults = {
        "unit": "none",
        "decimals": 0,
        "noValue": "no guest asks",
        "mappings": [{"type": "value", "options": options}],
        "thresholds": {"steps": steps},
    }
    panel = {"type": "stat", "options": {}, "targets": [{"refId": "A"}], "fieldConfig": {"defaults": defaults}}
    answered = panels.Answered(panel, {"A": [sample(value) for value in values]}, NOW - 60, NOW, 200, 100)
    drawn: str = panels.drawn(answered)
    return drawn


def test_a_figure_has_the_colour_of_its_step_and_a_state_its_text(panels: ModuleType) -> None:
    assert f"color:{panels.COLOURS['blue']}" in stat(panels, 4)
    assert f"color:{panels.COLOURS['orange']}" in stat(panels, 5)
    assert "Does &lt;not&gt; answer" in stat(panels, 0)


def test_nothing_is_shown_with_its_reason(panels: ModuleType) -> None:
    assert "no guest asks" in stat(panels)
