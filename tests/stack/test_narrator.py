from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pvewatch.stack.narrator import Narrator
from pvewatch.stack.observe import Sample, SimulatedGuest, Unanswered

GUEST = {"cluster": "demo1", "id": "qemu/101"}


class Inside:
    """A control port whose one guest the test moves."""

    def __init__(self) -> None:
        self.guest = SimulatedGuest("qemu/101", "pve1", "running", alive=True, boot=1)
        self.broken = False

    def guests(self) -> dict[str, SimulatedGuest]:
        if self.broken:
            raise Unanswered("gone")
        return {self.guest.id: self.guest}


class Told:
    """A Prometheus that says what the test wants."""

    def __init__(self) -> None:
        self.alerts: list[Mapping[str, str]] = []
        self.fresh = True

    def firing(self) -> list[Mapping[str, str]]:
        return self.alerts

    def query(self, _expression: str) -> list[Sample]:
        return [Sample(GUEST, 1.0)] if self.fresh else []


@pytest.fixture
def scene() -> tuple[Inside, Told, Narrator, list[str]]:
    inside, told, said = Inside(), Told(), []
    stub: Any = told
    control: Any = inside
    return inside, told, Narrator(stub, {"demo1": control}, said.append), said


def test_nothing_is_told_while_nothing_happens(scene: tuple[Inside, Told, Narrator, list[str]]) -> None:
    _, _, narrator, said = scene

    for _ in range(3):
        narrator.look()

    assert said == []


def test_hang_alert_reset_and_recovery_are_told_in_their_order(scene: tuple[Inside, Told, Narrator, list[str]]) -> None:
    inside, told, narrator, said = scene
    narrator.look()

    inside.guest, told.fresh = SimulatedGuest("qemu/101", "pve1", "running", alive=False, boot=1), False
    narrator.look()
    told.alerts = [{"alertname": "GuestHeartbeatMissing", **GUEST}]
    narrator.look()
    inside.guest = SimulatedGuest("qemu/101", "pve1", "running", alive=False, boot=2)
    narrator.look()
    inside.guest, told.fresh = SimulatedGuest("qemu/101", "pve1", "running", alive=True, boot=2), True
    narrator.look()
    told.alerts = []
    narrator.look()

    words = ["hangs", "GuestHeartbeatMissing demo1 qemu/101 fires", "boots again (boot 2)", "recovered", "is resolved"]
    assert len(said) == len(words)
    for line, word in zip(said, words, strict=True):
        assert word in line


def test_a_part_that_does_not_answer_for_a_moment_is_no_event(scene: tuple[Inside, Told, Narrator, list[str]]) -> None:
    inside, _, narrator, said = scene
    narrator.look()
    inside.broken = True
    narrator.look()
    inside.broken = False
    narrator.look()

    assert said == []
