"""Each part of the stack is handed the tokens that it needs, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvewatch.config import load_settings
from pvewatch.stack import parts, tools
from pvewatch.stack.processes import Part

ENVIRONMENT = {
    "PROXMOX_NODE_1_NAME": "home",
    "PROXMOX_NODE_1_HOST": "pve1.home",
    "PROXMOX_NODE_1_TOKEN_ID": "pvewatch@pve!monitor",
    "PROXMOX_NODE_1_TOKEN_SECRET": "monitor-secret",
    "PROXMOX_NODE_1_POWER_TOKEN_ID": "pvewatch@pve!power",
    "PROXMOX_NODE_1_POWER_TOKEN_SECRET": "power-secret",
}


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Part]:
    """What would be started, by name."""
    monkeypatch.setattr(tools, "find", lambda name: tmp_path / name)
    monkeypatch.setattr(tools, "prometheus_assets", lambda _program: None)
    monkeypatch.setattr(parts, "grafana_program", lambda: tmp_path / "bin" / "grafana")
    (tmp_path / "grafana" / "datasources").mkdir(parents=True)
    settings = load_settings(None, {**ENVIRONMENT, "PVEWATCH_DATA_DIR": str(tmp_path / "data")})
    rendered = [tmp_path / "alertmanager.yml", tmp_path / "blackbox.yml", tmp_path / "prometheus.yml"]
    grafana = parts.grafana(settings, tmp_path)
    assert grafana is not None
    return {part.name: part for part in [*parts.services(settings, None), *parts.engines(settings, rendered), grafana]}


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("exporter", {"monitor-secret"}),
        ("worker", {"power-secret"}),
        ("action-api", set()),
        ("alertmanager", set()),
        ("blackbox", set()),
        ("prometheus", set()),
        ("grafana", set()),
    ],
)
def test_a_part_gets_only_the_tokens_that_it_needs(started: dict[str, Part], name: str, needed: set[str]) -> None:
    given = {**ENVIRONMENT, **started[name].environment}

    assert {value for value in given.values() if value.endswith("-secret")} == needed


@pytest.mark.parametrize("name", ["exporter", "worker", "action-api"])
def test_a_part_reads_the_same_settings_without_the_others_tokens(started: dict[str, Part], name: str) -> None:
    given = {**ENVIRONMENT, **started[name].environment}

    assert load_settings(None, given).clusters == load_settings(None, ENVIRONMENT).clusters
