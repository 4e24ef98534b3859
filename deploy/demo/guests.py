"""Runs one real agent for each of a few simulated guests, as long as the simulator says that the guest is alive."""

import json
import os
from pathlib import Path

from pvewatch.stack.agent_host import AgentGuest, AgentHost
from pvewatch.stack.observe import Control
from pvewatch.stack.processes import Processes, StackError, Stopped, stop_signals

CLUSTER = "demo"
# The guest that hangs in the scenario "demo"; see pvewatch/simulator/scenarios.py.
HANGING_GUEST = "qemu/101"
AGENTS = 4
INTERVAL_SECONDS = 5
HEARTBEATS = "http://exporter:9223"
SCRATCH = Path("/tmp")  # noqa: S108  a tmpfs of this container alone
FOLLOWED = SCRATCH / "agents-are-followed"


def chosen_guests(control: Control) -> list[AgentGuest]:
    """The first guests that are alive, the one that will hang among them."""
    alive = [guest.id for guest in control.guests().values() if guest.alive]
    alive.sort(key=lambda guest: (guest != HANGING_GUEST, int(guest.partition("/")[2])))
    return [AgentGuest(CLUSTER, guest) for guest in alive[:AGENTS]]


def main() -> None:
    """Follow the guests until the container is stopped; end with a failure, and so be restarted, when that fails."""
    simulator = json.loads(Path("/demo/simulator/simulator.json").read_text(encoding="utf-8"))
    control = Control(simulator["control_url"], simulator["control_token"])
    with stop_signals() as stop:
        processes = Processes(SCRATCH / "logs", stop)
        host = AgentHost(
            processes,
            {CLUSTER: control},
            chosen_guests(control),
            SCRATCH / "agents",
            config=Path(os.environ["PVEWATCH_CONFIG"]),
            url=HEARTBEATS,
            interval_seconds=INTERVAL_SECONDS,
            environment=os.environ,
        )
        host.start()
        FOLLOWED.touch()
        try:
            while host.problem is None:
                processes.pause(1)
            raise StackError(host.problem)
        except Stopped:
            return
        finally:
            FOLLOWED.unlink()
            host.stop()
            processes.stop()


main()
