"""What a person does with the action API, in a real browser, on a desk and on a phone."""

from __future__ import annotations

import time
from pathlib import Path

import pyotp
import pytest
from playwright.sync_api import Browser, Page, expect

from action_api.store import ThresholdOverride
from tests.action_api.web.site import PASSWORD, SECRETS
from tests.browser.conftest import INSTALLER_TOKEN, LiveSite

pytestmark = pytest.mark.browser

ACT = "/guests/alpha/lxc/210/act/reset"
PAGES = (
    "/guests/alpha/qemu/100",
    "/guests/beta/lxc/200",
    "/guests/beta/lxc/200/act/shutdown",
    "/agents",
    "/agents?state=silent",
    "/agents/alpha/qemu/100",
    "/agents/alpha/lxc/210",
    "/runs",
    "/runs/1",
    "/incidents",
    "/incidents/1",
    "/maintenance?cluster=alpha&id=lxc/210",
    "/audit",
    "/people",
    "/thresholds",
    "/account/second-factor",
)


def fits(page: Page, screenshots: Path) -> None:
    """The page needs no scrolling sideways. A screenshot is left for people to look at."""
    name = page.url.split("/", 3)[3].split("?")[0].replace("/", "-") or "overview"
    width = page.evaluate("window.innerWidth")
    page.screenshot(path=screenshots / f"{name}-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def sign_in(page: Page, name: str, path: str = "/") -> None:
    page.goto(path)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def give_code(page: Page, secret: str, button: str) -> None:
    page.get_by_label("Code", exact=True).fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name=button).click()


def test_from_a_link_to_a_finished_action(live: LiveSite, page: Page, tmp_path: Path) -> None:
    bob = live.store.users.by_name("Bob")
    assert bob is not None
    live.store.users.set_totp_secret(bob.id, None)

    sign_in(page, "Bob", ACT)
    fits(page, tmp_path)
    page.get_by_role("button", name="Set it up now").click()
    expect(page.locator(".qr svg")).to_be_visible()
    fits(page, tmp_path)
    page.get_by_text("It cannot be scanned").click()
    give_code(page, page.locator(".secret").inner_text(), "Set up")

    expect(page.get_by_role("heading", name="Reset cache1?")).to_be_visible()
    fits(page, tmp_path)
    page.get_by_role("button", name="Reset cache1 now").click()
    expect(page.get_by_text("Waiting for a worker")).to_be_visible()
    fits(page, tmp_path)

    # What the worker would write appears on the open page without a click.
    store = live.store
    run = store.runs.claim_next("worker", now=time.time(), lease_seconds=60)
    assert run is not None
    expect(page.get_by_text("Being checked")).to_be_visible()
    assert store.runs.intend(run.id, "worker", call="stop", node="pve2", now=time.time())
    store.runs.note(run.id, "Proxmox VE is asked to stop it on pve2.", now=time.time())
    expect(page.get_by_text("Proxmox VE is asked to stop it on pve2.")).to_be_visible()
    assert store.runs.accepted(run.id, "worker", upid="UPID:pve2:0000C350:0012AB34:6743E1A0:vzstop:210:root@pam:")
    store.runs.finish(run.id, "worker", "succeeded", now=time.time(), outcome="It runs again.")
    expect(page.locator(".badge").get_by_text("Succeeded")).to_be_visible()
    fits(page, tmp_path)


def test_every_page_fits_and_complains_of_nothing(live: LiveSite, page: Page, tmp_path: Path) -> None:
    now = time.time()
    incident, _ = live.store.incidents.open_or_find(
        cluster="alpha", kind="lxc", vmid=210, guest_name="cache1", alertname="GuestHeartbeatMissing",
        alert_started_at=now, now=now,
    )  # fmt: skip
    live.store.runs.record_refusal(incident.id, "reset", "cool_down", "The last attempt was 3 minutes ago.", now=now)
    live.store.threshold_overrides.set(
        ThresholdOverride(
            "alpha", "storage/pve1/local-backup-pool", "storage_usage_ratio", 0.97,
            set_by="root (command line)", set_at=now, until=now + 86_400, comment="until the new disks are in " * 5,
        )
    )  # fmt: skip
    sign_in(page, "Alice")
    give_code(page, SECRETS["Alice"], "Go on")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    fits(page, tmp_path)
    for path in PAGES:
        page.goto(path)
        expect(page.get_by_role("heading").first).to_be_visible()
        fits(page, tmp_path)


def test_an_operator_saves_an_installer_and_is_shown_a_token(live: LiveSite, page: Page, tmp_path: Path) -> None:
    sign_in(page, "Bob", "/agents")
    give_code(page, SECRETS["Bob"], "Go on")
    expect(page.get_by_role("heading", name="Agents")).to_be_visible()
    page.wait_for_load_state()
    page.get_by_label("Find an agent").fill("web1 alpha")
    expect(page.locator("#guests tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Token of").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Installer for Linux").click()
    assert saved.value.suggested_filename == "pvewatch-agent-alpha-100.sh"
    assert INSTALLER_TOKEN in saved.value.path().read_text(encoding="utf-8")
    page.get_by_role("button", name="Show the token only").click()
    expect(page.get_by_text(INSTALLER_TOKEN)).to_be_visible()
    assert INSTALLER_TOKEN not in page.url
    fits(page, tmp_path)


def test_typing_filters_the_guests(live: LiveSite, page: Page) -> None:
    sign_in(page, "Charlie")
    expect(page.get_by_role("link", name="ct1").first).to_be_visible()
    page.get_by_label("Find a guest").fill("cache")
    expect(page.get_by_role("link", name="ct1")).to_have_count(0)
    expect(page.get_by_role("link", name="cache1")).to_be_visible()
    assert page.url.endswith("/?q=cache")
    page.reload()
    expect(page.get_by_role("link", name="ct1")).to_have_count(0)


def test_everything_can_be_done_without_scripts(live: LiveSite, chromium: Browser) -> None:
    context = chromium.new_context(java_script_enabled=False, base_url=live.base)
    page = context.new_page()
    sign_in(page, "Bob", ACT)
    give_code(page, SECRETS["Bob"], "Go on")
    page.get_by_role("button", name="Reset cache1 now").click()
    expect(page.get_by_text("Waiting for a worker")).to_be_visible()
    run = live.store.runs.claim_next("worker", now=time.time(), lease_seconds=60)
    assert run is not None
    live.store.runs.finish(run.id, "worker", "succeeded", now=time.time(), outcome="It runs again.")
    expect(page.get_by_text("It runs again.").first).to_be_visible(timeout=15_000)
    page.goto("/")
    page.get_by_label("Find a guest").fill("cache")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("link", name="ct1")).to_have_count(0)
    context.close()
