"""The scenarios of grafana/source/scenarios.py, all at once: simulated clusters, one exporter, one Prometheus.

Each cluster bears its scenario's name and is chosen by the variable. The exporter is scraped twice, as where two of
them watch the same clusters: whatever counts a guest twice is found.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
import yaml

from exporter.heartbeats.schema import Heartbeat
from exporter.http import create_app
from exporter.service import Exporter
from pvewatch.config import Cluster, ExporterSettings, HostPort, Secret, Settings, TokenRef
from pvewatch.pve.grouping import Group
from pvewatch.render import write_all
from pvewatch.serve import serve
from pvewatch.simulator.faults import Fault
from pvewatch.simulator.server import Options, Simulator
from tests.rules.servers import prometheus, wait_until

ROOT = Path(__file__).resolve().parents[2]
STANDALONE = {"nodes": 1, "guests": 4}
SMALL = {"nodes": 2, "guests": 6}
# Scenario → its simulator. Three nodes have guests under HA, two have none.
CLUSTERS: dict[str, dict[str, Any]] = {
    "healthy": {"nodes": 3, "pve_version": "9.2", "extras": ("qdevice", "replication", "subscription")},
    "standalone": STANDALONE,
    "node-lost": {"nodes": 3, "guests": 9},
    "migrated": SMALL,
    "backup-failed": SMALL,
    "hung-guest": {**SMALL, "pve_version": "9.2"},
}
HUNG_SECONDS = 4000.0
HEARTBEAT_TIMEOUT_SECONDS = 3600.0
# Clusters with agents → the VMIDs that have one.
AGENTS = {"healthy": (100, 101, 102), "hung-guest": (100, 101)}

# Those that the scenarios are about; which rules fire when is proved with the rules.
ALERTS = ("NodeDown", "GuestDown", "GuestHeartbeatMissing", "ExporterBlind", "ExporterDown")

# What the action API shows once an incident was closed; its own tests hold it to these names.
ACTION_API_PAGE = b"""\
# TYPE pvewatch_actions_total counter
pvewatch_actions_total{action="reset",origin="automation",outcome="succeeded"} 3
pvewatch_actions_total{action="start",origin="person",outcome="failed"} 1
# TYPE pvewatch_incidents gauge
pvewatch_incidents{state="open"} 1
pvewatch_incidents{state="recovered"} 4
pvewatch_incidents{state="cleared"} 0
pvewatch_incidents{state="exhausted"} 0
# TYPE pvewatch_action_queue_length gauge
pvewatch_action_queue_length{state="pending"} 1
pvewatch_action_queue_length{state="claimed"} 0
pvewatch_action_queue_length{state="executing"} 0
pvewatch_action_queue_length{state="following"} 2
# TYPE pvewatch_refusals_total counter
pvewatch_refusals_total{reason="cool_down"} 2
# TYPE pvewatch_logins_total counter
pvewatch_logins_total{outcome="accepted"} 2
# TYPE pvewatch_webhooks_total counter
pvewatch_webhooks_total{outcome="accepted"} 3
"""

# What the blackbox exporter tells of the services of two clusters, with the labels that the job gives them.
PROBES_PAGE = b"""\
# TYPE probe_success gauge
probe_success{cluster="healthy",id="qemu/100",probe="https:8443/health",instance="https://192.0.2.10:8443/health"} 1
probe_success{cluster="healthy",id="qemu/101",probe="icmp",instance="192.0.2.11"} 1
probe_success{cluster="hung-guest",id="qemu/100",probe="tcp:22",instance="192.0.2.20:22"} 1
probe_success{cluster="hung-guest",id="qemu/101",probe="http",instance="http://192.0.2.21:80/"} 0
# TYPE probe_duration_seconds gauge
probe_duration_seconds{cluster="healthy",id="qemu/100",probe="https:8443/health",instance="https://192.0.2.10:8443/health"} 0.042
probe_duration_seconds{cluster="healthy",id="qemu/101",probe="icmp",instance="192.0.2.11"} 0.0004
probe_duration_seconds{cluster="hung-guest",id="qemu/100",probe="tcp:22",instance="192.0.2.20:22"} 0.003
probe_duration_seconds{cluster="hung-guest",id="qemu/101",probe="http",instance="http://192.0.2.21:80/"} 5.0
# TYPE probe_ssl_earliest_cert_expiry gauge
probe_ssl_earliest_cert_expiry{cluster="healthy",id="qemu/100",probe="https:8443/health",instance="https://192.0.2.10:8443/health"} 4102444800
"""  # noqa: E501 - a metrics page has one sample in a line


@dataclass(frozen=True, slots=True)
class Seen:
    """A Prometheus, and the moment (unix seconds) at which everything of the scenarios is in it."""

    url: str
    at: float


@contextmanager
def watched(folder: Path, *, scrapes: int = 5) -> Iterator[Seen]:
    """A Prometheus that has seen every scenario with clusters, for so many scrapes or more: one a second, under 60."""
    with ExitStack() as kept, ExitStack() as stack:
        clusters, simulators = [], {}
        for name, chosen in CLUSTERS.items():
            options = Options(data=folder / name, name=name, refresh_seconds=1.0, auth_delay_seconds=0.0, **chosen)
            simulators[name] = Simulator(options)
            simulators[name].start()
            stack.callback(simulators[name].stop)
            clusters.append(_cluster(name, simulators[name].details))
        stack.callback(lambda: [os.environ.pop(_variable(name), None) for name in CLUSTERS])
        exporter = _exporter(folder, clusters)
        stack.callback(exporter.stop)
        for name, vmids in AGENTS.items():
            for vmid in vmids:
                _heartbeats(exporter, name, vmid, silent=(name, vmid) == ("hung-guest", 101))
        _go_wrong(simulators)
        exporter.start()
        config = _config(stack, folder, exporter, ACTION_API_PAGE)
        wait_until(lambda: _asked_everything(exporter), "every collector's first run", 60)
        url = kept.enter_context(prometheus(config, folder / "history"))
        wait_until(lambda: _value(url, _SEEN_BEFORE) == len(CLUSTERS), "all clusters in Prometheus", 60)
        _happen(simulators)
        seen = _await(url, (_ARRIVED, 1), (_BACKED_UP, len(CLUSTERS)), (_FIRING, 2), (_SCRAPED, scrapes))
        # What was seen stays; the rest would only take time from the queries.
        stack.close()
        yield seen


@contextmanager
def nothing_yet(folder: Path) -> Iterator[Seen]:
    """A Prometheus that scrapes an exporter with no cluster, and nothing else."""
    with ExitStack() as kept, ExitStack() as stack:
        exporter = _exporter(folder, [])
        stack.callback(exporter.stop)
        exporter.start()
        config = _config(stack, folder, exporter, None)
        url = kept.enter_context(prometheus(config, folder / "history"))
        seen = _await(url, (_SCRAPED, 3))
        stack.close()
        yield seen


def _await(url: str, *wanted: tuple[str, float]) -> Seen:
    """The first moment at which every query gives its number or more, all targets being up.

    It lies two scrapes back, so that no scrape of before it is still under way.
    """
    moments: list[float] = []

    def there() -> bool:
        moment = time.time() - 2.0
        moments[:] = [moment]
        return all(_value(url, query, moment) >= least for query, least in (*wanted, ("min(up)", 1)))

    wait_until(there, "all that the scenarios need", 90)
    return Seen(url, moments[0])


_SEEN_BEFORE = 'count(count by (cluster) (pve_tasks_finished_total{type="vzdump", result="error"}))'
_ARRIVED = 'max(pvewatch_guest_info{cluster="migrated", vmid="101", node="pve1"})'
_BACKED_UP = 'count(max by (cluster) (increase(pve_tasks_finished_total{type="vzdump"}[1m])) > 0)'
_SCRAPED = "min(count_over_time(up[1m]))"
_FIRING = 'count(count by (cluster) (ALERTS{alertstate="firing", cluster=~"node-lost|hung-guest"}))'


def _variable(name: str) -> str:
    return f"TEST_FLEET_{name.upper().replace('-', '_')}"


def _cluster(name: str, told: dict[str, Any]) -> Cluster:
    os.environ[_variable(name)] = told["tokens"]["monitor"]["secret"]
    return Cluster(
        name=name,
        hosts=(HostPort(host=told["host"], port=told["port"]),),
        fingerprint=told["fingerprint"],
        monitor=TokenRef(token_id=told["tokens"]["monitor"]["id"], token_secret_env=_variable(name)),
    )


def _exporter(folder: Path, clusters: list[Cluster]) -> Exporter:
    own = ExporterSettings.model_validate(
        {
            "poll_interval_seconds": 1,
            "node_interval_seconds": 2,
            "heartbeat_timeout_seconds": HEARTBEAT_TIMEOUT_SECONDS,
        }
    )
    settings = Settings(clusters=tuple(clusters), data_dir=folder / "data", exporter=own)
    return Exporter(settings, tuple(Group(one, (one.name,)) for one in clusters), Secret("heartbeat"))


def _heartbeats(exporter: Exporter, cluster: str, vmid: int, *, silent: bool) -> None:
    """Two heartbeats a minute apart, the last one now, or long ago from a guest that fell silent."""
    example = json.loads((ROOT / "agents" / "heartbeat.example.json").read_text(encoding="utf-8"))
    now = time.time() - (HUNG_SECONDS if silent else 0)
    for sequence, ago in ((41, 60.0), (42, 0.0)):
        message = example | {"sequence": sequence, "time": now - ago, "uptime_seconds": 86461.37 - ago}
        message["boot_id"] = f"7b4b2a39-2d86-4fd0-a0c8-{vmid:012d}"
        heartbeat = Heartbeat.model_validate(message)
        exporter.heartbeats.submit(cluster, vmid, "qemu", heartbeat, now - ago).result(10)


def _go_wrong(simulators: dict[str, Simulator]) -> None:
    for name, fault in {
        "node-lost": Fault("node-offline", node="pve2"),
        "hung-guest": Fault("hang", guest="qemu/101"),
    }.items():
        cluster = simulators[name].cluster
        assert cluster is not None
        with cluster.lock:
            cluster.add_fault(fault)

    for simulator in simulators.values():
        _backup(simulator, time.time() - 86400, "OK")


def _backup(simulator: Simulator, ended: float, outcome: str) -> None:
    assert simulator.cluster is not None
    with simulator.cluster.lock:
        simulator.cluster.tasks.create("pve1", "vzdump", "", "root@pam", ended - 60).end(ended, outcome)


def _happen(simulators: dict[str, Simulator]) -> None:
    """What the exporter has to see happen: a backup of each cluster ends, and a guest moves."""
    for name, simulator in simulators.items():
        _backup(simulator, time.time() - 1, "job errors" if name == "backup-failed" else "OK")
    moved = simulators["migrated"].cluster
    assert moved is not None
    with moved.lock:
        moved.world.guests[101].node = "pve1"


def _asked_everything(exporter: Exporter) -> bool:
    page = exporter.metrics().decode()
    succeeded = {line.split("}")[0] for line in page.splitlines() if line.startswith("pve_collector_success{")}
    return all(f'cluster="{name}",collector="{last}"' in "".join(succeeded) for name in CLUSTERS for last in LAST)


# The collectors that get their turn last.
LAST = ("config", "subscription", "guest_snapshots", "guest_pending", "node_history", "backup")


def _config(stack: ExitStack, folder: Path, exporter: Exporter, actions: bytes | None) -> Path:
    """The shipped configuration, rules included, with these targets and no waiting."""
    app = create_app(exporter, Secret("inventory"), Secret("discovery"))
    addresses = []
    for _ in range(2 if actions else 1):
        server = serve(app, "127.0.0.1:0").start()
        stack.callback(server.stop)
        addresses.append(f"{server.address[0]}:{server.address[1]}")
    settings = Settings.model_validate(
        {
            "data_dir": folder / "data",
            "exporter": {"url": f"http://{addresses[0]}"},
            "action_api": {"url": f"http://{_page(stack, actions)}"},
            "prometheus": {"scrape_interval_seconds": 1, "evaluation_interval_seconds": 1},
            "alerting": {"time_scale": 0.001},
        }
    )
    write_all(settings, folder / "out", "native")
    _keep_alerts(folder / "out" / "prometheus" / "rules")
    path = folder / "out" / "prometheus" / "prometheus.yml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job for job in document["scrape_configs"]}
    jobs["pvewatch"]["static_configs"] = [{"targets": addresses}]
    # Two web processes of one action API: both count out of the same database.
    api = [_page(stack, actions) for _ in range(2)]
    jobs["pvewatch-action-api"]["static_configs"] = [{"targets": api}]
    jobs["probes"] = {"job_name": "probes", "honor_labels": True}
    jobs["probes"]["static_configs"] = [{"targets": [_page(stack, PROBES_PAGE)]}]
    if not actions:
        del jobs["pvewatch-action-api"], jobs["probes"]
    # Nothing listens at the Alertmanager's default address.
    scraped = ("pvewatch", "pvewatch-action-api", "probes")
    document["scrape_configs"] = [job for name, job in jobs.items() if name in scraped]
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def _keep_alerts(rules: Path) -> None:
    """Without the other alerts: what fires after hours would fire in seconds here, in every scenario."""
    for path in rules.glob("*.yml"):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for group in document["groups"]:
            group["rules"] = [rule for rule in group["rules"] if rule.get("alert") in (None, *ALERTS)]
        document["groups"] = [group for group in document["groups"] if group["rules"]]
        path.write_text(yaml.safe_dump(document), encoding="utf-8")


def _page(stack: ExitStack, content: bytes | None) -> str:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            # A scrape that took too long has gone away.
            with suppress(BrokenPipeError):
                self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stack.callback(server.shutdown)
    return f"127.0.0.1:{server.server_address[1]}"


def _value(url: str, query: str, at: float | None = None) -> float:
    params = {"query": query} | ({} if at is None else {"time": str(at)})
    result = requests.get(f"{url}/api/v1/query", params=params, timeout=10).json()["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0
