"""The page between a link and an action, and everything that makes its form worthless."""

from __future__ import annotations

from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from action_api.store import Store
from tests.action_api.web.site import Browser, Site, hidden_fields, settings_for

ACT = "/guests/alpha/qemu/100/act/reset"


def refused(site: Site, answer: TestResponse, code: str) -> None:
    """Nothing was asked for; the answer and the audit log say why."""
    assert answer.status_code == 409
    assert f"<code>{code}</code>" in answer.text
    assert "Nothing was done." in answer.text
    assert site.store.runs.recent() == ()
    entry = site.store.audit.recent(1)[0]
    assert (entry.event, entry.actor, entry.detail["reason_code"]) == ("action.refused", "Bob", code)


def form_of(browser: Browser, path: str = ACT) -> dict[str, str]:
    fields = hidden_fields(browser.get(path).text)
    assert set(fields) == {"form_token", "confirmation"}
    return fields


def test_a_confirmed_action_becomes_a_run_and_the_person_sees_it(site: Site) -> None:
    browser = site.signed_in("Bob")
    page = browser.get(ACT).text
    assert "Reset web1?" in page
    assert "restarts at once, without shutting down" in page
    assert "read 3 s ago" in page
    assert site.store.runs.recent() == (), "looking asks for nothing"
    answer = browser.post(ACT, **form_of(browser))
    run = site.store.runs.recent()[0]
    assert (answer.status_code, answer.location) == (303, f"/runs/{run.id}")
    assert (run.cluster, run.guest_id, run.action, run.requested_by, run.state, run.origin) == (
        "alpha", "qemu/100", "reset", "Bob", "pending", "person",
    )  # fmt: skip
    entry = site.store.audit.recent(1)[0]
    assert (entry.event, entry.actor, entry.guest, entry.remote) == ("action.requested", "Bob", "qemu/100", "127.0.0.1")
    assert "Waiting for a worker" in browser.get(answer.location).text


def test_a_confirmation_is_good_once(site: Site) -> None:
    browser = site.signed_in("Bob")
    fields = form_of(browser)
    assert browser.post(ACT, **fields).status_code == 303
    assert browser.post(ACT, **fields).status_code == 409
    assert len(site.store.runs.recent()) == 1


def test_a_confirmation_is_good_for_five_minutes(site: Site) -> None:
    browser = site.signed_in("Bob")
    fields = form_of(browser)
    site.clock.now += 301
    refused(site, browser.post(ACT, **fields), "confirmation_invalid")


def test_a_confirmation_shown_to_somebody_else_is_worth_nothing(site: Site) -> None:
    shown_to_alice = form_of(site.signed_in("Alice"))["confirmation"]
    bob = site.signed_in("Bob")
    refused(site, bob.post(ACT, **(form_of(bob) | {"confirmation": shown_to_alice})), "confirmation_invalid")


def test_a_confirmation_does_not_outlive_the_session(site: Site) -> None:
    browser = site.signed_in("Bob")
    before = form_of(browser)["confirmation"]
    browser.submit("/", "/sign-out")
    browser.sign_in("Bob")
    refused(site, browser.post(ACT, **(form_of(browser) | {"confirmation": before})), "confirmation_invalid")


@pytest.mark.parametrize(
    "other",
    ["/guests/alpha/qemu/100/act/shutdown", "/guests/alpha/lxc/200/act/reset", "/guests/beta/qemu/100/act/reset",
     "/guests/alpha/lxc/100/act/reset"],
)  # fmt: skip
def test_a_confirmation_is_for_one_guest_and_one_action(site: Site, other: str) -> None:
    browser = site.signed_in("Bob")
    refused(site, browser.post(other, **form_of(browser)), "confirmation_invalid")


@pytest.mark.parametrize("token", ["", "x", "é" * 50])
def test_an_invented_confirmation_is_refused(site: Site, token: str) -> None:
    browser = site.signed_in("Bob")
    refused(site, browser.post(ACT, **(form_of(browser) | {"confirmation": token})), "confirmation_invalid")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": "paused"}, "state_changed"),
        ({"ha_state": "started"}, "state_changed"),
        ({"status": "stopped"}, "state"),
        ({"lock": "backup"}, "locked"),
        ({"template": True}, "template"),
        ({"status": "unknown"}, "state_unknown"),
    ],
)
def test_a_guest_that_changed_since_is_left_alone(site: Site, change: dict[str, object], code: str) -> None:
    browser = site.signed_in("Bob")
    fields = form_of(browser)
    site.inventory.change("alpha", 100, **change)
    refused(site, browser.post(ACT, **fields), code)


