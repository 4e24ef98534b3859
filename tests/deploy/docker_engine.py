"""A Docker engine of the test's own: started by hand, stopped by its pid, gone without a trace on the host's network.

Nothing here touches an engine that the machine may already run: data, sockets and configuration live in one temporary
directory. What an engine changes outside it (the bridge docker0, firewall rules, ip_forward, mounts) is noted before
the start and put back afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

START_SECONDS = 30.0
STOP_SECONDS = 30.0
_BRIDGE = "docker0"
_BRIDGE_PATH = Path("/sys/class/net") / _BRIDGE
_IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_FIREWALL_TABLES = ("filter", "nat")


class EngineUnusable(Exception):
    """The engine cannot be started on this machine; the text says why and what to do."""


def await_true(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Return once `condition()` holds; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not seen within {seconds:.0f} s: {what}")
        time.sleep(0.2)


def run(arguments: Sequence[str | Path], *, timeout: float = 300, **options: object) -> str:
    """The standard output of a command; the end of its output is in the failure when it does not exit 0."""
    finished = subprocess.run(  # type: ignore[call-overload]  # options are passed through
        [str(part) for part in arguments], capture_output=True, text=True, timeout=timeout, check=False, **options
    )
    if finished.returncode != 0:
        command = " ".join(str(part) for part in arguments)
        said = f"{finished.stdout[-3000:]}\n{finished.stderr[-3000:]}"
        raise AssertionError(f"{command}: exit {finished.returncode}\n{said}")
    return str(finished.stdout)


def missing_parts() -> list[str]:
    """What keeps the engine from starting here, each with the command that mends it."""
    problems = []
    if os.geteuid() != 0:
        problems.append("a Docker engine needs root: run `sudo make test ARGS=docker`, or let .ci/run do it")
    packages = {"dockerd": "docker.io", "docker": "docker.io", "iptables": "iptables", "mmdebstrap": "mmdebstrap"}
    absent = sorted({package for program, package in packages.items() if not shutil.which(program)})
    if absent:
        problems.append(f"run: apt-get install -y --no-install-recommends {' '.join(absent)}")
    if _BRIDGE_PATH.exists() and not _left_behind():
        problems.append(f"the bridge {_BRIDGE} is there: another Docker engine uses this machine; stop it first")
    return problems


def _left_behind() -> bool:
    """Whether the bridge is all that is left of an engine: nothing is attached to it, and no engine runs."""
    for name in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # a process may end while it is looked at
            if name.read_text(encoding="utf-8").strip() == "dockerd":
                return False
    return not list(_BRIDGE_PATH.glob("brif/*"))


@contextlib.contextmanager
def running_engine(environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Start an engine and yield `environment` with what makes `docker` talk to it."""
    problems = missing_parts()
    if problems:
        raise EngineUnusable("; ".join(problems))
    # Short on purpose: paths of unix sockets end at 107 characters.
    home = Path(tempfile.mkdtemp(prefix="pvw-docker-"))
    forwarding, firewall = _IP_FORWARD.read_text(), {table: _rules(table) for table in _FIREWALL_TABLES}
    address = f"unix://{home}/s"
    settings = {
        "data-root": f"{home}/data",
        "exec-root": f"{home}/exec",
        "pidfile": f"{home}/pid",
        "hosts": [address],
        "storage-driver": "overlay2",
    }
    (home / "daemon.json").write_text(json.dumps(settings), encoding="utf-8")
    client = {
        **environment,
        "DOCKER_HOST": address,
        "DOCKER_CONFIG": f"{home}/client",  # nobody's credentials and contexts
    }
    log = home / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            # The engine ends with the tests even where they are killed and nothing below runs.
            ["setpriv", "--pdeathsig", "TERM", "dockerd", "--config-file", home / "daemon.json"],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _await_engine(process, client, log)
        yield client
    finally:
        _stop(process)
        _unmount_below(home)
        _restore_network(forwarding, firewall)
        shutil.rmtree(home)


def _await_engine(process: subprocess.Popen[bytes], environment: dict[str, str], log: Path) -> None:
    def answers() -> bool:
        if process.poll() is not None:
            raise EngineUnusable(f"dockerd ended with {process.returncode}:\n{log.read_text()[-3000:]}")
        return (
            subprocess.run(["docker", "version"], env=environment, capture_output=True, check=False, timeout=10)
        ).returncode == 0

    await_true(answers, "an answer of dockerd", START_SECONDS)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()  # dockerd ends its containerd and the containers
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # a session of its own: dockerd, containerd and shims
        process.wait()


def _unmount_below(directory: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{directory}/")), reverse=True):
        run(["umount", "--lazy", mount])


def _rules(table: str) -> list[str]:
    return run(["iptables", "--wait", "-t", table, "-S"]).splitlines()


def _restore_network(forwarding: str, firewall: dict[str, list[str]]) -> None:
    """Remove the rules and chains that were not there before, put policies back, and remove the bridge."""
    for table, before in firewall.items():
        added = [rule for rule in _rules(table) if rule not in before]
        command = ["iptables", "--wait", "-t", table]
        for rule in (rule for rule in added if rule.startswith("-A ")):
            run([*command, "-D", *rule.split()[1:]])
        chains = [rule.split()[1] for rule in added if rule.startswith("-N ")]
        for verb in ("-F", "-X"):
            for chain in chains:
                run([*command, verb, chain])
        for rule in (rule for rule in before if rule.startswith("-P ")):
            run([*command, *rule.split()])
    if _BRIDGE_PATH.exists():
        run(["ip", "link", "delete", _BRIDGE])
    _IP_FORWARD.write_text(forwarding)
