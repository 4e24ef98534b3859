"""Stands for the inside of the simulated guests: runs one real agent for each chosen guest.

The simulator knows whether a guest's userland is alive; an agent runs exactly as long as it is, and a new one starts
with the next boot, as it would in the guest.
"""

from __future__ import annotations

import subprocess
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pvewatch.bundle import bundle_path
from pvewatch.stack.observe import Control, Unanswered
from pvewatch.stack.parts import pvewatch
from pvewatch.stack.processes import Part, Processes, StackError, Stopped

LOOK_SECONDS = 0.5
TOKEN_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class AgentGuest:
    """A simulated guest that has an agent inside."""

    cluster: str
    id: str

    @property
    def vmid(self) -> str:
        """The number in `qemu/101`."""
        return self.id.partition("/")[2]

    @property
    def agent(self) -> str:
        """The name of its agent's process and log."""
        return f"agent-{self.cluster}-{self.vmid}"


class AgentHost:
    """Starts and ends the agents as their guests live; `problem` says why it could not, once it gave up."""

    def __init__(
        self,
        processes: Processes,
        controls: Mapping[str, Control],
        guests: list[AgentGuest],
        folder: Path,
        *,
        config: Path,
        url: str,
        interval_seconds: int,
        environment: Mapping[str, str],
    ) -> None:
        self.guests = guests
        self.problem: str | None = None
        self._processes = processes
        self._controls = controls
        self._folder = folder
        self._boots: dict[AgentGuest, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="agent-host", daemon=True)
        folder.mkdir(parents=True, exist_ok=True)
        for guest in guests:
            processes.pause(0)
            self._install(guest, config, url, interval_seconds, environment)

    def start(self) -> None:
        """Begin to follow the guests."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following; the agents themselves are ended with the other processes."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _install(
        self, guest: AgentGuest, config: Path, url: str, interval_seconds: int, environment: Mapping[str, str]
    ) -> None:
        """Write the guest's token and its agent's configuration, as the documentation tells a person to do."""
        printed = subprocess.run(
            pvewatch("agent-token", guest.cluster, guest.vmid, config=config),
            capture_output=True,
            text=True,
            env=dict(environment),
            start_new_session=True,
            timeout=TOKEN_TIMEOUT_SECONDS,
            check=False,
        )
        if printed.returncode:
            raise StackError(f"no heartbeat token for {guest.cluster} {guest.id}: {printed.stderr.strip()}")
        token = self._folder / f"{guest.agent}.token"
        token.touch(mode=0o600)
        token.write_text(printed.stdout, encoding="utf-8")
        settings = {"URL": url, "TOKEN_FILE": token, "INTERVAL": interval_seconds, "INITIAL_OFFSET": 0}
        lines = "".join(f"{key}={value}\n" for key, value in settings.items())
        (self._folder / f"{guest.agent}.conf").write_text(lines, encoding="utf-8")

    def _follow(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            try:
                self._look()
            except Unanswered:
                # A simulator that is gone is noticed, with its log, by whoever watches the processes.
                continue
            except Stopped:
                return
            except StackError as error:
                self.problem = str(error)
                return

    def _look(self) -> None:
        for cluster, control in self._controls.items():
            inside = control.guests()
            for guest in (guest for guest in self.guests if guest.cluster == cluster):
                now = inside.get(guest.id)
                boot = now.boot if now is not None and now.alive and now.status == "running" else None
                if self._boots.get(guest) == boot:
                    continue
                # A crashed guest does not say goodbye: neither does its agent.
                self._processes.end(guest.agent, hard=True)
                self._boots.pop(guest, None)
                if boot is not None and not self._ended.is_set():
                    self._processes.start(self._agent(guest, boot))
                    self._boots[guest] = boot

    def _agent(self, guest: AgentGuest, boot: int) -> Part:
        boot_id = uuid.uuid5(uuid.NAMESPACE_URL, f"pvewatch:{guest.cluster}/{guest.id}/{boot}")
        return Part(
            guest.agent,
            (
                "bash",
                str(bundle_path("agents/linux/pvewatch-agent")),
                "--config",
                str(self._folder / f"{guest.agent}.conf"),
                "run",
            ),
            # Of the simulated guest, not of this machine: its UUID would be refused as a clone's.
            environment={"PVEWATCH_BOOT_ID": str(boot_id), "PVEWATCH_SMBIOS_UUID": ""},
        )
