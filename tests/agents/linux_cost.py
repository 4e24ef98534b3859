"""What a heartbeat costs: `python -m tests.agents.linux_cost` runs the agent against a real listener and prints it."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from exporter.heartbeats.http import HeartbeatApp
from exporter.heartbeats.store import HeartbeatStore
from pvewatch.serve import serve
from tests.agents.ingest import SECRET, Ingest, await_true, make_authority, token_file
from tests.agents.linux_agent import AGENT, environment

HEARTBEATS = 30


def main() -> None:
    """Print the processor time of a heartbeat over TLS with everything that it starts, and the memory in between."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = make_authority(folder)
        store = HeartbeatStore(folder / "heartbeats.db")
        app = HeartbeatApp(store, SECRET, frozenset(["home"]), lambda _cluster, _vmid: "qemu")
        server = serve(app, "127.0.0.1:0", tls_cert=authority.cert, tls_key=authority.key, kind="asgi").start()
        ingest = Ingest(f"https://127.0.0.1:{server.address[1]}", store, app)
        variables = environment(
            PVEWATCH_URL=ingest.url,
            PVEWATCH_CA_FILE=authority.ca,
            PVEWATCH_TOKEN_FILE=token_file(folder),
            PVEWATCH_INTERVAL=1,
            PVEWATCH_INITIAL_OFFSET=0,
        )
        with subprocess.Popen([AGENT, "run"], env=variables) as agent:
            await_true(lambda: ingest.count() >= HEARTBEATS, 10 * HEARTBEATS)
            memory = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{agent.pid}/status").read_text())
            agent.terminate()
            _, _, used = os.wait4(agent.pid, 0)
            agent.returncode = 0
        each = (used.ru_utime + used.ru_stime) / ingest.count()
        server.stop()
        store.close()
    print(f"{each:.3f} s of processor time for each of {HEARTBEATS} heartbeats", end="")
    print(f"; the agent's memory: {int(memory[1]) / 1024:.1f} MiB at most" if memory else "")


if __name__ == "__main__":
    main()
