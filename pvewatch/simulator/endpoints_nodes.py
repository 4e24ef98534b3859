"""/nodes/N: a node's status, storages, services, time, certificate, subscription and tasks."""

from __future__ import annotations

from typing import Any

from pvewatch.simulator.answers import Answer, forbidden, invalid
from pvewatch.simulator.endpoints_cluster import version
from pvewatch.simulator.figures import Wave
from pvewatch.simulator.readings import node_figures, storage_used_bytes
from pvewatch.simulator.routes import Call, Parameter, Route
from pvewatch.simulator.tasks import Task, is_upid
from pvewatch.simulator.world import GIB

_SYS_AUDIT = ("/nodes/{node}", "Sys.Audit")
_DEFAULT_LIMIT = 50
# service, description, whether it runs
_SERVICES = (
    ("chrony", "chrony, an NTP client/server", True),
    ("corosync", "Corosync Cluster Engine", True),
    ("cron", "Regular background program processing daemon", True),
    ("postfix", "Postfix Mail Transport Agent", True),
    ("pve-cluster", "The Proxmox VE cluster filesystem", True),
    ("pve-firewall", "Proxmox VE firewall", True),
    ("pve-ha-crm", "PVE Cluster HA Resource Manager Daemon", True),
    ("pve-ha-lrm", "PVE Local HA Resource Manager Daemon", True),
    ("pvedaemon", "PVE API Daemon", True),
    ("pvefw-logger", "Proxmox VE firewall logger", True),
    ("pveproxy", "PVE API Proxy Server", True),
    ("pvescheduler", "Proxmox VE scheduler", True),
    ("pvestatd", "PVE Status Daemon", True),
    ("spiceproxy", "PVE SPICE Proxy Server", True),
    ("sshd", "OpenBSD Secure Shell server", True),
    ("syslog", "syslog.service", False),
    ("systemd-journald", "Journal Service", True),
    ("systemd-timesyncd", "systemd-timesyncd.service", False),
)


