"""`pvewatch demo`: the whole stack on this machine, against simulated Proxmox VE clusters and real agents.

With `check` it proves every hop and stops; without, it runs until Ctrl-C and tells what happens.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from pvewatch.config import Settings, load_settings
from pvewatch.stack import parts, ports, tools, up
from pvewatch.stack.agent_host import AgentGuest, AgentHost
from pvewatch.stack.checklist import Subject, prove
from pvewatch.stack.narrator import Narrator
from pvewatch.stack.observe import Prometheus, summary
from pvewatch.stack.processes import Processes, StackError, Stopped, stop_signals
from pvewatch.stack.screen import Screen
from pvewatch.stack.simulated import (
    HEARTBEAT_INTERVAL_SECONDS,
    Simulated,
    cluster_name,
    simulator,
    write_settings,
)

# The guest that the simulator's scenario "demo" makes hang, and that carries the tag for automatic reset.
HANGING_GUEST = "qemu/101"
AGENTS_PER_CLUSTER = 4
STATUS_SECONDS = 1.0
MOVE_REMEDY = "move it with --port {name}=PORT, or all with --ports-base PORT"


def run(
    *,
    check: bool = False,
    clusters: int = 2,
    guests: int = 12,
    data: Path | None = None,
    ports_base: int | None = None,
    moved_ports: Mapping[str, int] | None = None,
    as_json: bool = False,
) -> int:
    """Run the demonstration until Ctrl-C, or with `check` until everything was proven; returns the exit status.

    Without `data` everything is kept in a temporary folder that is removed at the end. With `as_json` the checklist
    goes to standard output as one JSON document and everything else to standard error.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True) if as_json else None
    with Screen(console) as screen, stop_signals() as stop:
        try:
            up.require_tools()
            chosen = ports.choose(ports_base, moved_ports or {})
            listening = {name: f"{ports.LOOPBACK}:{port}" for name, port in chosen.items()}
            unless = [] if parts.grafana_program() else ["grafana"]
            ports.require_free(listening, remedy=MOVE_REMEDY, unless=unless)
            folder = data.absolute() if data is not None else Path(tempfile.mkdtemp(prefix="pvewatch-demo-"))
            up.make_folder(folder, remedy="choose a folder of yours with --data")
        except StackError as error:
            screen.fail(str(error))
            return 1
        status = _run_in(folder, clusters, guests, chosen, stop, screen, check=check, as_json=as_json)
        if data is None and status == 0:
            shutil.rmtree(folder, ignore_errors=True)
        elif data is None:
            screen.say(f"logs and data are kept: {folder}")
    return status


def _run_in(
    folder: Path,
    clusters: int,
    guests: int,
    chosen_ports: Mapping[str, int],
    stop: threading.Event,
    screen: Screen,
    *,
    check: bool,
    as_json: bool,
) -> int:
    """The demonstration with everything it writes in `folder`; returns the exit status."""
    environment = _own_environment()
    processes = Processes(folder / "state" / "logs", stop, environment)
    hosts: list[AgentHost] = []
    try:
        # With --check the guest is made to hang by the checklist itself, at a moment that it knows.
        probed = f"http://{ports.LOOPBACK}:{chosen_ports['action-api']}/-/healthy"
        simulators = _start_simulators(clusters, guests, folder, processes, screen, hang=not check, probed=probed)
        config = write_settings(simulators, chosen_ports, folder)
        settings = load_settings(config, {})
        running = up.start(settings, config, processes, screen, environment)
        with screen.step("starting the agents of some guests"):
            hosts.append(_agents(settings, config, simulators, processes, folder, environment))
            hosts[0].start()
        up.announce(settings, running, screen)
        if check:
            subject = Subject(settings, simulators, hosts[0].guests, HANGING_GUEST, running.login)
            return _check(subject, processes, screen, as_json)
        _watch(settings, simulators, hosts[0], processes, screen)
    except Stopped:
        return 1 if check else 0
    except StackError as error:
        screen.fail(str(error))
        return 1
    finally:
        with screen.step("stopping everything"):
            for host in hosts:
                host.stop()
            processes.stop()


def _start_simulators(
    clusters: int, guests: int, folder: Path, processes: Processes, screen: Screen, *, hang: bool, probed: str
) -> list[Simulated]:
    started = []
    for number in range(1, clusters + 1):
        name = cluster_name(number)
        place = folder / "simulators" / name
        place.mkdir(parents=True, exist_ok=True)
        with screen.step(f"simulating the cluster {name}"):
            processes.start(
                simulator(number, guests, place, "demo" if hang and number == 1 else "healthy", probed=probed)
            )
        started.append(Simulated.read(name, place))
    return started


def _agents(
    settings: Settings,
    config: Path,
    simulators: list[Simulated],
    processes: Processes,
    folder: Path,
    environment: Mapping[str, str],
) -> AgentHost:
    """The agent host for the first few live guests of each cluster, the one that will hang among them."""
    chosen: list[AgentGuest] = []
    for cluster in simulators:
        alive = [guest.id for guest in cluster.control.guests().values() if guest.alive]
        alive.sort(key=lambda guest_id: (guest_id != HANGING_GUEST, int(guest_id.partition("/")[2])))
        chosen += [AgentGuest(cluster.name, guest_id) for guest_id in alive[:AGENTS_PER_CLUSTER]]
    return AgentHost(
        processes,
        {cluster.name: cluster.control for cluster in simulators},
        chosen,
        folder / "agents",
        config=config,
        url=settings.heartbeat_url,
        interval_seconds=HEARTBEAT_INTERVAL_SECONDS,
        environment=environment,
    )


def _check(subject: Subject, processes: Processes, screen: Screen, as_json: bool) -> int:
    results = prove(subject, processes, screen)
    if as_json:
        print(json.dumps({"ok": all(r.ok for r in results), "checks": [r.as_json() for r in results]}, indent=2))
    failed = [result for result in results if not result.ok]
    screen.say("")
    if failed:
        screen.fail(f"{len(failed)} of {len(results)} checks failed: {', '.join(result.name for result in failed)}")
    else:
        screen.say(f"[green]all {len(results)} checks hold[/green]")
    return 1 if failed else 0


def _watch(
    settings: Settings, simulators: list[Simulated], agents: AgentHost, processes: Processes, screen: Screen
) -> NoReturn:
    """Show how everything is and tell what happens, until the user asks to stop."""
    prometheus = Prometheus(settings.prometheus_url)
    narrator = Narrator(prometheus, {cluster.name: cluster.control for cluster in simulators}, screen.say)
    screen.say(f"In a minute {HANGING_GUEST} of {cluster_name(1)} hangs; watch what happens then.")
    while True:
        processes.check()
        if agents.problem:
            raise StackError(agents.problem)
        narrator.look()
        screen.status(summary(prometheus))
        processes.pause(STATUS_SECONDS)


def _own_environment() -> dict[str, str]:
    """This environment without settings of a real installation, and with the fetched tools on PATH."""
    foreign = ("PVEWATCH_", "PROXMOX_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    return {**kept, "PATH": tools.search_path()}
