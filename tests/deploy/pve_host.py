"""A folder of programs that make a test machine look like a Proxmox VE host to a script."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.deploy.fake_pve_host import Programs

PROGRAM = Path(__file__).with_name("program.pl")
SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "setup-token.sh"


class PveHost:
    """One host that does not exist, with its state kept in `folder`; it answers between `with` and the end of that."""

    def __init__(self, folder: Path, version: str) -> None:
        self.version = version
        self.folder = folder
        self.state_file = folder / "state.json"
        self._programs = Programs(self.state_file, version)
        programs = folder / "bin"
        programs.mkdir(parents=True)
        for name in ("pveum", "pvesh", "pveversion", "id"):
            (programs / name).symlink_to(PROGRAM)
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "FAKE_PVE_PORT": str(self._programs.server_address[1]),
            "PVEWATCH_ETC_PVE": str(folder / "etc-pve"),
        }
        self._thread = threading.Thread(target=self._programs.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._programs.shutdown()
        self._thread.join()
        self._programs.server_close()

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