def test_what_was_done_since_the_page_was_shown_is_not_done_again(site: Site) -> None:
    bob, alice = site.signed_in("Bob"), site.signed_in("Alice")
    fields = form_of(bob)
    alice.post(ACT, **form_of(alice))
    run = site.store.runs.claim_next("worker", now=site.clock.now, lease_seconds=60)
    assert run is not None
    site.store.runs.finish(run.id, "worker", "succeeded", now=site.clock.now, outcome="Done.")
    answer = bob.post(ACT, **fields)
    assert answer.status_code == 409
    assert "has changed since the page was shown" in answer.text
    assert len(site.store.runs.recent()) == 1


def test_two_people_do_not_act_on_one_guest_at_once(site: Site) -> None:
    bob, alice = site.signed_in("Bob"), site.signed_in("Alice")
    fields = form_of(bob)
    alice.post(ACT, **form_of(alice))
    answer = bob.post(ACT, **fields)
    assert answer.status_code == 409
    assert "has not ended yet" in answer.text
    page = bob.get("/guests/alpha/qemu/100").text
    assert "has not ended yet" in page
    assert "/act/" not in page


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/guests/beta/lxc/200/act/shutdown", "It is locked (backup)"),
        ("/guests/alpha/qemu/9000/act/start", "It is a template"),
        ("/guests/alpha/qemu/100/act/start", "It is running; one can start only what is stopped"),
    ],
)
def test_what_cannot_be_done_is_explained_and_has_no_button(site: Site, path: str, why: str) -> None:
    page = site.signed_in("Bob").get(path)
    assert page.status_code == 200
    assert why in page.text
    assert 'name="confirmation"' not in page.text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"quorate": False}, "has no quorum"),
        ({"age_seconds": 121.0}, "too old to act upon"),
        ({"age_seconds": None}, "too old to act upon"),
    ],
)
def test_a_cluster_in_trouble_takes_no_actions(site: Site, change: dict[str, object], why: str) -> None:
    browser = site.signed_in("Bob")
    fields = form_of(browser)
    site.inventory.change_cluster("alpha", **change)
    assert why in browser.get(ACT).text
    assert browser.post(ACT, **fields).status_code == 409
    assert "/act/" not in browser.get("/guests/alpha/qemu/100").text


def test_an_action_that_the_configuration_forbids_is_not_offered(tmp_path: Path, store: Store) -> None:
    settings = settings_for(tmp_path)
    forbidding = settings.automation.model_copy(update={"permitted_actions": ("start", "shutdown")})
    site = Site(tmp_path, store, settings=settings.model_copy(update={"automation": forbidding}))
    page = site.signed_in("Bob").get(ACT).text
    assert "Reset is switched off in the configuration" in page
    assert 'name="confirmation"' not in page


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"ha_state": "started"}, "It is managed by HA (state started)"),
        ({}, "the guest is alive inside"),
    ],
)
def test_the_page_warns_of_what_one_could_overlook(site: Site, change: dict[str, object], warning: str) -> None:
    site.inventory.change("alpha", 100, **change)
    assert warning in site.signed_in("Bob").get(ACT).text


def test_a_link_works_after_signing_in(site: Site) -> None:
    browser = site.browser()
    assert browser.get(ACT).location == f"/sign-in?next={ACT}"
    assert browser.sign_in("Bob", next=ACT).location == ACT


def test_while_the_exporter_is_silent_nothing_is_offered(site: Site) -> None:
    browser = site.signed_in("Bob")
    fields = form_of(browser)
    site.inventory.reason = "the exporter at http://127.0.0.1:9221 does not answer (ConnectTimeout); is it running?"
    for path in ("/", "/guests/alpha/qemu/100"):
        page = browser.get(path)
        assert page.status_code == 200
        assert "is it running?" in page.text
        assert "/act/" not in page.text
    assert browser.get(ACT).status_code == 503
    assert browser.post(ACT, **fields).status_code == 503
    assert site.store.runs.recent() == ()
