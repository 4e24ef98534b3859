"""The command line where something is wrong: one message with the remedy, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pvewatch.cli import cli
from pvewatch.config import load_settings
from pvewatch.stack import demo, ports, up


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """A configuration whose parts listen on free ports; its data folder cannot be made, a file is in the way."""
    sections: dict[str, list[str]] = {}
    for listener in ports.LISTENERS:
        sections.setdefault(listener.section, []).append(f"  {listener.key}: 127.0.0.1:{ports.free_port()}\n")
    (tmp_path / "taken").write_text("a file")
    file = tmp_path / "pvewatch.yaml"
    file.write_text(
        "clusters: [{name: home, hosts: [pve1]}]\ndata_dir: taken/data\n"
        + "".join(f"{name}:\n{''.join(lines)}" for name, lines in sections.items())
    )
    return file


def run(configuration: Path, *arguments: str) -> Result:
    data = configuration.parent / "data"
    return CliRunner(env={"PVEWATCH_DATA_DIR": str(data)}).invoke(cli, ["--config", str(configuration), *arguments])


def test_a_folder_that_cannot_be_written_is_named_by_render(configuration: Path) -> None:
    result = run(configuration, "render", "--out", str(configuration.parent / "taken" / "out"))

    assert result.exit_code == 1
    assert f"cannot write {configuration.parent}/taken" in result.stderr
    assert "--out" in result.stderr


def test_a_data_folder_that_cannot_be_made_is_named_by_up(
    configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert up.run(load_settings(configuration), configuration) == 1

    assert f"{configuration.parent}/taken/data cannot be made: Not a directory" in capsys.readouterr().err


def test_a_data_folder_that_cannot_be_made_is_named_by_demo(
    configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = {listener.name: ports.free_port() for listener in ports.LISTENERS}

    assert demo.run(data=configuration.parent / "taken" / "data", moved_ports=moved) == 1

    assert "choose a folder of yours with --data" in capsys.readouterr().err


def test_an_unknown_cluster_is_answered_with_the_known_ones(configuration: Path) -> None:
    result = run(configuration, "agent-token", "other", "101")

    assert result.exit_code == 2
    assert "'other' is not a cluster; known are: home" in result.stderr
