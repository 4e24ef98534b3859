"""The catalogue: what is offered to whom, and that every action can be carried out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from action_api.actions import ACTIONS, execution
from action_api.catalogue import CATALOGUE, ROLES, find, may, offered
from pvewatch.config import AutomationSettings


@dataclass(frozen=True)
class Seen:
    kind: str = "qemu"
    status: str = "running"
    template: bool = False
    lock: str | None = None


def possible(guest: Seen, role: str = "operator") -> list[str]:
    return [offer.action.name for offer in offered(guest, role) if offer.possible]


def refusals(guest: Seen, role: str = "operator") -> dict[str, str]:
    return {offer.action.name: offer.refusal.code for offer in offered(guest, role) if offer.refusal}


def test_every_action_of_the_catalogue_can_be_carried_out_for_all_its_kinds() -> None:
    assert [action.name for action in ACTIONS] == [action.name for action in CATALOGUE]
    for action in CATALOGUE:
        assert set(execution(action.name).calls) == set(action.kinds) == set(action.confirm)


def test_the_configuration_can_permit_exactly_the_actions_of_the_catalogue() -> None:
    assert set(AutomationSettings().permitted_actions) == {action.name for action in CATALOGUE}


def test_a_container_is_reset_by_stop_and_start_because_it_has_no_reset() -> None:
    assert [call.verb for call in execution("reset").calls["lxc"]] == ["stop", "start"]
    assert [call.verb for call in execution("reset").calls["qemu"]] == ["reset"]


@pytest.mark.parametrize("kind", ["qemu", "lxc"])
def test_a_running_guest_can_be_shut_down_and_reset(kind: str) -> None:
    assert possible(Seen(kind)) == ["shutdown", "reset"]


@pytest.mark.parametrize("kind", ["qemu", "lxc"])
def test_a_stopped_guest_can_be_started(kind: str) -> None:
    assert possible(Seen(kind, status="stopped")) == ["start"]


def test_a_guest_whose_emulator_is_in_trouble_can_be_reset() -> None:
    assert possible(Seen(status="internal-error")) == ["reset"]


def test_a_template_is_left_alone() -> None:
    assert set(refusals(Seen(status="stopped", template=True)).values()) == {"template"}


def test_a_locked_guest_is_left_alone_and_the_lock_is_named() -> None:
    offers = offered(Seen(lock="backup"), "operator")
    assert all(offer.refusal and "backup" in offer.refusal.message for offer in offers)


def test_a_guest_whose_state_is_unknown_is_left_alone() -> None:
    assert set(refusals(Seen(status="unknown")).values()) == {"state_unknown"}


def test_a_viewer_may_only_look() -> None:
    assert set(refusals(Seen(), "viewer").values()) == {"role"}


def test_an_unknown_role_may_nothing() -> None:
    assert not any(may(role, action) for action in CATALOGUE for role in ("", "root", "Admin"))


def test_an_admin_may_all_that_an_operator_may() -> None:
    assert ROLES.index("admin") > ROLES.index("operator")
    assert possible(Seen(), "admin") == possible(Seen(), "operator")


def test_a_name_that_is_no_action_finds_none() -> None:
    assert find("destroy") is None
