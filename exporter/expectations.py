"""Should this guest run? A stopped guest is an alarm only when somebody wanted it to run and nobody stopped it."""

from __future__ import annotations

from exporter.snapshot import View
from pvewatch.pve.models import Guest

EXPECT_RUNNING_TAG = "pvewatch-expect-running"


def expected_running(guest: Guest, view: View) -> bool | None:
    """Whether the guest is meant to run; None while that is not known.

    It is when it starts at boot (onboot), HA wants it started, or it has the tag pvewatch-expect-running, and no
    person's task has stopped it since its last start. Templates never are.
    """
    if guest.template:
        return False
    wanted: bool | None = guest.ha_state == "started" or EXPECT_RUNNING_TAG in guest.tag_list
    if not wanted:
        known = view.configs.get(guest.id)
        wanted = None if known is None else bool(known.config.onboot)
    if wanted and view.person_stops is None:
        # Without the task list a stop on purpose cannot be told from an accident.
        return None
    return wanted and guest.vmid not in (view.person_stops or {})


def looked_at(view: View) -> object:
    """All that `expected_running` looks at, for whoever wants to know whether its answers can have changed."""
    stopped, configs = view.person_stops, view.configs
    return (
        [
            (guest.id, guest.vmid, guest.template, guest.ha_state, guest.tags, known.config.onboot if known else "")
            for guest in (view.resources.guests if view.resources else ())
            for known in (configs.get(guest.id),)
        ],
        None if stopped is None else frozenset(stopped),
    )
