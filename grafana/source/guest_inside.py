"""The closed rows of a guest's page: pressure, snapshots and configuration, its agent, its alerts and incidents."""

from __future__ import annotations

from grafana.source import house, limits, links
from grafana.source.board import Column, Query, Row
from grafana.source.drill import NO_AGENT, ONE_GUEST, RELEASE_9, figures
from grafana.source.promql import IN_CLUSTER, heartbeat_limit, most
from grafana.source.scenarios import AGENTS
from grafana.source.states import SEVERITIES, YES_NO

SERVICES_SHOWN = 32
YES_IS_BAD = {"1": ("Yes", limits.LOOK), "0": ("No", limits.WELL)}


def pressure() -> Row:
    """What the guest waits for."""
    panels = []
    for number, resource, meaning in (
        (18, "CPU", "wants more CPU than its node gives: the node is full, or its CPU limit is low"),
        (19, "disks", "waits for its storage: see the storage, and the node's IO wait"),
        (30, "memory", "waits for memory that is fetched back: give it more"),
    ):
        label = {"CPU": "cpu", "disks": "io", "memory": "memory"}[resource]
        panels.append(
            house.time_panel(
                number,
                f"Waiting for {resource}",
                "Share of the last 10 s in which some, or all (full), tasks of the guest waited "
                f"(pve_guest_pressure_ratio), told since Proxmox VE 9. High for long: the guest {meaning}.",
                [
                    Query(
                        f'max by (stall) (pve_guest_pressure_ratio{{{ONE_GUEST}, resource="{label}"}})',
                        "{{stall}}",
                        may_be_empty=RELEASE_9,
                    )
                ],
                unit="percentunit",
                maximum=1,
                width=8,
                no_value=RELEASE_9,
            )
        )
    return Row(title="Pressure", number=22, collapsed=True, panels=panels)


def configuration() -> Row:
    """Snapshots, pending changes and switches."""
    oldest = f"time() - {most('pve_guest_snapshot_oldest_timestamp_seconds', ONE_GUEST)}"
    never = "the guest has no snapshot"
    return Row(
        title="Snapshots and configuration",
        number=23,
        collapsed=True,
        panels=[
            house.stat_panel(
                31,
                "Snapshots",
                "How many snapshots the guest has, and how many its present state builds upon (pve_guest_snapshots, "
                "pve_guest_snapshot_depth). A few for a few days are normal; long chains slow its disks and fill the "
                "storage: remove old ones in Proxmox VE.",
                [
                    figures("pve_guest_snapshots", ONE_GUEST, "all"),
                    figures("pve_guest_snapshot_depth", ONE_GUEST, "in a chain", may_be_empty=never),
                ],
                no_value="not read: the token lacks VM.Audit on the guest",
                width=6,
            ),
            house.stat_panel(
                32,
                "Oldest snapshot",
                "Age of the oldest snapshot (pve_guest_snapshot_oldest_timestamp_seconds). A snapshot is no backup: "
                "it grows with every change of the guest, and after a month GuestSnapshotsOld reminds of it.",
                [Query(oldest, may_be_empty=never)],
                unit="s",
                steps=limits.SNAPSHOT_AGE,
                no_value=never,
                width=6,
            ),
            house.stat_panel(
                33,
                "Pending changes",
                "Options of the configuration that take effect only when the guest is stopped and started again "
                "(pve_guest_pending_changes). 0 is normal; a restart from inside is not enough.",
                [figures("pve_guest_pending_changes", ONE_GUEST, "")],
                steps=limits.ANY_IS_WORTH_A_LOOK,
                no_value="not read: the token lacks VM.Audit on the guest",
                width=6,
            ),
            house.stat_panel(
                34,
                "QEMU guest agent",
                "Whether the guest agent of a virtual machine answers (pve_guest_agent_up). Not: install or start "
                "qemu-guest-agent inside, or the guest hangs. Absent where the configuration does not switch it on.",
                [figures("pve_guest_agent_up", ONE_GUEST, "", may_be_empty="only where it is switched on")],
                maximum=1,
                mappings=house.value_map(
                    {"1": ("Answers", limits.WELL), "0": ("Does not answer", limits.LOOK)}, ("Not switched on", "text")
                ),
                no_value="not switched on, or the token may not ask",
                width=6,
            ),
            house.table_panel(
                35,
                "Switches and tags",
                "Start at boot, protection against removal, the guest agent's switch, whether a backup job covers it, "
                "and its tags (pve_onboot_status, pve_guest_protection, pve_guest_agent_enabled, "
                "pve_not_backed_up_info, pve_guest_tag_info). A guest in no backup job is lost with its disk.",
                [
                    Query(f"max by (cluster, id, tags) (topk by (cluster, id) (1, pve_guest_info{{{ONE_GUEST}}}))"),
                    Query(
                        most("pve_onboot_status", ONE_GUEST),
                        may_be_empty="absent where the configuration does not say",
                    ),
                    figures("pve_guest_protection", ONE_GUEST, ""),
                    figures("pve_guest_agent_enabled", ONE_GUEST, "", may_be_empty="containers have none"),
                    figures("pve_not_backed_up_info", ONE_GUEST, "", may_be_empty="a backup job covers the guest"),
                ],
                [
                    Column("tags", "Tags"),
                    Column("Value #B", "Starts at boot", mappings=house.value_map(YES_NO, ("Not said", "text"))),
                    Column("Value #C", "Protected", mappings=house.value_map(YES_NO, ("Not read", "text"))),
                    Column("Value #D", "Guest agent on", mappings=house.value_map(YES_NO, ("Not said", "text"))),
                    Column(
                        "Value #E",
                        "In no backup job",
                        mappings=house.value_map(YES_IS_BAD, ("In one, or not read", "text")),
                        colored=True,
                    ),
                ],
                hidden=["cluster", "id", "Value #A"],
                sort_by="Tags",
                height=4,
            ),
        ],
    )


