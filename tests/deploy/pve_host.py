"""A folder of programs that make a test machine look like a Proxmox VE host to a script."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

FAKE = Path(__file__).with_name("fake_pve_host.py")
SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "setup-token.sh"


class PveHost:
    """One host that does not exist, with its state kept in `folder`."""

    def __init__(self, folder: Path, version: str) -> None:
        self.version = version
        self.folder = folder
        self.state_file = folder / "state.json"
        programs = folder / "bin"
        programs.mkdir(parents=True)
        for name in ("pveum", "pvesh", "pveversion", "id"):
            (programs / name).symlink_to(FAKE)
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "FAKE_PVE_STATE": str(self.state_file),
            "FAKE_PVE_VERSION": version,
            "PVEWATCH_ETC_PVE": str(folder / "etc-pve"),
        }

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run any command on the host."""
        return subprocess.run(
            command,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def setup(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run setup-token.sh on the host."""
        return self.run(str(SCRIPT), *arguments, **environment)

    @property
    def state(self) -> dict[str, Any]:
        """Users, roles and entries as the host has them."""
        found: dict[str, Any] = json.loads(self.state_file.read_text())
        return found

    def grants(self) -> set[str]:
        """Every entry as `whom path role`."""
        return {f"{row['ugid']} {row['path']} {row['roleid']}" for row in self.state["acl"]}

    def secret(self, name: str) -> str:
        """The secret that the host would accept for pvewatch's token of that name."""
        value: str = self.state["users"][f"pvewatch-{name}@pve"]["tokens"]["main"]["value"]
        return value
