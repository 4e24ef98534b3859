"""What the inventory tells the action API about a guest's boots and heartbeats."""

from __future__ import annotations

import pytest

from exporter.heartbeats.schema import parse
from pvewatch.bundle import bundle_path
from pvewatch.inventory import GuestKind
from tests.exporter.conftest import RECORDED_AT, Bench, RecordedCluster


def task(kind: str, ended: int, status: str = "OK") -> dict[str, object]:
    """A row as /cluster/tasks gives it (recorded: life-qemu-reset)."""
    upid = f"UPID:pve1:00000626:00038B73:{ended - 2:08X}:{kind}:100:root@pam:"
    return {"upid": upid, "starttime": ended - 2, "endtime": ended, "status": status, "node": "pve1", "type": kind}


def test_a_reset_by_anybody_counts_as_a_boot_though_the_uptime_goes_on(pve: RecordedCluster, bench: Bench) -> None:
    at = int(RECORDED_AT)
    reset, older, failed = task("qmreset", at - 60), task("qmstart", at - 90), task("qmreset", at - 5, "got timeout")
    pve.change("/cluster/tasks", lambda rows: [failed, reset, older, task("qmsnapshot", at - 10)])
    bench.poll()
    guest = bench.exporter.inventory().guest("lab", 100)
    assert guest is not None
    assert guest.booted_at == RECORDED_AT - 60


def test_where_no_task_tells_the_boot_it_is_not_known(pve: RecordedCluster, bench: Bench) -> None:
    pve.change("/cluster/tasks", lambda rows: rows.clear() or rows)
    bench.poll()
    guest = bench.exporter.inventory().guest("lab", 100)
    assert guest is not None
    assert guest.booted_at is None


@pytest.mark.parametrize(("sender", "known"), [("qemu", True), ("lxc", False), (None, True)])
def test_a_guest_that_took_the_number_of_another_kind_has_never_spoken(
    bench: Bench, sender: GuestKind | None, known: bool
) -> None:
    heartbeat = parse((bundle_path("agents") / "heartbeat.example.json").read_bytes())
    bench.exporter.heartbeats.submit("lab", 100, sender, heartbeat, RECORDED_AT).result(10)
    bench.poll()
    guest = bench.exporter.inventory().guest("lab", 100)
    assert guest is not None
    assert (guest.heartbeat is not None) is known
