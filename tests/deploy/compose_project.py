"""compose.yaml as a user runs it, under a project name of its own and on free ports."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.deploy.docker_engine import run
from tests.deploy.stand_in_images import ROOT, compose_program

PORTS = ("EXPORTER", "HEARTBEAT", "ACTION_API", "PROMETHEUS", "ALERTMANAGER", "GRAFANA")
COMPOSE_SECONDS = 420


class Project:
    """One project with the demo's profile; `address` says where a part is published."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self.name = f"pvwtest{secrets.token_hex(3)}"
        self._environment = dict(environment)
        self._env_file = folder / "env"
        self._ports = _free_ports(len(PORTS))
        # Checked more often than by default only so that the test waits less.
        lines = ["PVEWATCH_HEALTH_INTERVAL=2s"]
        lines += [f"PVEWATCH_{part}_PORT={port}" for part, port in zip(PORTS, self._ports, strict=True)]
        self._env_file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def address(self, part: str) -> str:
        """`127.0.0.1:port` of one of PORTS."""
        return f"127.0.0.1:{self.port(part)}"

    def port(self, part: str) -> int:
        """The published port of one of PORTS."""
        return self._ports[PORTS.index(part)]

    def set(self, variable: str, value: str) -> None:
        """Add a line to the variables, as a user does in .env."""
        with self._env_file.open("a", encoding="utf-8") as file:
            file.write(f"PVEWATCH_{variable}={value}\n")

    def compose(
        self,
        *arguments: str,
        extra: Mapping[str, str] | None = None,
        files: tuple[str, ...] = (),
        profile: str | None = "demo",
        explain: bool = False,
        stdin: str | None = None,
    ) -> str:
        """The output of `docker compose …`; `files` are added to compose.yaml, `extra` to its variables.

        With `explain` the failure has what the containers said.
        """
        command: list[str | Path] = [
            compose_program(),
            "--ansi",
            "never",
            "--project-name",
            self.name,
            "--env-file",
            self._env_file,
        ]
        for file in ("compose.yaml", *files):
            command += ["--file", ROOT / file]
        command += ["--profile", profile] if profile else []
        try:
            return run(
                [*command, *arguments], env={**self._environment, **(extra or {})}, timeout=COMPOSE_SECONDS, input=stdin
            )
        except AssertionError as failure:
            if not explain:
                raise
            said = run([*command, "ps", "--all"], env=self._environment)
            said += run([*command, "logs", "--no-color", "--tail", "40"], env=self._environment)
            raise AssertionError(f"{failure}\n{said}") from None

    def docker(self, *arguments: str) -> str:
        """The output of `docker …`."""
        return run(["docker", *arguments], env=self._environment)

    def containers(self) -> dict[str, dict[str, Any]]:
        """What `docker inspect` says about each service's container, also those that have ended."""
        ids = self.docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.name}").split()
        found = json.loads(self.docker("inspect", *ids)) if ids else []
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}

    def exit_code(self, service: str, *command: str) -> int:
        """The exit code of a command inside a running service."""
        container = self.containers()[service]["Id"]
        return subprocess.run(
            ["docker", "exec", container, *command],
            env=self._environment,
            capture_output=True,
            check=False,
            timeout=60,
        ).returncode

    def volume(self, name: str) -> Path:
        """Where the host keeps a named volume."""
        return Path(json.loads(self.docker("volume", "inspect", f"{self.name}_{name}"))[0]["Mountpoint"])

    def leftovers(self) -> list[str]:
        """Containers, volumes and networks of this project that are still there."""
        mine = f"label=com.docker.compose.project={self.name}"
        return [
            *self.docker("ps", "--all", "--quiet", "--filter", mine).split(),
            *self.docker("volume", "ls", "--quiet", "--filter", mine).split(),
            *self.docker("network", "ls", "--quiet", "--filter", mine).split(),
        ]


def plain_environment() -> dict[str, str]:
    """This process's environment without variables that compose.yaml would read."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PVEWATCH_", "COMPOSE_"))}


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
