"""Drives the Linux agent: its functions one by one, and the whole program."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from pvewatch.bundle import bundle_path

AGENT = bundle_path("agents") / "linux" / "pvewatch-agent"
SCRIPTS = (AGENT, *sorted(AGENT.parent.glob("*.bash")))
TREES = Path(__file__).parent / "proc"


def environment(tree: str | None = None, **variables: object) -> dict[str, str]:
    """The environment of an agent that reads a recorded tree (this machine's own /proc without one)."""
    base = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    if tree is not None:
        root = TREES / tree
        base |= {
            "PVEWATCH_PROC": str(root / "proc"),
            "PVEWATCH_SYS": str(root / "sys"),
            "PVEWATCH_RUN": str(root / "run"),
            "PVEWATCH_CGROUP": str(root / "cgroup"),
            "PVEWATCH_MODULES": str(root / "modules"),
            "PVEWATCH_NOTIFY_REBOOT": str(root / "notify-reboot-required"),
            "PVEWATCH_OS_RELEASE": str(root / "os-release"),
        }
    return base | {name: str(value) for name, value in variables.items()}


def call(script: str, *arguments: str | bytes, tree: str | None = None, **variables: object) -> str:
    """Source the agent, run `script` with arguments, return what it prints. Fails when anything goes to stderr."""
    done = subprocess.run(
        ["bash", "-c", f'set -u; source "$1"; shift; {script}', "test", AGENT, *arguments],
        env=environment(tree, **variables),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == b"", done.stderr.decode(errors="replace")
    return done.stdout.decode()


def run(*arguments: str | Path, tree: str | None = None, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run the whole program to its end."""
    return subprocess.run(
        [AGENT, *arguments],
        env=environment(tree, **variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