def agent() -> Row:
    """The pvewatch agent inside the guest: heartbeats, clock, services."""
    age = f"time() - {most('pvewatch_heartbeat_last_seen_timestamp_seconds', ONE_GUEST)}"
    limit = heartbeat_limit(ONE_GUEST)
    missed = "60 * max by (cluster, id) (rate(pvewatch_heartbeats_{}_total{" + ONE_GUEST + "}[$__rate_interval]))"
    network = (
        f"topk(8, 8 * max by (interface) (rate(pvewatch_agent_network_{{}}_bytes_total"
        f"{{{ONE_GUEST}}}[$__rate_interval])))"
    )
    state = f"max by (service, state) (pvewatch_agent_service_state{{{ONE_GUEST}}})"
    watched = "the agent watches no service"
    return Row(
        title="Agent inside the guest",
        number=24,
        collapsed=True,
        panels=[
            house.time_panel(
                36,
                "Age of the last heartbeat",
                "Seconds since the agent last reported, and the guest's own limit "
                "(pvewatch_heartbeat_last_seen_timestamp_seconds, pvewatch:threshold). A saw with teeth far below the "
                "limit is normal; above it the guest counts as silent.",
                [Query(age, "age", needs=[AGENTS]), Query(limit, "limit", needs=[AGENTS])],
                unit="s",
                width=8,
                no_value=NO_AGENT,
            ),
            house.time_panel(
                37,
                "Heartbeats each minute",
                "Heartbeats accepted, held up on their way, and missed, each minute "
                "(pvewatch_heartbeats_received_total, pvewatch_heartbeats_late_total, "
                "pvewatch_heartbeats_missed_total). Late or missed ones again and again: look at the network between "
                "guest and exporter.",
                [
                    Query(missed.replace("{}", name), legend, needs=[AGENTS])
                    for name, legend in (("received", "accepted"), ("late", "late"), ("missed", "missed"))
                ],
                unit="none",
                width=8,
                no_value=NO_AGENT,
            ),
            house.time_panel(
                38,
                "Clock difference and load",
                "The guest's clock against the exporter's in seconds, ahead or behind, and the load of one minute "
                "inside (pvewatch_agent_clock_offset_seconds, pvewatch_agent_load1). A clock a minute off breaks "
                "sign-ins: the runbook of GuestClockOff.",
                [
                    Query(
                        f"abs({most('pvewatch_agent_clock_offset_seconds', ONE_GUEST)})",
                        "clock difference",
                        needs=[AGENTS],
                    ),
                    figures("pvewatch_agent_load1", ONE_GUEST, "load", needs=[AGENTS]),
                ],
                unit="none",
                links=[links.runbook("GuestClockOff")],
                width=8,
                no_value=NO_AGENT,
            ),
            house.table_panel(
                39,
                "Agent",
                "Version, platform and operating system of the agent, uptime inside, and whether it is outdated, its "
                "system waits for a restart, or another machine uses its identity (pvewatch_agent_info, "
                "pvewatch_agent_outdated, pvewatch_agent_pending_reboot, pvewatch_heartbeat_identity_shared).",
                [
                    Query(
                        f"max by (cluster, id, version, platform, os) (pvewatch_agent_info{{{ONE_GUEST}}})",
                        needs=[AGENTS],
                    ),
                    figures("pvewatch_agent_uptime_seconds", ONE_GUEST, "", needs=[AGENTS]),
                    figures("pvewatch_agent_outdated", ONE_GUEST, "", needs=[AGENTS]),
                    figures("pvewatch_agent_pending_reboot", ONE_GUEST, "", may_be_empty="not every system says"),
                    figures("pvewatch_heartbeat_identity_shared", ONE_GUEST, "", needs=[AGENTS]),
                ],
                [
                    Column("version", "Version"),
                    Column("platform", "Platform"),
                    Column("os", "System"),
                    Column("Value #B", "Uptime inside", unit="s", decimals=0),
                    *(
                        Column(
                            f"Value #{ref}",
                            heading,
                            mappings=house.value_map(YES_IS_BAD, ("Not said", "text")),
                            colored=True,
                        )
                        for ref, heading in (("C", "Outdated"), ("D", "Waits for restart"), ("E", "Identity shared"))
                    ),
                ],
                hidden=["cluster", "id", "Value #A"],
                sort_by="Version",
                no_value=NO_AGENT,
                width=12,
                height=6,
            ),
            house.table_panel(
                40,
                "Watched services",
                "State of the services that the agent watches, how often it has restarted them and when last "
                "(pvewatch_agent_service_state, pvewatch_agent_service_restarts_total, "
                "pvewatch_agent_last_repair_timestamp_seconds). Restarts again and again need a look inside.",
                [
                    Query(f"topk({SERVICES_SHOWN}, {state})", may_be_empty=watched),
                    Query(
                        f"max by (service) (pvewatch_agent_service_restarts_total{{{ONE_GUEST}}})",
                        may_be_empty=watched,
                    ),
                    Query(
                        "1000 * max by (service, outcome) "
                        f"(pvewatch_agent_last_repair_timestamp_seconds{{{ONE_GUEST}}})",
                        may_be_empty="the agent has restarted nothing",
                    ),
                ],
                [
                    Column("service", "Service"),
                    Column("state", "As systemd or Windows says"),
                    Column("Value #B", "Restarts", unit="none", decimals=0),
                    Column("Value #C", "Last restart", unit="dateTimeFromNow"),
                    Column("outcome", "Outcome", may_be_absent="the agent has restarted nothing"),
                ],
                hidden=["Value #A"],
                sort_by="Service",
                no_value=watched,
                width=12,
                height=6,
            ),
            house.time_panel(
                41,
                "Network seen by the guest",
                "Bits received and sent each second by interface, as the guest counts them "
                "(pvewatch_agent_network_received_bytes_total, pvewatch_agent_network_sent_bytes_total). Compare with "
                "the node's count above: what is lost between them is lost in the bridge or the firewall.",
                [
                    Query(network.replace("{}", "received"), "{{interface}} received", needs=[AGENTS]),
                    Query(network.replace("{}", "sent"), "{{interface}} sent", needs=[AGENTS]),
                ],
                unit="bps",
                many=True,
                width=24,
                no_value=NO_AGENT,
            ),
        ],
    )


