"""alertmanager.yml: who is told what, and which alert silences which. Loads on Alertmanager 0.25 and newer."""

from __future__ import annotations

from typing import Any

from pvewatch.config import Settings
from pvewatch.render import channels, durations
from pvewatch.render.layouts import Layout

# What a lost node or a lock explains.
GUEST_ALERTS = (
    "GuestDown",
    "GuestHeartbeatMissing",
    "GuestPausedByError",
    "GuestCpuHigh",
    "GuestMemoryHigh",
    "GuestFilesystemFilling",
    "GuestRestarted",
    "GuestClockOff",
    "ServiceProbeFailing",
)
# What is told of a node's disks stays on the page for a while after the node is lost.
DISK_ALERTS = ("NodeDiskFailing", "NodeDiskWorn", "ZfsPoolDegraded", "ZfsPoolFaulted", "ThinPoolMetadataFilling")
PEOPLE = "people"
ACTION_API = "action-api"
NOBODY = "nobody"


def alertmanager_config(settings: Settings, layout: Layout) -> dict[str, Any]:
    """The content of alertmanager.yml."""
    hours = channels.time_intervals(settings)
    return {
        "templates": [layout.templates],
        "route": _route(settings),
        **({"time_intervals": hours} if hours else {}),
        "receivers": [
            {"name": PEOPLE},
            {
                "name": ACTION_API,
                "webhook_configs": [
                    {
                        "url": f"{layout.action_api.url}/webhook/alertmanager",
                        "send_resolved": True,
                        "http_config": {
                            "authorization": {"type": "Bearer", "credentials_file": layout.webhook_secret},
                            "follow_redirects": False,
                        },
                    }
                ],
            },
            {"name": NOBODY},
            *channels.receivers(settings, layout),
        ],
        "inhibit_rules": [
            # Without quorum nodes see each other as gone.
            _inhibit("QuorumLost", ("NodeDown",), ["cluster"]),
            # A lost node explains its guests and disks, and takes its part of Ceph with it.
            _inhibit("NodeDown", (*GUEST_ALERTS, *DISK_ALERTS), ["cluster", "node"]),
            _inhibit("NodeDown", ("CephOsdDown", "CephHealthWarning"), ["cluster"]),
            # A guest that is silent inside explains its services.
            _inhibit("GuestHeartbeatMissing", ("ServiceProbeFailing",), ["cluster", "id"]),
            # A lock (backup, migration, snapshot) explains its guest.
            _inhibit("GuestLocked", GUEST_ALERTS, ["cluster", "id"]),
            # Who cannot see says nothing about what is there.
            _inhibit("ExporterBlind", ("NodeDown", "CollectorFailing", *GUEST_ALERTS), ["cluster"]),
            # HA that has given up is why the guest is down.
            _inhibit("HaGuestError", ("GuestDown",), ["cluster", "id"]),
            # What is only to be logged is told to nobody, by no route: Watchdog always fires.
            {
                "source_matchers": ['alertname = "Watchdog"'],
                "target_matchers": ['alerting = "log"'],
                "equal": [],
            },
        ],
    }


def _route(settings: Settings) -> dict[str, Any]:
    am = settings.alertmanager
    # One evaluation more than Prometheus needs to find the alert that explains this one: inhibition needs both.
    recovery_wait = settings.prometheus.evaluation_interval_seconds + 1
    # People hear of what is being recovered only when that has not helped; an alert that is over by then is not sent.
    patience = settings.automation.recovery_timeout_seconds if settings.automation.enabled else 0
    people = channels.routes(settings)
    return {
        "receiver": PEOPLE,
        "group_by": ["alertname", "cluster"],
        "group_wait": durations.written(am.group_wait_seconds),
        "group_interval": durations.written(am.group_interval_seconds),
        "repeat_interval": durations.written(am.repeat_interval_seconds),
        "routes": [
            {"matchers": ['severity = "none"'], "receiver": NOBODY},
            *channels.test_routes(settings),
            {
                "matchers": ['automation = "recover"'],
                "receiver": ACTION_API,
                # Every guest by itself: one guest's trouble never delays another's.
                "group_by": ["..."],
                "group_wait": durations.written(recovery_wait),
                "group_interval": durations.written(max(1, settings.prometheus.evaluation_interval_seconds)),
                # A lost delivery is made good; what happens next is the worker's own timer, not this one.
                "repeat_interval": "1h",
                "continue": True,
            },
            {
                "matchers": ['automation = "recover"'],
                "receiver": PEOPLE,
                "group_wait": durations.written(am.group_wait_seconds + patience),
                **({"routes": people} if people else {}),
            },
            *people,
        ],
    }


def _inhibit(source: str, targets: tuple[str, ...], equal: list[str]) -> dict[str, Any]:
    return {
        "source_matchers": [f'alertname = "{source}"'],
        "target_matchers": [f'alertname =~ "{"|".join(targets)}"'],
        "equal": equal,
    }


def alertmanager_flags(settings: Settings) -> list[str]:
    """The command line that belongs to the configuration; the caller adds --config.file and --storage.path."""
    return [
        f"--web.listen-address={settings.alertmanager.listen}",
        f"--web.external-url={settings.alertmanager_url}",
        # One Alertmanager has nobody to gossip with; without this it opens port 9094 to everybody.
        "--cluster.listen-address=",
    ]
