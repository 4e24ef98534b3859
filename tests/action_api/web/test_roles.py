"""Who may open and send what: every address for every role."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from action_api.store import open_store
from tests.action_api.web.site import Browser, Site, hidden_fields

PEOPLE = ("Alice", "Bob", "Charlie", "anonymous")
ACT = "/guests/alpha/qemu/100/act/reset"

# Address → what Alice (admin), Bob (operator), Charlie (viewer) and nobody get.
PAGES = [
    ("/", (200, 200, 200, 303)),
    ("/guests/alpha/qemu/100", (200, 200, 200, 303)),
    (ACT, (200, 200, 403, 303)),
    ("/agents", (200, 200, 200, 303)),
    ("/agents/alpha/qemu/100", (200, 200, 403, 303)),
    ("/runs", (200, 200, 200, 303)),
    ("/runs/1", (200, 200, 200, 303)),
    ("/incidents", (200, 200, 200, 303)),
    ("/incidents/1", (200, 200, 200, 303)),
    ("/pve/alpha", (302, 302, 302, 302)),
    ("/pve/alpha/qemu/100", (302, 302, 302, 302)),
    ("/maintenance", (200, 200, 200, 303)),
    ("/runbooks", (200, 200, 200, 200)),
    ("/runbooks/GuestHeartbeatMissing", (200, 200, 200, 200)),
    ("/audit", (200, 403, 403, 303)),
    ("/people", (200, 403, 403, 303)),
    ("/thresholds", (200, 403, 403, 303)),
    ("/account/second-factor", (200, 200, 200, 303)),
    ("/api/v1/me", (200, 200, 200, 401)),
    ("/api/v1/guests", (200, 200, 200, 401)),
    ("/api/v1/runs/1", (200, 200, 200, 401)),
    ("/sign-in", (303, 303, 303, 200)),
    ("/sign-in/code", (303, 303, 303, 303)),
    ("/-/healthy", (200, 200, 200, 200)),
    ("/-/ready", (200, 200, 200, 200)),
    ("/metrics", (200, 200, 200, 200)),
    ("/static/app.css", (200, 200, 200, 200)),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[dict[str, Browser]]:
    folder = tmp_path_factory.mktemp("roles")
    shutil.copy(empty_database, folder / "action_api.db")
    store = open_store(f"sqlite:///{folder / 'action_api.db'}")
    site = Site(folder, store)
    site.store.incidents.open_or_find(
        cluster="alpha", kind="lxc", vmid=210, guest_name="cache1", alertname="GuestHeartbeatMissing",
        alert_started_at=site.clock.now, now=site.clock.now,
    )  # fmt: skip
    store.runs.request(
        cluster="beta",
        kind="qemu",
        vmid=101,
        guest_name="db1",
        action="reset",
        requested_by="Alice",
        now=site.clock.now,
    )
    yield {name: site.browser() if name == "anonymous" else site.signed_in(name) for name in PEOPLE}
    store.close()


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize(("path", "statuses"), PAGES, ids=[path for path, _ in PAGES])
def test_each_role_opens_what_it_may(
    world: dict[str, Browser], path: str, statuses: tuple[int, ...], person: str
) -> None:
    assert world[person].get(path).status_code == statuses[PEOPLE.index(person)]


def test_every_address_is_in_the_table(world: dict[str, Browser]) -> None:
    adapter = world["Alice"].site.app.url_map.bind("localhost")
    named = {adapter.match(path)[0] for path, _ in PAGES}
    all_pages = {
        rule.endpoint for rule in world["Alice"].site.app.url_map.iter_rules() if "GET" in (rule.methods or ())
    }
    assert named == all_pages


@pytest.mark.parametrize(("person", "status"), [("Alice", 409), ("Bob", 409), ("Charlie", 403), ("anonymous", 401)])
def test_each_role_asks_for_what_it_may(world: dict[str, Browser], person: str, status: int) -> None:
    browser = world[person]
    page = browser.get("/sign-in" if person == "anonymous" else "/").text
    fields = hidden_fields(page, "/sign-in" if person == "anonymous" else "/sign-out")
    before = browser.site.store.runs.recent()
    # Without a confirmation even those who may are stopped: 409 means that the role was enough.
    assert browser.post(ACT, form_token=fields["form_token"]).status_code == status
    assert browser.site.store.runs.recent() == before


def test_a_viewer_is_told_who_could_help_and_the_log_knows(world: dict[str, Browser]) -> None:
    answer = world["Charlie"].get(ACT)
    assert "This needs the role operator; Charlie is viewer." in answer.text
    entry = world["Charlie"].site.store.audit.recent(1)[0]
    assert (entry.actor, entry.event, entry.detail["needs"]) == ("Charlie", "access.refused", "operator")


def test_a_viewer_sees_no_button(world: dict[str, Browser]) -> None:
    page = world["Charlie"].get("/guests/alpha/qemu/100").text
    assert "This needs the role operator; you are viewer." in page
    assert "/act/" not in page


def test_the_menu_shows_what_the_role_may_open(world: dict[str, Browser]) -> None:
    assert 'href="/audit"' in world["Alice"].get("/").text
    assert 'href="/audit"' not in world["Bob"].get("/").text
