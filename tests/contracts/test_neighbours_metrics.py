"""The names that rules, dashboards and runbooks use of Prometheus, Alertmanager and blackbox exporter are real ones."""

from __future__ import annotations

import json
import re

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pvewatch.render.blackbox import blackbox_config
from pvewatch.simulator.server import Options, Simulator
from pvewatch.stack import tools
from pvewatch.stack.ports import free_port
from tests.contracts.test_alerts import RULES, expressions
from tests.rules.servers import alertmanager, prometheus, running, wait_until

NAME = re.compile(r"\b(?:prometheus|alertmanager|probe)_[a-z_]+\b")


def names(text: str) -> set[str]:
    """What a text names of the three, outside of strings."""
    return set(NAME.findall(re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)))


def named() -> dict[str, set[str]]:
    """Where → the names that are used there."""
    found: dict[str, set[str]] = {}
    for where, expr in expressions():
        text = json.loads(expr) if expr.startswith('"') else expr
        found.setdefault(where, set()).update(names(text))
    return {where: used for where, used in found.items() if used}


def exposed(page: str) -> dict[str, set[str]]:
    """Name of each sample on a page → the labels that it has."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What the real three expose; Prometheus with a rule to evaluate, blackbox exporter about a probe over HTTPS."""
    folder = tmp_path_factory.mktemp("neighbours")
    rules = folder / "rules.yml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [{"record": "a:b", "expr": "1"}]}]}))
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({"global": {"evaluation_interval": "1s"}, "rule_files": [str(rules)]}))
    with prometheus(config, folder / "prometheus") as url:
        wait_until(lambda: "prometheus_rule_evaluations_total{" in page(url), "the rule to be evaluated")
        found = exposed(page(url))

    config = folder / "alertmanager.yml"
    config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    with alertmanager(config, folder / "alertmanager") as url:
        found |= exposed(page(url))

    config = folder / "blackbox.yml"
    config.write_text(yaml.safe_dump(blackbox_config()))
    url = f"http://127.0.0.1:{free_port()}"
    command = [str(tools.find("blackbox")), f"--config.file={config}", f"--web.listen-address={url[7:]}"]
    simulator = Simulator(Options(data=folder / "simulator"))  # something that speaks TLS
    simulator.start()
    https = f"https://{simulator.details['host']}:{simulator.details['port']}/"
    try:
        with running(command, url, folder / "blackbox.log", ready_path="/-/healthy"):
            return found | exposed(page(f"{url}/probe?module=http_unverified&target={https}", path=""))
    finally:
        simulator.stop()


def page(url: str, path: str = "/metrics") -> str:
    answer = requests.get(f"{url}{path}", timeout=10)
    answer.raise_for_status()
    return answer.text


def test_every_name_is_exposed_by_the_program_that_it_is_of(pages: dict[str, set[str]]) -> None:
    assert {where: used - set(pages) for where, used in named().items() if used - set(pages)} == {}


def test_rules_watch_all_three() -> None:
    used = {name.partition("_")[0] for rule in RULES for name in names(rule["expr"])}
    assert used == {"prometheus", "alertmanager", "probe"}


def test_labels_by_which_rules_take_them_apart_are_there(pages: dict[str, set[str]]) -> None:
    # Those that Prometheus adds to whatever it scrapes, and those of the list of probes.
    added = {"job", "instance", "cluster", "id", "probe"}
    checked = set()
    for rule in RULES:
        for labels, metric in re.findall(r"by \(([\w, ]+)\) \((?:\w+\()?(\w+)", rule["expr"]):
            if NAME.fullmatch(metric):
                assert set(re.split(r",\s*", labels)) - added <= pages[metric], f"{rule.get('alert')}: {metric}"
                checked.add(metric)
    assert "alertmanager_notifications_failed_total" in checked


def test_a_name_in_a_string_is_none() -> None:
    assert names('probe_success{job="prometheus_x"} == 0') == {"probe_success"}
