"""The real process: what it loads, what it listens to, how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import requests

# Everything that could change a guest. The process that browsers reach never loads it.
FORBIDDEN = ("proxmoxer", "pvewatch.pve", "action_api.worker", "action_api.actions", "action_api.notifiers", "exporter")

PROGRAM = """
import atexit, json, pathlib, sys
report = pathlib.Path(sys.argv.pop(1))
atexit.register(lambda: report.write_text(json.dumps(sorted(sys.modules))))
from pvewatch.cli import main
main()
"""


def test_the_web_process_never_loads_what_could_use_a_power_token(tmp_path: Path) -> None:
    config = tmp_path / "pvewatch.yaml"
    config.write_text(
        "clusters: [{name: alpha, hosts: [127.0.0.1:1]}]\n"
        "exporter: {listen: '127.0.0.1:1'}\n"
        "action_api: {listen: '127.0.0.1:0'}\n"
    )
    modules = tmp_path / "modules.json"
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        str(modules),
        "--config",
        str(config),
        "--log-format",
        "json",
        "action-api",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        base = ""
        for line in process.stderr:
            if "action API listens" in line:
                host, port = json.loads(line)["address"]
                base = f"http://{host}:{port}"
                break
        assert base, f"it did not start: exit code {process.wait(timeout=10)}"
        assert requests.get(f"{base}/-/healthy", timeout=10).json() == {"status": "healthy"}
        assert "Sign in" in requests.get(f"{base}/", timeout=10).text
        assert requests.get(f"{base}/-/ready", timeout=10).status_code == 503
        assert requests.get(f"{base}/metrics", timeout=10).status_code == 200
        assert requests.post(f"{base}/webhook/alertmanager", timeout=10).status_code == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    loaded = json.loads(modules.read_text())
    assert "action_api.app" in loaded
    assert [m for m in loaded if any(m == name or m.startswith(f"{name}.") for name in FORBIDDEN)] == []