def alerts() -> Row:
    """What fired, and where the incidents and attempts are."""
    quiet = "nothing fires about this guest"
    firing = f'ALERTS{{{IN_CLUSTER}, vmid="$guest", alertstate="firing"}}'
    since = f'ALERTS_FOR_STATE{{{IN_CLUSTER}, vmid="$guest"}}'
    return Row(
        title="Alerts and incidents",
        number=25,
        collapsed=True,
        panels=[
            house.table_panel(
                42,
                "Alerts now",
                "Alerts about this guest that fire now, and since when their condition holds (ALERTS and "
                "ALERTS_FOR_STATE of Prometheus). None is normal. An alert's name links its runbook.",
                [
                    Query(f"max by (alertname, severity) ({firing})", may_be_empty=quiet),
                    Query(f"1000 * min by (alertname) ({since})", may_be_empty=quiet),
                ],
                [
                    Column("alertname", "Alert", links=[links.runbook(links.column("Alert"))]),
                    Column(
                        "severity",
                        "Severity",
                        mappings=house.value_map(SEVERITIES | {"none": ("For other alerts", "text")}, ("None", "text")),
                        colored=True,
                        may_be_absent="it does not fire yet",
                    ),
                    Column("Value #B", "Since", unit="dateTimeFromNow"),
                ],
                hidden=["Value #A"],
                sort_by="Alert",
                no_value=quiet,
                width=12,
                height=7,
            ),
            house.state_panel(
                43,
                "Alerts over time",
                "When which alert about this guest fired (ALERTS of Prometheus). An empty panel is normal. Incidents, "
                "attempts and refusals are on the guest's page in the action API, which the state at the top links.",
                [Query(f"topk(20, max by (alertname) ({firing}))", "{{alertname}}", may_be_empty=quiet)],
                house.value_map({"1": ("Firing", limits.LOOK)}, ("Quiet", "text")),
                no_value=quiet,
                width=12,
                height=7,
            ),
        ],
    )
