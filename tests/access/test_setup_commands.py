"""`pvewatch check --setup`: what is printed for copying is what deploy/setup-token.sh prints, word for word."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pvewatch.cli import cli

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "setup-token.sh"
EVERYTHING = ("--pool", "web", "--pool", "db", "--storage", "local", "--bridge", "vmbr0", "--node", "pve1")


def setup(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["check", "--setup", *arguments])


@pytest.mark.parametrize("version", ["8", "9"])
@pytest.mark.parametrize("arguments", [(), ("--all-guests",), EVERYTHING])
def test_the_script_prints_the_same_commands(version: str, arguments: tuple[str, ...]) -> None:
    result = setup("--pve-version", version, *arguments)

    script = subprocess.run(
        [SCRIPT, "--print", "--pve-version", version, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert result.exit_code == 0, result.output
    assert [line for line in result.output.splitlines() if not line.startswith("#")] == script.stdout.splitlines()


def test_it_needs_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    result = setup()

    assert result.exit_code == 0
    assert "pveum role add watch-monitor" in result.output


def test_what_the_script_refuses_is_told_in_its_words() -> None:
    result = setup("--storage", "local")

    assert result.exit_code == 2
    assert "provision needs --pool NAME and --storage NAME" in result.output