def status(call: Call) -> Answer:
    """/nodes/N/status: `loadavg` and `cpuinfo.mhz` are strings, `idle` is always 0, `cpu` a share of all cores."""
    world, node, now = call.cluster.world, call.node, float(int(call.now))
    figures = node_figures(world, node, now)
    own = f"{world.seed}/{world.name}/{node.name}"
    release = world.version
    load = [
        figures["cpu"] * node.cores * (0.8 + 0.4 * Wave(f"{own}/load{period}", 0.5).at(now)) for period in (1, 5, 15)
    ]
    swap_used = int(GIB * Wave(f"{own}/swap", 0.4).at(now // 60 * 60))
    memory: dict[str, int] = {
        "total": node.memory_bytes,
        "used": figures["mem"],
        "free": int((node.memory_bytes - figures["mem"]) * 0.7),
    }
    cpuinfo: dict[str, Any] = {
        "model": "AMD EPYC 7313P 16-Core Processor",
        "cpus": node.cores,
        "cores": node.cores // 2,
        "sockets": 1,
        "mhz": "2994.375",
        "hvm": "1",
        "flags": "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2",
        "user_hz": 100,
    }
    if release.major >= 9:
        memory["available"] = node.memory_bytes - figures["mem"]
        cpuinfo |= {"family": "25", "vendor": "AuthenticAMD"}
    kernel = f"#1 SMP PREEMPT_DYNAMIC PMX {release.kernel.removesuffix('-pve')}"
    # Since 8; before there is the sentence in `kversion` only.
    since_8: dict[str, Any] = {
        "current-kernel": {"sysname": "Linux", "release": release.kernel, "version": kernel, "machine": "x86_64"},
        "boot-info": {"mode": "legacy-bios"},
    }
    return Answer(
        {
            "uptime": figures["uptime"],
            "cpu": figures["cpu"],
            "wait": Wave(f"{own}/wait", 0.008).at(now),
            "idle": 0,
            "loadavg": [f"{figure:.2f}" for figure in load],
            "cpuinfo": cpuinfo,
            "memory": memory,
            "swap": {"total": 8 * GIB, "used": swap_used, "free": 8 * GIB - swap_used},
            "rootfs": {
                "total": node.disk_bytes,
                "used": figures["disk"],
                "free": node.disk_bytes - figures["disk"],
                "avail": int((node.disk_bytes - figures["disk"]) * 0.95),
            },
            "ksm": {"shared": 0},
            "pveversion": f"pve-manager/{release.version}/{release.repoid}",
            "kversion": f"Linux {release.kernel} {kernel}",
            **(since_8 if release.major >= 8 else {}),
        }
    )


def storages(call: Call) -> Answer:
    """/nodes/N/storage: without Datastore.Audit or Datastore.AllocateSpace a row is missing."""
    rows: list[dict[str, Any]] = []
    for storage in call.cluster.world.storages:
        if not call.token.may(f"/storage/{storage.name}", "Datastore.Audit", "Datastore.AllocateSpace"):
            continue
        used = storage_used_bytes(call.cluster.world, storage, call.node, call.now)
        rows.append(
            {
                "storage": storage.name,
                "type": storage.plugin_type,
                "content": storage.content,
                "shared": int(storage.shared),
                "active": 1,
                "enabled": 1,
                "total": storage.size_bytes,
                "used": used,
                "avail": storage.size_bytes - used,
                "used_fraction": used / storage.size_bytes,
            }
        )
    return Answer(rows)


def services(call: Call) -> Answer:
    """/nodes/N/services."""
    rows = []
    for name, description, runs in _SERVICES:
        works = runs and (name != "corosync" or call.cluster.world.clustered)
        row = {"service": name, "name": name, "desc": description, "state": "running" if works else "dead"}
        if call.cluster.world.version.major >= 8:
            row["active-state"] = "active" if works else "inactive"
            row["unit-state"] = "enabled" if runs else "not-found"
        rows.append(row)
    return Answer(rows)


def node_time(call: Call) -> Answer:
    """/nodes/N/time: the simulated nodes are all in UTC."""
    return Answer({"timezone": "Etc/UTC", "time": int(call.now), "localtime": int(call.now)})


def subscription(call: Call) -> Answer:
    """/nodes/N/subscription: none unless set up; the server id only with Sys.Audit."""
    subscribed = call.cluster.world.subscription
    answer: dict[str, Any] = {"url": "https://www.proxmox.com/en/proxmox-virtual-environment/pricing"}
    if subscribed is None:
        answer |= {"status": "notfound", "message": "There is no subscription key"}
    else:
        answer |= {
            "status": subscribed.status,
            "level": subscribed.level,
            "productname": "Proxmox VE Community Subscription 2 CPUs/year",
            "nextduedate": subscribed.next_due,
            "sockets": 2,
            "checktime": int(call.now) // 86400 * 86400,
        }
    if call.token.may(f"/nodes/{call.node.name}", "Sys.Audit"):
        answer["serverid"] = f"{call.cluster.world.seed:032X}"[:32]
    return Answer(answer)


def certificates(call: Call) -> Answer:
    """/nodes/N/certificates/info: the certificate of the node's own authority, valid for another year."""
    node = call.node
    issuer = f"/CN=Proxmox Virtual Environment/OU={call.cluster.world.name}/O=PVE Cluster Manager CA"
    midnight = int(call.cluster.world.nodes[node.name].booted_at) // 86400 * 86400
    return Answer(
        [
            {
                "filename": "pve-ssl.pem",
                "fingerprint": call.cluster.fingerprint,
                "subject": f"/OU=PVE Cluster Node/O=Proxmox Virtual Environment/CN={node.name}",
                "issuer": issuer,
                "san": ["127.0.0.1", "localhost", node.ip, node.name],
                "notbefore": midnight - 365 * 86400,
                "notafter": midnight + 365 * 86400,
                "public-key-type": "rsaEncryption",
                "public-key-bits": 2048,
                "pem": "-----BEGIN CERTIFICATE-----\n(simulated)\n-----END CERTIFICATE-----\n",
            }
        ]
    )


# Tasks


def tasks(call: Call) -> Answer:
    """/nodes/N/tasks: finished ones, unless `source` says active or all; without Sys.Audit only the caller's own."""
    parameters = call.parameters
    everything = call.token.may(f"/nodes/{call.node.name}", "Sys.Audit")
    chosen = [
        task
        for task in call.cluster.tasks.of_node(call.node.name, str(parameters.get("source", "archive")))
        if (everything or task.owner == call.token.id) and _wanted(task, call)
    ]
    start, limit = int(parameters.get("start", 0)), int(parameters.get("limit", _DEFAULT_LIMIT))
    return Answer([task.node_row() for task in chosen[start : start + limit]], {"total": len(chosen)})


def _wanted(task: Task, call: Call) -> bool:
    parameters = call.parameters
    return (
        ("vmid" not in parameters or task.id == str(parameters["vmid"]))
        and ("typefilter" not in parameters or task.type == parameters["typefilter"])
        and ("userfilter" not in parameters or str(parameters["userfilter"]).lower() in task.owner.lower())
        and ("since" not in parameters or task.started_at >= int(parameters["since"]))
        and ("until" not in parameters or task.started_at <= int(parameters["until"]))
        and not (parameters.get("errors") and task.exit_status in (None, "OK"))
    )


def task_status(call: Call) -> Answer:
    """…/tasks/UPID/status: only the task's own node knows it."""
    task = _task(call)
    if task is None:
        raise invalid(upid="no such task")
    return Answer(task.status_answer())


def task_log(call: Call) -> Answer:
    """…/tasks/UPID/log: a missing log is one line, in 8.4 even an object instead of a list."""
    task = _task(call)
    if task is None:
        line = {"n": 1, "t": "unable to open file - No such file or directory"}
        return Answer([line] if call.cluster.world.version.major >= 9 else line, {"total": 1})
    start, limit = int(call.parameters.get("start", 0)), int(call.parameters.get("limit", _DEFAULT_LIMIT))
    lines = [{"n": number, "t": text} for number, text in enumerate(task.log, start=1)]
    # Nothing written yet is shown as one empty statement.
    lines = lines or [{"n": 1, "t": "no content"}]
    return Answer(lines[start : start + limit], {"total": len(lines)})


def stop_task(call: Call) -> Answer:
    """DELETE …/tasks/UPID: others' tasks need Sys.Modify."""
    task = _task(call, "Sys.Modify")
    if task is None:
        raise invalid(upid="no such task")
    call.cluster.lifecycle.abort(task, call.now)
    return Answer(None)


def _task(call: Call, privilege: str = "Sys.Audit") -> Task | None:
    upid = call.names["upid"]
    if not is_upid(upid):
        raise invalid(upid="unable to parse worker upid")
    owner = upid.split(":")[7]
    node = call.node.name
    # Own means the same token: another token of the same user is somebody else.
    if owner != call.token.id and not call.token.may(f"/nodes/{node}", privilege):
        raise forbidden(f"/nodes/{node}", privilege)
    return call.cluster.tasks.find(node, upid)


_PAGE = (Parameter("start", "integer"), Parameter("limit", "integer"))
ROUTES = (
    Route("GET", "/nodes/{node}/version", version),
    Route("GET", "/nodes/{node}/status", status, permission=_SYS_AUDIT),
    Route("GET", "/nodes/{node}/storage", storages),
    Route("GET", "/nodes/{node}/services", services, permission=_SYS_AUDIT),
    Route("GET", "/nodes/{node}/time", node_time, permission=_SYS_AUDIT),
    Route("GET", "/nodes/{node}/subscription", subscription),
    Route("GET", "/nodes/{node}/certificates/info", certificates),
    Route(
        "GET",
        "/nodes/{node}/tasks",
        tasks,
        parameters=(
            *_PAGE,
            Parameter("vmid", "integer"),
            Parameter("since", "integer"),
            Parameter("until", "integer"),
            Parameter("source", ("archive", "active", "all")),
            Parameter("errors", "boolean"),
            Parameter("typefilter"),
            Parameter("userfilter"),
        ),
    ),
    Route("GET", "/nodes/{node}/tasks/{upid}/status", task_status),
    Route("GET", "/nodes/{node}/tasks/{upid}/log", task_log, parameters=_PAGE),
    Route("DELETE", "/nodes/{node}/tasks/{upid}", stop_task),
)
