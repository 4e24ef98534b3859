"""Marks on the time axis of all panels of a dashboard. Those that cost little are on, the rest can be switched on."""

from __future__ import annotations

from typing import Any

from grafana.source.promql import FIRING, IN_CLUSTER

ONE_GUEST = f'{IN_CLUSTER}, id=~"(qemu|lxc)/$guest"'


def mark(name: str, expr: str, *, title: str, tags: str, color: str, enabled: bool = True) -> dict[str, Any]:
    """A mark wherever `expr` returns something, a region where it does so without a gap.

    `title` names its labels as a legend does.
    """
    return {
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "enable": enabled,
        "expr": expr,
        "iconColor": color,
        "name": name,
        "step": "60s",
        "tagKeys": tags,
        "titleFormat": title,
    }


def alerts(extra: str = "") -> dict[str, Any]:
    """Alerts that fire; `extra` narrows them, e.g. `, vmid="$guest"`."""
    firing = FIRING.removesuffix("}") + extra + "}"
    expr = f"max by (alertname, cluster, id) ({firing})"
    return mark("Alerts", expr, title="{{alertname}}", tags="cluster,id", color="orange")


def guest_marks() -> list[dict[str, Any]]:
    """Starts, migrations, backups and alerts of the chosen guest, and what pvewatch or a person did to guests."""
    here = f"max by (cluster, id, node) (pvewatch_guest_info{{{ONE_GUEST}}})"
    before = f"max by (cluster, id, node) (pvewatch_guest_info{{{ONE_GUEST}}} offset 2m)"
    moved = f"({here} unless on (cluster, id, node) {before}) and on (cluster, id) {before}"
    backed_up = f'max by (cluster, id) (pve_lock_state{{{ONE_GUEST}, state="backup"}} == 1)'
    return [
        mark(
            "Starts",
            f"0 < max by (cluster, id) (pve_uptime_seconds{{{ONE_GUEST}}}) < 60",
            title="Started",
            tags="cluster,id",
            color="green",
        ),
        mark("Migrations", moved, title="Now on {{node}}", tags="cluster,id", color="purple"),
        mark("Backups", backed_up, title="Backup", tags="cluster,id", color="blue"),
        actions(),
        alerts(', vmid="$guest"'),
    ]


def actions() -> dict[str, Any]:
    """Resets and other actions on any guest: the action API counts them without naming the guest.

    Every process of it counts out of one database, so several that are scraped tell of the same actions.
    """
    return mark(
        "Actions on guests",
        "max by (action, origin, outcome) (increase(pvewatch_actions_total[2m])) > 0",
        title="{{action}} by {{origin}}: {{outcome}}",
        tags="action",
        color="red",
        enabled=False,
    )
