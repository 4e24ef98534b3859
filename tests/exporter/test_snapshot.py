"""What is known of a cluster, as those see it who read it while it is being recorded."""

from __future__ import annotations

from exporter.snapshot import ConfigReading, GuestConfigs, Snapshot, View
from pvewatch.pve.models import GuestConfig

KEEP = 120.0
CONFIG = GuestConfig(onboot=True, agent=False, protection=False, template=False)


def record(snapshot: Snapshot, node: str, *guests: str) -> None:
    configs = GuestConfigs({guest: ConfigReading(CONFIG, 1.0) for guest in guests})
    snapshot.record_success(("config", node), configs, at=1.0, duration=0.1, keep_seconds=KEEP)


def test_a_view_is_the_same_one_until_something_is_recorded_and_never_changes() -> None:
    snapshot = Snapshot("home")
    record(snapshot, "pve1", "qemu/100")
    before = snapshot.view()
    assert snapshot.view() is before
    record(snapshot, "pve2", "qemu/200")
    assert set(before.configs) == {"qemu/100"}
    assert set(snapshot.view().configs) == {"qemu/100", "qemu/200"}
    snapshot.forget_nodes(frozenset({"pve2"}))
    assert set(snapshot.view().configs) == {"qemu/200"}
    assert snapshot.expire(now=1.0 + KEEP + 1)
    assert not snapshot.view().configs


def test_what_many_families_come_out_of_is_worked_out_once_for_each_view() -> None:
    snapshot = Snapshot("home")
    record(snapshot, "pve1", "qemu/100")
    worked = []

    def guests(view: View) -> list[str]:
        worked.append(view)
        return sorted(view.configs)

    view = snapshot.view()
    assert view.once(guests) == view.once(guests) == ["qemu/100"]
    assert len(worked) == 1
    record(snapshot, "pve1", "qemu/101")
    assert snapshot.view().once(guests) == ["qemu/101"]
