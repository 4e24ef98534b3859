"""Tells a demonstration's user what happens while it happens: a guest hangs, an alert fires, a reset, recovery."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.markup import escape

from pvewatch.stack.observe import FRESH_HEARTBEATS, Control, Prometheus, SimulatedGuest, Unanswered

_Guest = tuple[str, str]
_Alert = tuple[str, str, str]


class Narrator:
    """Compares what is seen with what was seen before, and says the difference."""

    def __init__(self, prometheus: Prometheus, controls: Mapping[str, Control], say: Callable[[str], None]) -> None:
        self._prometheus = prometheus
        self._controls = controls
        self._say = say
        self._guests: dict[_Guest, SimulatedGuest] = {}
        self._alerts: set[_Alert] = set()
        self._silent: set[_Guest] = set()

    def look(self) -> None:
        """Look once and tell what is new; a part that does not answer is left for the next look."""
        try:
            self._look_inside()
            self._look_at_alerts()
            self._look_at_heartbeats()
        except Unanswered:
            return

    def _look_inside(self) -> None:
        for cluster, control in self._controls.items():
            for guest in control.guests().values():
                before = self._guests.get((cluster, guest.id))
                self._guests[cluster, guest.id] = guest
                if before is None:
                    continue
                who = f"{guest.id} of {cluster}"
                if before.alive and not guest.alive and guest.status == "running" and before.boot == guest.boot:
                    self._say(f"[yellow]● {who} hangs: Proxmox VE still says running, inside nothing moves[/yellow]")
                    self._silent.add((cluster, guest.id))
                if guest.boot > before.boot:
                    self._say(f"[cyan]● {who} boots again (boot {guest.boot})[/cyan]")

    def _look_at_alerts(self) -> None:
        firing = {
            (labels["alertname"], labels.get("cluster", ""), labels.get("id", ""))
            for labels in self._prometheus.firing()
        }
        for name, cluster, about in sorted(firing - self._alerts):
            self._say(f"[red]● alert {escape(' '.join((name, cluster, about)).strip())} fires[/red]")
        for name, cluster, about in sorted(self._alerts - firing):
            self._say(f"[green]● alert {escape(' '.join((name, cluster, about)).strip())} is resolved[/green]")
        self._alerts = firing

    def _look_at_heartbeats(self) -> None:
        if not self._silent:
            return
        fresh = {
            (s.labels.get("cluster", ""), s.labels.get("id", "")) for s in self._prometheus.query(FRESH_HEARTBEATS)
        }
        for cluster, guest in sorted(self._silent & fresh):
            if self._guests[cluster, guest].alive:
                self._say(f"[green]● heartbeats of {guest} of {cluster} are back: recovered[/green]")
                self._silent.discard((cluster, guest))
