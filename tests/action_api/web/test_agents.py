"""The page of agents, and who gets a token."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from action_api.store import Store
from pvewatch.enrolment import Enrolment, EnrolmentRefused, Platform
from tests.action_api.web.site import Site, heartbeat

TOKEN = "v1.alpha.100." + "5e" * 32
ENROL = "/agents/alpha/qemu/100"


@dataclass
class Exporter:
    """Gives tokens as the exporter does; `reason` makes it refuse."""

    reason: str | None = None
    asked: list[tuple[str, int, Platform | None]] = field(default_factory=list)

    def ask(self, cluster: str, vmid: int, platform: Platform | None) -> Enrolment:
        self.asked.append((cluster, vmid, platform))
        if self.reason:
            raise EnrolmentRefused(self.reason)
        script = f"# installer\n{TOKEN}\n" if platform else None
        return Enrolment(token=TOKEN, url="https://pvewatch.example:9223", script=script)


@pytest.fixture
def exporter() -> Exporter:
    return Exporter()


@pytest.fixture
def site(tmp_path: Path, store: Store, exporter: Exporter) -> Site:
    site = Site(tmp_path, store, enrolment=exporter)
    shared = heartbeat(silent=False).model_copy(update={"identity_shared": True, "agent_platform": "linux"})
    site.inventory.change("beta", 100, heartbeat=shared)
    old = heartbeat(silent=False).model_copy(update={"outdated": True, "agent_version": "0.0.9"})
    site.inventory.change("alpha", 200, heartbeat=old)
    return site


def listed(page: str) -> list[str]:
    return re.findall(r'<td class="name"><a href="/guests/([a-z]+/[a-z]+/\d+)">', page)


def test_the_worst_agents_come_first_and_equal_numbers_are_told_apart(site: Site) -> None:
    page = site.signed_in("Charlie").get("/agents").text
    assert listed(page)[:3] == ["beta/qemu/100", "alpha/lxc/210", "alpha/lxc/200"]
    rows = re.findall(r"<tr>\n<td class=\"name\">.*?</tr>", page, re.DOTALL)
    (shared,) = [row for row in rows if "Shared identity" in row]
    assert "beta" in shared
    (good,) = [row for row in rows if "/alpha/qemu/100" in row]
    assert "Ok" in good


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=shared+identity", ["beta/qemu/100"]),
        ("state=silent", ["alpha/lxc/210"]),
        ("q=0.0.9", ["alpha/lxc/200"]),
        ("state=outdated&cluster=beta", []),
        ("q=linux+beta", ["beta/qemu/100"]),
    ],
)
def test_agents_are_found_by_state_cluster_and_words(site: Site, query: str, found: list[str]) -> None:
    assert listed(site.signed_in("Charlie").get(f"/agents?{query}").text) == found


def test_a_cluster_that_cannot_be_read_is_named(site: Site) -> None:
    assert "cannot be read" not in site.signed_in("Charlie").get("/agents").text
    site.inventory.change_cluster("beta", error="401 <no such token>", guests=[])
    page = site.signed_in("Charlie").get("/agents").text
    assert "beta cannot be read" in page
    assert "401 &lt;no such token&gt;" in page
    assert "alpha cannot be read" not in page


def test_a_template_is_not_in_the_list_and_gets_no_token(site: Site, exporter: Exporter) -> None:
    browser = site.signed_in("Bob")
    assert "/9000" not in browser.get("/agents?q=9000").text
    assert browser.get("/agents/alpha/qemu/9000").status_code == 409
    assert exporter.asked == []


def test_a_clone_is_told_on_the_guests_own_page(site: Site) -> None:
    page = site.signed_in("Charlie").get("/guests/beta/qemu/100").text
    assert "Shared identity" in page
    assert "/runbooks/GuestIdentityShared" in page


def test_an_operator_sees_the_token_once_and_the_log_says_so(site: Site, exporter: Exporter) -> None:
    browser = site.signed_in("Bob")
    assert TOKEN not in browser.get(ENROL).text
    answer = browser.submit(ENROL, ENROL, give="token")
    assert answer.status_code == 200
    assert TOKEN in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert exporter.asked == [("alpha", 100, None)]
    entry = site.store.audit.recent(1)[0]
    assert (entry.event, entry.actor, entry.cluster, entry.guest) == ("agent.token_given", "Bob", "alpha", "qemu/100")
    assert TOKEN not in str(entry)
    assert TOKEN not in browser.get(ENROL).text


@pytest.mark.parametrize(("platform", "name"), [("linux", "alpha-100.sh"), ("windows", "alpha-100.ps1")])
def test_an_installer_is_saved_as_a_file_and_kept_by_no_cache(site: Site, platform: str, name: str) -> None:
    answer = site.signed_in("Bob").submit(ENROL, ENROL, give=platform)
    assert answer.text == f"# installer\n{TOKEN}\n"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="pvewatch-agent-{name}"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert site.store.audit.recent(1)[0].detail == {"as": platform}


def test_looking_gives_nothing_out(site: Site, exporter: Exporter) -> None:
    browser = site.signed_in("Alice")
    for path in (ENROL, f"{ENROL}?give=token", "/agents"):
        assert browser.get(path).status_code == 200
    assert exporter.asked == []


def test_a_viewer_gets_no_token_and_sees_no_way_to_one(site: Site, exporter: Exporter) -> None:
    browser = site.signed_in("Charlie")
    assert "Install …" not in browser.get("/agents").text
    answer = browser.post(ENROL, give="token", form_token=form_token(browser.get("/").text))
    assert answer.status_code == 403
    assert exporter.asked == []
    assert site.store.audit.recent(1)[0].event == "access.refused"


def test_a_form_of_another_origin_gets_no_token(site: Site, exporter: Exporter) -> None:
    browser = site.signed_in("Bob")
    assert browser.post(ENROL, give="token").status_code == 403
    token = form_token(browser.get(ENROL).text)
    foreign = browser.client.post(
        ENROL, data={"give": "token", "form_token": token}, headers={"Origin": "https://evil.example"}
    )
    assert foreign.status_code == 403
    assert exporter.asked == []


def test_an_operator_without_a_second_factor_gets_no_token(site: Site, exporter: Exporter) -> None:
    bob = site.store.users.by_name("Bob")
    assert bob is not None
    site.store.users.set_totp_secret(bob.id, None)
    browser = site.browser()
    browser.sign_in("Bob")
    assert browser.get(ENROL).location.startswith("/account/second-factor?next=")
    answer = browser.post(ENROL, give="token", form_token=form_token(browser.get("/").text))
    assert answer.status_code == 403
    assert exporter.asked == []
    assert site.store.audit.recent(1)[0].event == "agent.token_refused"


def test_an_exporter_that_gives_none_is_quoted_and_the_log_knows(site: Site, exporter: Exporter) -> None:
    exporter.reason = "exporter.heartbeat_url: http://127.0.0.1:9223 is an address of this machine only"
    answer = site.signed_in("Bob").submit(ENROL, ENROL, give="linux")
    assert answer.status_code == 503
    assert "an address of this machine only" in answer.text
    assert site.store.audit.recent(1)[0].event == "agent.token_refused"


@pytest.mark.parametrize("given", ["", "plan9", "token\x00"])
def test_nothing_else_is_given_out(site: Site, exporter: Exporter, given: str) -> None:
    assert site.signed_in("Bob").submit(ENROL, ENROL, give=given).status_code == 400
    assert exporter.asked == []


def form_token(page: str) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page)
    assert found is not None
    return found[1]
