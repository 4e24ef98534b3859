"""docs/migrating.md is followed to the letter; only addresses and the secret are put in."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pvewatch.simulator.server import Options, Simulator
from pvewatch.stack.ports import free_port
from tests.contracts.test_peer_exporter import WANTED
from tests.e2e.running import pvewatch, until
from tests.rules.servers import prometheus

DOC = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The blocks of code in that language, in the order of the page."""
    return re.findall(rf"```{language}\n(.*?)```", DOC, re.DOTALL)


def block(title: str) -> str:
    """The YAML that begins with that comment."""
    (found,) = [text for text in blocks("yaml") if text.startswith(f"# {title}\n")]
    return found


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[dict[str, Simulator]]:
    """pve1 and pve2 of the page, with one certificate and the same tokens."""
    first = Simulator(Options(data=tmp_path / "pve1", auth_delay_seconds=0))
    shutil.copytree(tmp_path / "pve1", tmp_path / "pve2")
    second = Simulator(Options(data=tmp_path / "pve2", auth_delay_seconds=0))
    first.start()
    second.start()
    yield {"pve1.example.org": first, "pve2.example.org": second}
    second.stop()
    first.stop()


@pytest.mark.parametrize("form", ["command line", "pvewatch.yaml"])
def test_the_documented_steps_end_in_figures_in_prometheus(
    tmp_path: Path, hosts: dict[str, Simulator], form: str
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    listen = f"127.0.0.1:{free_port()}"
    known = hosts["pve1.example.org"].details
    user, name = known["tokens"]["monitor"]["id"].split("!")
    values = {host: f"127.0.0.1:{simulator.details['port']}" for host, simulator in hosts.items()}
    values |= {"0.0.0.0:9221": listen, "pvewatch.example.org:9221": listen}
    values |= {"prometheus@pve": user, "token_name: exporter": f"token_name: {name}"}
    values |= {"REPLACE-WITH-THE-SECRET": known["tokens"]["monitor"]["secret"]}
    values |= {"verify_ssl: true": f"verify_ssl: {known['ca_file']}"}

    def filled(text: str) -> str:
        for written, meant in values.items():
            text = text.replace(written, meant)
        return text

    (folder / "pve.yml").write_text(filled(block("pve.yml")))
    (folder / "pve.yml").chmod(0o600)
    (command,) = blocks("console")
    program, *arguments = shlex.split(filled(command.removeprefix("$ ")))
    assert program == "pvewatch"
    if form == "pvewatch.yaml":
        (folder / "pvewatch.yaml").write_text(filled(block("pvewatch.yaml")))
        arguments = arguments[:1]
    scraping = tmp_path / "prometheus.yml"
    scraping.write_text("global: {scrape_interval: 1s}\n" + filled(block("prometheus.yml, after")))

    with pvewatch(*arguments, cwd=folder) as exporter, prometheus(scraping, tmp_path / "tsdb") as server:

        def found(query: str) -> dict[str, str]:
            assert exporter.process.poll() is None, exporter.output
            answer = requests.get(f"{server}/api/v1/query", params={"query": query}, timeout=5).json()
            return {row["metric"]["instance"]: row["value"][1] for row in answer["data"]["result"]}

        everything = dict.fromkeys((values["pve1.example.org"], values["pve2.example.org"]), "1")
        until(lambda: found('up{job="pve"}') == everything, "up == 1 for both targets", 30)
        assert found('pve_up{id="node/pve1"}') == everything
        refused = requests.get(f"http://{listen}/pve?target=203.0.113.1", timeout=5)
        assert (refused.status_code, "exporter.pve_targets" in refused.text) == (403, True)


def test_before_and_after_differ_in_one_address() -> None:
    before = block("prometheus.yml, before").splitlines()[1:]
    after = block("prometheus.yml, after").splitlines()[1:]
    assert len(before) == len(after)
    differing = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert [line.split(":", 1)[0].strip() for pair in differing for line in pair] == ["replacement", "replacement"]


def test_the_list_of_wanted_series_is_that_of_the_comparison() -> None:
    _, _, table = DOC.partition("| series | why |\n|---|---|\n")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", table.partition("\n\n")[0], re.MULTILINE)
    assert dict(rows) == WANTED
