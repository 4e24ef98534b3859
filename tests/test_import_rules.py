"""Each import rule in pyproject.toml is broken in a copy of the code, and has to turn red there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pvewatch", "exporter", "action_api")

# Rule → where a wrong import is added, and which. One line for each thing that a rule forbids.
WRONG_IMPORTS = [
    ("layers", "exporter/__init__.py", "import action_api.policy"),
    ("layers", "action_api/policy.py", "import exporter"),
    ("layers", "pvewatch/stack/ports.py", "import pvewatch.simulator"),
    ("layers", "pvewatch/render/__init__.py", "import pvewatch.stack"),
    ("layers", "pvewatch/pve/errors.py", "import pvewatch.render"),
    ("layers", "pvewatch/config.py", "import pvewatch.pve.errors"),
    ("layers", "pvewatch/inventory.py", "import pvewatch.pve.models"),
    ("web", "action_api/app.py", "import pvewatch.pve.models"),
    ("web", "action_api/routes/__init__.py", "import action_api.worker"),
    ("web", "action_api/catalogue.py", "import action_api.actions"),
    ("notifications", "action_api/notifiers/loop.py", "import pvewatch.pve.client"),
    ("notifications", "action_api/notifiers/wording.py", "import action_api.worker"),
    ("notifications", "action_api/store/__init__.py", "import proxmoxer"),
    ("pure", "action_api/catalogue.py", "import time"),
    ("pure", "action_api/policy.py", "import action_api.store"),
    ("proxmoxer", "exporter/__init__.py", "import proxmoxer"),
    ("proxmoxer", "action_api/__init__.py", "from proxmoxer import ProxmoxAPI"),
    ("sqlalchemy", "action_api/routes/__init__.py", "import sqlalchemy"),
    ("sqlalchemy", "exporter/__init__.py", "from sqlalchemy import select"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The code and its rules, where they can be broken."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "_bundle"))
    return tmp_path


def lint(folder: Path, rule: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache", "--contract", rule],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(("rule", "file", "line"), WRONG_IMPORTS)
def test_a_wrong_import_turns_its_rule_red(copy: Path, rule: str, file: str, line: str) -> None:
    with (copy / file).open("a", encoding="utf-8") as module:
        module.write(f"\n{line}\n")

    outcome = lint(copy, rule)

    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert "Contracts: 0 kept, 1 broken" in outcome.stdout


@pytest.mark.parametrize("rule", sorted({rule for rule, _, _ in WRONG_IMPORTS}))
def test_the_code_as_it_is_keeps_the_rule(copy: Path, rule: str) -> None:
    outcome = lint(copy, rule)

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "Contracts: 1 kept, 0 broken" in outcome.stdout


def test_every_rule_is_broken_by_some_line_above() -> None:
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]

    assert {rule["id"] for rule in configured["contracts"]} == {rule for rule, _, _ in WRONG_IMPORTS}
