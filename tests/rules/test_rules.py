"""The rule tests (promtool's YAML beside this file), and that they cover what they must."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pvewatch.stack import tools

HERE = Path(__file__).parent
RULES = HERE.parents[1] / "prometheus" / "rules"
CASES = [
    pytest.param(path, case, id=f"{path.stem}: {case['name']}")
    for path in sorted(HERE.glob("*.yml"))
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
]


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(tools.find("promtool")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)


def test_the_rules_are_valid() -> None:
    done = promtool("check", "rules", *sorted(RULES.glob("*.yml")))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("path", "case"), CASES)
def test_an_alert(path: Path, case: dict[str, Any], tmp_path: Path) -> None:
    document = {"rule_files": [str(RULES / "*.yml")], "evaluation_interval": "10s", "tests": [case]}
    single = tmp_path / path.name
    single.write_text(yaml.safe_dump(document), encoding="utf-8")
    done = promtool("test", "rules", single)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        pytest.param("nodes.yml", "for: 1m", "for: 50s", id="a node told ten seconds early"),
        pytest.param("nodes.yml", 'status="offline"', 'status=~"offline|unknown"', id="an unknown node told as down"),
        pytest.param("guests.yml", "for: 2m", "for: 130s", id="a stopped guest told ten seconds late"),
        pytest.param("guests.yml", "(pvewatch_guest_expected_running) == 1", "(pve_guest_status) == 1", id="any guest"),
        pytest.param(
            "guests.yml", "topk by (cluster, id) (1, pvewatch_guest_info)", "pvewatch_guest_info", id="no topk"
        ),
        pytest.param("guests.yml", "vmid, tags)", "vmid)", id="a guest without its tags"),
        pytest.param("guests.yml", "keep_firing_for: 1m", "keep_firing_for: 10s", id="a lock forgotten at once"),
        pytest.param("heartbeats.yml", "for: 90s", "for: 60s", id="no time for agents after an outage"),
        pytest.param("heartbeats.yml", 'status="running"', 'status="stopped"', id="a stopped guest told as silent"),
        pytest.param("heartbeats.yml", "runbooks/GuestHeartbeatMissing", "runbooks/GuestDown", id="another runbook"),
        pytest.param("heartbeats.yml", "automation: recover", "automation: none", id="a silent guest nobody recovers"),
        pytest.param(
            "exporter.yml", '{collector="resources"}) == 0', ") == 0 or pve_collector_success == 0", id="any collector"
        ),
        pytest.param("exporter.yml", "or vector(0)", "or vector(1)", id="a missing exporter taken for a present one"),
    ],
)
def test_the_rule_tests_object_to_a_broken_rule(file: str, right: str, wrong: str, tmp_path: Path) -> None:
    for shipped in RULES.glob("*.yml"):
        text = shipped.read_text(encoding="utf-8")
        if shipped.name == file:
            assert right in text
            text = text.replace(right, wrong)
        (tmp_path / shipped.name).write_text(text, encoding="utf-8")
    document = yaml.safe_load((HERE / file).read_text(encoding="utf-8"))
    document["rule_files"] = ["../*.yml"]
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / file).write_text(yaml.safe_dump(document), encoding="utf-8")
    assert promtool("test", "rules", tmp_path / "tests" / file).returncode != 0
