"""The fake pveum says what pveum of 8.4 and 9.2 was recorded to say, command after command."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.pve_host import PveHost

RECORDED = json.loads((Path(__file__).resolve().parents[1] / "fixtures" / "recorded-pveum.json").read_text())


def without_secret(text: str) -> Any:
    answer = json.loads(text)
    rows = answer if isinstance(answer, list) else [answer]
    return sorted(json.dumps(row | ({"value": "SECRET"} if "value" in row else {}), sort_keys=True) for row in rows)


@pytest.mark.parametrize("version", ["8.4", "9.2"])
def test_it_prints_exits_and_refuses_as_recorded(version: str, tmp_path: Path) -> None:
    with PveHost(tmp_path, version) as host:
        for entry in RECORDED:
            expected, done = entry[version], host.run(*shlex.split(entry["command"]))
            assert (entry["command"], done.returncode) == (entry["command"], expected["exit"]), done.stderr
            assert (entry["command"], done.stderr.strip()) == (entry["command"], expected["stderr"].strip())
            if expected["stdout"].startswith(("{", "[")):
                assert without_secret(done.stdout) == without_secret(expected["stdout"])
            else:  # how tables are drawn is pveum's affair
                assert bool(done.stdout) == bool(expected["stdout"]), entry["command"]
