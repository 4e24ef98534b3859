"""`pvewatch simulator`: one simulated Proxmox VE cluster in the foreground."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import click

from pvewatch.simulator.extras import EXTRAS
from pvewatch.simulator.faults import BadFault
from pvewatch.simulator.replay import NoRecordings
from pvewatch.simulator.scenarios import SCENARIOS
from pvewatch.simulator.server import Options, Simulator
from pvewatch.simulator.world import VERSIONS

EXIT_USAGE = 2


def _host_port(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise click.BadParameter(f"{value!r} is not HOST:PORT, for example 127.0.0.1:8006 (port 0 takes a free one)")
    return host.strip("[]"), int(port)


def _loopback(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, int]:
    host, port = _host_port(context, parameter, value)
    if host not in ("127.0.0.1", "localhost"):
        raise click.BadParameter("the control listener speaks plain HTTP and stays on 127.0.0.1")
    return host, port


@click.command()
@click.option(
    "--listen",
    callback=_host_port,
    metavar="HOST:PORT",
    default="127.0.0.1:0",
    show_default=True,
    help="Where the API is served.",
)
@click.option(
    "--control",
    callback=_loopback,
    metavar="HOST:PORT",
    default="127.0.0.1:0",
    show_default=True,
    help="Where faults are set.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data/simulator"),
    show_default=True,
    help="Directory for the certificate and simulator.json.",
)
@click.option("--name", default="sim1", show_default=True, help="The cluster's name.")
@click.option("--nodes", type=click.IntRange(1, 64), default=3, show_default=True)
@click.option("--guests", type=click.IntRange(1, 20_000), default=12, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same cluster.")
@click.option("--pve-version", type=click.Choice(sorted(VERSIONS)), default="8.4", show_default=True)
@click.option("--scenario", type=click.Choice(sorted(SCENARIOS)), default="healthy", show_default=True)
@click.option(
    "--refresh-seconds",
    type=click.FloatRange(0.1, 3600),
    default=10.0,
    show_default=True,
    help="How often the statistics are renewed; the real one does it every 10 s.",
)
@click.option(
    "--speed",
    type=click.FloatRange(0.01, 1000),
    default=1.0,
    show_default=True,
    help="How many times faster than real tasks end.",
)
@click.option(
    "--auth-delay",
    type=click.FloatRange(0, 60),
    default=0.2,
    show_default=True,
    help="Seconds before a refused login is answered; the real one takes 3.",
)
@click.option(
    "--replay",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Serve the recorded answers of this directory instead of a simulated cluster.",
)
@click.option(
    "--with",
    "extras",
    type=click.Choice(sorted(EXTRAS)),
    multiple=True,
    help="Something that not every cluster has; repeat it.",
)
def simulator(
    listen: tuple[str, int],
    control: tuple[str, int],
    data: Path,
    name: str,
    nodes: int,
    guests: int,
    seed: int,
    pve_version: str,
    scenario: str,
    refresh_seconds: float,
    speed: float,
    auth_delay: float,
    replay: Path | None,
    extras: tuple[str, ...],
) -> None:
    """A Proxmox VE cluster that exists only here, for trying pvewatch out.

    Its address, fingerprint and tokens are printed and written to simulator.json in --data. It runs until Ctrl-C.
    """
    options = Options(
        data=data,
        listen=listen,
        control=control,
        name=name,
        nodes=nodes,
        guests=guests,
        seed=seed,
        pve_version=pve_version,
        scenario=scenario,
        refresh_seconds=refresh_seconds,
        speed=speed,
        auth_delay_seconds=auth_delay,
        replay=replay,
        extras=extras,
    )
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopped.set())
    try:
        running = Simulator(options)
    except (NoRecordings, BadFault) as error:
        click.echo(f"cannot simulate this: {error}", err=True)
        sys.exit(EXIT_USAGE)
    except OSError as error:
        click.echo(
            f"cannot listen on {listen[0]}:{listen[1]} or write to {data}: {error.strerror or error}; "
            "choose another --listen, --control or --data",
            err=True,
        )
        sys.exit(EXIT_USAGE)
    running.start()
    click.echo(_summary(running, options))
    stopped.wait()
    running.stop()


def _summary(running: Simulator, options: Options) -> str:
    details = running.details
    size = f"{options.nodes} nodes, {options.guests} guests"
    what = f"Simulated Proxmox VE {options.pve_version} cluster {options.name}: {size}"
    lines = [
        f"Recorded answers of {options.replay}" if options.replay else what,
        f"  API          {details['url']}",
        f"  fingerprint  {details['fingerprint']}",
        f"  certificate  {details['ca_file']}",
        *(f"  token        {token['id']}={token['secret']}" for token in details["tokens"].values()),
    ]
    if "control_url" in details:
        lines.append(f"  control      {details['control_url']} (bearer token in simulator.json)")
    return "\n".join([*lines, f"  all of this  {options.data / 'simulator.json'}", "Stop with Ctrl-C."])
