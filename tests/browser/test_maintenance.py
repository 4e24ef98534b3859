"""Maintenance as a person meets it, from the guest's page to the end, before a real Alertmanager."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.action_api.web.site import SECRETS
from tests.browser.conftest import LiveSite
from tests.browser.test_action_api import fits, give_code, sign_in
from tests.rules.servers import alertmanager

pytestmark = pytest.mark.browser

LONG = "replacing both power supplies of the rack, after the electrician has been; ask " + "Bob" * 30


@pytest.fixture
def alertmanager_url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "alertmanager.yml").write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    with alertmanager(tmp_path / "alertmanager.yml", tmp_path / "alertmanager") as url:
        yield url


def test_a_guest_is_silenced_and_told_again(live: LiveSite, page: Page, tmp_path: Path, alertmanager_url: str) -> None:
    sign_in(page, "Bob", "/guests/alpha/lxc/210")
    give_code(page, SECRETS["Bob"], "Go on")
    fits(page, tmp_path)
    page.get_by_role("link", name="This guest …").click()
    expect(page.get_by_label("Guest")).to_have_value("lxc/210")
    expect(page.get_by_text("Nothing is silent.")).to_be_visible()
    page.get_by_role("button", name="Silence it").click()  # the browser asks for the comment first
    expect(page.get_by_text("Nothing is silent.")).to_be_visible()
    page.get_by_label("Comment").fill(LONG)
    page.locator("[name=duration]").select_option("1 day")
    page.get_by_role("button", name="Silence it").click()
    expect(page.get_by_text("Silent until")).to_be_visible()
    expect(page.get_by_role("link", name="lxc/210")).to_be_visible()
    page.goto("/maintenance?cluster=alpha&node=pve1")
    page.get_by_label("Comment").fill("new memory")
    page.get_by_role("button", name="Silence it").click()
    expect(page.get_by_text("Node pve1 of alpha with its guests").first).to_be_visible()
    fits(page, tmp_path)
    page.get_by_role("button", name="End now: guest lxc/210 of alpha").click()
    expect(page.get_by_text("Ended. Its alerts are told again.")).to_be_visible()
    known = requests.get(f"{alertmanager_url}/api/v2/silences", timeout=10).json()
    states = {silence["comment"]: silence["status"]["state"] for silence in known}
    assert states == {LONG: "expired", "new memory": "active"}
