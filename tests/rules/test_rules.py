"""The rule tests (promtool's YAML beside this file), and that they cover what they must."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from pvewatch.stack import tools
from tests.rules import newer_promtool

HERE = Path(__file__).parent
RULES = HERE.parents[1] / "prometheus" / "rules"
AREAS = sorted(HERE.glob("*.yml"))


def run(tool: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(tool), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, text=True, timeout=120)


def test_the_rules_are_valid() -> None:
    done = run(tools.find("promtool"), "check", "rules", *sorted(RULES.glob("*.yml")))
    assert done.returncode == 0, done.stdout + done.stderr


def prepared(path: Path, rules: Path) -> str:
    """A test file for promtool, with its rules taken from `rules` and evaluated in the order in which it names them.

    Without an order promtool takes any, and what is worked out of recorded series comes a step later at random.
    """
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    files = [rules / Path(name).name for name in document["rule_files"]]
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    order = [group["name"] for group in groups]
    return yaml.safe_dump({**document, "rule_files": [str(file) for file in files], "group_eval_order": order})


def outcome(tool: Path, path: Path, rules: Path, scratch: Path) -> subprocess.CompletedProcess[str]:
    """What that promtool says of the tests in `path`."""
    single = scratch / path.name
    single.write_text(prepared(path, rules), encoding="utf-8")
    return run(tool, "test", "rules", single)


@pytest.mark.parametrize("path", AREAS, ids=lambda path: path.stem)
def test_the_alerts_of_an_area(path: Path, tmp_path: Path) -> None:
    done = outcome(tools.find("promtool"), path, RULES, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.root
@pytest.mark.parametrize("suite", newer_promtool.SUITES)
def test_newer_versions_of_prometheus_agree(suite: str, tmp_path: Path) -> None:
    tool = newer_promtool.program(suite)
    checked = run(tool, "check", "rules", *sorted(RULES.glob("*.yml")))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    # What the oldest and the newest agree on, those between do not dispute: they check the language only.
    for path in AREAS if suite == newer_promtool.NEWEST else []:
        done = outcome(tool, path, RULES, tmp_path)
        assert done.returncode == 0, f"{path.name}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        pytest.param("nodes.yml", "for: 1m", "for: 50s", id="a node told ten seconds early"),
        pytest.param("nodes.yml", 'status="offline"', 'status=~"offline|unknown"', id="an unknown node told as down"),
        pytest.param("guests.yml", "for: 2m", "for: 130s", id="a stopped guest told ten seconds late"),
        pytest.param("guests.yml", "(pvewatch_guest_expected_running) == 1", "(pve_guest_status) == 1", id="any guest"),
        pytest.param(
            "records.yml", "(topk by (cluster, id) (1, pvewatch_guest_info))", "(pvewatch_guest_info)", id="no topk"
        ),
        pytest.param("records.yml", "unless on (cluster, node)", "and on (cluster, node)", id="guests of a lost node"),
        pytest.param("guests.yml", "vmid, tags, alerting)", "vmid, alerting)", id="a guest without its tags"),
        pytest.param("guests.yml", "keep_firing_for: 1m", "keep_firing_for: 10s", id="a lock forgotten at once"),
        pytest.param("heartbeats.yml", "for: 90s", "for: 60s", id="no time for agents after an outage"),
        pytest.param("heartbeats.yml", 'status="running"', 'status="stopped"', id="a stopped guest told as silent"),
        pytest.param("heartbeats.yml", "runbooks/GuestHeartbeatMissing", "runbooks/GuestDown", id="another runbook"),
        pytest.param("heartbeats.yml", "automation: recover", "automation: none", id="a silent guest nobody recovers"),
        pytest.param("services.yml", "for: 2m", "for: 110s", id="a service told ten seconds early"),
        pytest.param("services.yml", 'status="running"', 'status=~".*"', id="a stopped guest's services told"),
        pytest.param("services.yml", "(probe_success{", "(probe_http_ssl{", id="another figure of the probe"),
        pytest.param(
            "planning.yml", "max by (cluster, storage)", "sum by (cluster, storage)", id="shared counted twice"
        ),
        pytest.param("planning.yml", 'status="running"', 'status="stopped"', id="guests that promise nothing counted"),
        pytest.param(
            "exporter.yml", '{collector="resources"}) == 0', ") == 0 or pve_collector_success == 0", id="any collector"
        ),
        pytest.param("disks.yml", 'state="failed"', 'state=~"failed|unknown"', id="a virtual disk told as failing"),
        pytest.param("disks.yml", 'class=~"rejected|not_found|unreachable"', 'class=~".+"', id="want of a privilege"),
        pytest.param("disks.yml", "OSD_([A-Z]+_)?DOWN|", "", id="an OSD that is down told twice"),
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
    # What is recorded is tested with the guests, who need it.
    tests = HERE / ("guests.yml" if file == "records.yml" else file)
    (tmp_path / "tests").mkdir()
    assert outcome(tools.find("promtool"), tests, tmp_path, tmp_path / "tests").returncode != 0
