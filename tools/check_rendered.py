#!/usr/bin/env python3
"""Renders the example configuration in both layouts and has Prometheus' and Alertmanager's own checkers read it.

tools/check_rendered.py promtool    configuration and rules; their unit tests are a part of their own, tests/rules
tools/check_rendered.py amtool      configuration and templates
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from pvewatch.config import load_settings
from pvewatch.render import write_all
from pvewatch.stack import tools

ROOT = Path(__file__).resolve().parents[1]
CHECKER_TIMEOUT_SECONDS = 120
EXAMPLE = """\
data_dir: {folder}/data
clusters:
  - name: example
    hosts: [192.0.2.10]
"""


def main() -> int:
    """Run one checker; returns 0 only if it found nothing wrong."""
    checker = {"promtool": _promtool, "amtool": _amtool}.get(" ".join(sys.argv[1:]))
    if checker is None:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "pvewatch.yaml"
        config.write_text(EXAMPLE.format(folder=folder), encoding="utf-8")
        settings = load_settings(config, {})
        native = Path(folder) / "native"
        write_all(settings, native, "native")
        return 0 if checker(native) else 1


def _promtool(native: Path) -> bool:
    promtool = tools.find("promtool")
    return all(
        [
            _holds(promtool, "check", "config", native / "prometheus" / "prometheus.yml"),
            _holds(promtool, "check", "config", "--syntax-only", ROOT / "prometheus" / "prometheus.yml"),
            _holds(promtool, "check", "rules", *sorted((ROOT / "prometheus" / "rules").glob("*.yml"))),
        ]
    )


def _amtool(native: Path) -> bool:
    amtool = tools.find("amtool")
    with tempfile.TemporaryDirectory() as folder:
        # The committed file names paths inside the container; the checker wants those that exist to exist here.
        committed = (ROOT / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8")
        secret = Path(folder) / "secret"
        secret.write_text("x\n", encoding="utf-8")
        copy = Path(folder) / "alertmanager.yml"
        copy.write_text(re.sub(r"/run/secrets/\w+", str(secret), committed), encoding="utf-8")
        return all(
            [
                _holds(amtool, "check-config", native / "alertmanager" / "alertmanager.yml"),
                _holds(amtool, "check-config", copy),
            ]
        )


def _holds(program: Path, *arguments: str | Path) -> bool:
    print("+", program.name, *arguments, flush=True)
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, check=False, timeout=CHECKER_TIMEOUT_SECONDS).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
