"""The examples of docs/agents.md are what their readers take them for."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pvewatch.cli import cli

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = ROOT / "deploy" / "agents" / "ansible-playbook.yml"
TEXTS = [ROOT / "docs" / "agents.md", *sorted((ROOT / "docs" / "runbooks").glob("*.md"))]


def tasks() -> list[dict[str, Any]]:
    (play,) = yaml.safe_load(PLAYBOOK.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = play["tasks"]
    return found


def test_whatever_holds_the_token_is_kept_out_of_ansibles_output_and_of_process_lists() -> None:
    with_token = [task for task in tasks() if "install-command" in str(task) or "pvewatch_installer" in str(task)]
    assert len(with_token) == 2
    assert all(task["no_log"] is True for task in with_token)
    assert all("pvewatch_installer" not in str(task["ansible.builtin.command"]["argv"]) for task in tasks())


def test_the_playbook_calls_the_command_as_it_is() -> None:
    argv = tasks()[0]["ansible.builtin.command"]["argv"]
    assert CliRunner().invoke(cli, [*argv[1:3], "--help"]).exit_code == 0
    assert argv[-2:] == ["--platform", "linux"]


def commands() -> list[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in TEXTS)
    return sorted(set(re.findall(r"pvewatch agents [a-z-]+(?: [^`|>\n]*)?", text)))


@pytest.mark.parametrize("command", commands())
def test_every_command_that_texts_name_exists_with_its_options(command: str) -> None:
    words = shlex.split(command.split("…", maxsplit=1)[0].split(" (", maxsplit=1)[0])[1:]
    wanted = [word for word in words if word.startswith("--")]
    shown = CliRunner().invoke(cli, [*words[:2], "--help"])
    assert shown.exit_code == 0, shown.output
    for option in wanted:
        assert option in shown.output, f"{command}: {words[1]} has no {option}"


@pytest.mark.parametrize("path", TEXTS[:1], ids=lambda path: path.name)
def test_links_of_the_text_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target
