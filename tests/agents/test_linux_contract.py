from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema

from exporter.heartbeats.schema import parse
from pvewatch.bundle import bundle_path
from tests.agents.linux_agent import AGENT, SCRIPTS, call, run


def fields(message: Any, path: str = "") -> set[str]:
    """The names of all fields; of a list the fields of all its members."""
    if isinstance(message, dict):
        return {path} | {name for key, value in message.items() for name in fields(value, f"{path}.{key}")}
    if isinstance(message, list):
        return {path} | {name for value in message for name in fields(value, f"{path}[]")}
    return {path}


def test_a_server_with_everything_sends_the_fields_of_the_example_in_its_order() -> None:
    """On a recorded machine with watched services, a repair, a reboot that waits, and a firmware."""
    message = json.loads(call('INTERVAL=60; CPU_BEFORE="100 50"; payload', tree="server"))
    jsonschema.validate(message, json.loads((bundle_path("agents") / "heartbeat.schema.json").read_text("utf-8")))
    example = json.loads((bundle_path("agents") / "heartbeat.example.json").read_text("utf-8"))
    assert fields(message) == fields(example)
    assert list(message) == list(example)


def test_a_dry_run_on_this_machine_is_a_heartbeat() -> None:
    done = run("--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    parse(done.stdout.encode())


def test_the_help_names_every_setting_and_the_version_is_the_one_sent() -> None:
    text = "".join(part.read_text("utf-8") for part in SCRIPTS)
    read = set(re.findall(r"CONFIG_([A-Z_]+)", text))
    help_text = run("--help").stdout
    assert read == set(re.findall(r"^  ([A-Z_]+) ", help_text, re.MULTILINE))
    version = json.loads(run("--dry-run").stdout)["agent"]["version"]
    assert run("--version").stdout == f"pvewatch-agent {version}\n"


def test_sourcing_the_file_does_nothing() -> None:
    assert 'main "$@"' in AGENT.read_text("utf-8").splitlines()[-1]
    assert AGENT.read_text("utf-8").count('main "$@"') == 1


def test_shellcheck_has_nothing_to_say() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, *SCRIPTS], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")
