from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema

from pvewatch.bundle import bundle_path
from tests.agents.linux_agent import AGENT, run


def fields(message: Any, path: str = "") -> set[str]:
    """The names of all fields; of a list the fields of all its members."""
    if isinstance(message, dict):
        return {path} | {name for key, value in message.items() for name in fields(value, f"{path}.{key}")}
    if isinstance(message, list):
        return {path} | {name for value in message for name in fields(value, f"{path}[]")}
    return {path}


def test_a_dry_run_prints_a_valid_message_with_the_fields_of_the_example() -> None:
    done = run("--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    message = json.loads(done.stdout)
    jsonschema.validate(message, json.loads((bundle_path("agents") / "heartbeat.schema.json").read_text("utf-8")))
    example = json.loads((bundle_path("agents") / "heartbeat.example.json").read_text("utf-8"))
    assert fields(message) == fields(example)
    assert list(message) == list(example)


def test_the_help_names_every_setting_and_the_version_is_the_one_sent() -> None:
    text = AGENT.read_text("utf-8")
    help_text = run("--help").stdout
    for setting in ("URL", "TOKEN_FILE", "CA_FILE", "INTERVAL", "INITIAL_OFFSET", "ALLOW_HTTP"):
        assert f"CONFIG_{setting}" in text
        assert f"\n  {setting} " in help_text
    version = json.loads(run("--dry-run").stdout)["agent"]["version"]
    assert run("--version").stdout == f"pvewatch-agent {version}\n"


def test_sourcing_the_file_does_nothing() -> None:
    assert 'main "$@"' in AGENT.read_text("utf-8").splitlines()[-1]
    assert AGENT.read_text("utf-8").count('main "$@"') == 1


def test_shellcheck_has_nothing_to_say() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, AGENT], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")
