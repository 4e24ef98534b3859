from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from action_api.store import Store
from tests.action_api.web.site import SECRETS, WEBHOOK_SECRET, Site
from tests.action_api.web.test_roles import PAGES


def rows(page: str) -> list[str]:
    """The guests of the overview, in order, as cluster and id."""
    return re.findall(r'<td class="name"><a href="/guests/([a-z]+/[a-z]+/\d+)">', page)


def dump(tmp_path: Path) -> set[str]:
    connection = sqlite3.connect(tmp_path / "action_api.db")
    lines = set(connection.iterdump())
    connection.close()
    return lines


def with_history(site: Site) -> None:
    """An incident with an attempt and a refusal, as automation leaves them."""
    store, now = site.store, site.clock.now
    incident, _ = store.incidents.open_or_find(
        cluster="alpha", kind="lxc", vmid=210, guest_name="cache1", alertname="GuestHeartbeatMissing",
        alert_started_at=now, now=now,
    )  # fmt: skip
    run = store.runs.start_attempt(incident.id, "reset", "worker", now=now, lease_seconds=60)
    assert run is not None
    store.runs.finish(run.id, "worker", "failed", now=now + 20, outcome="The task failed: got no answer.")
    store.runs.record_refusal(incident.id, "reset", "cool_down", "The last attempt was 3 minutes ago.", now=now + 60)


@pytest.mark.parametrize("path", [path for path, _ in PAGES])
def test_looking_changes_nothing(site: Site, tmp_path: Path, path: str) -> None:
    with_history(site)
    browser = site.signed_in("Alice")
    before = dump(tmp_path)
    browser.get(path)
    assert browser.client.head(path).status_code < 500
    changed = dump(tmp_path) ^ before
    # The page before an action remembers the token in its form; the token is worth nothing without the POST.
    allowed = 'INSERT INTO "confirmations"' if "/act/" in path else None
    assert [line for line in changed if allowed is None or not line.startswith(allowed)] == []


def test_the_overview_shows_the_worst_first(site: Site) -> None:
    with_history(site)
    page = site.signed_in("Charlie").get("/").text
    assert rows(page)[:3] == ["alpha/lxc/210", "alpha/lxc/201", "alpha/qemu/110"]
    for words in ("Silent", "Down", "Paused", "Running", "Stopped", "Template", "locked: backup", "incident #1"):
        assert words in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=WEB1", ["alpha/qemu/100", "beta/qemu/100"]),
        ("q=web1+alpha", ["alpha/qemu/100"]),
        ("q=lxc/210", ["alpha/lxc/210"]),
        ("q=pvewatch-auto-reset", ["alpha/lxc/210"]),
        ("state=bad", ["alpha/lxc/201", "alpha/lxc/210"]),
        ("state=good&cluster=alpha", ["alpha/qemu/100", "alpha/lxc/200"]),
        ("q=%3Cscript%3E", []),
    ],
)
def test_the_overview_finds_what_is_asked_for(site: Site, query: str, expected: list[str]) -> None:
    assert rows(site.signed_in("Charlie").get(f"/?{query}").text) == expected


@pytest.mark.parametrize("query", ["page=-5", "page=abc", "page=99999999", "state=nonsense", "cluster=nonsense"])
def test_a_nonsensical_address_still_gives_a_page(site: Site, query: str) -> None:
    assert site.signed_in("Charlie").get(f"/?{query}").status_code == 200


def test_five_thousand_guests_fit_a_small_page(site: Site) -> None:
    alpha = site.inventory.clusters[0]
    model = alpha.guests[0]
    many = [
        model.model_copy(update={"vmid": vmid, "id": f"qemu/{vmid}", "name": f"guest-{vmid}", "lock": "backup"})
        for vmid in range(1000, 6000)
    ]
    site.inventory.clusters = [alpha.model_copy(update={"guests": many})]
    browser = site.signed_in("Charlie")
    page = browser.get("/")
    assert len(page.data) <= 300_000
    assert "1 to 100 of 5000" in page.text
    second = re.search(r'href="([^"]+)">Next<', page.text)
    assert second is not None
    assert "101 to 200 of 5000" in browser.get(second[1].replace("&amp;", "&")).text


def test_two_hundred_clusters_fit_a_small_page(site: Site) -> None:
    alpha = site.inventory.clusters[0]
    site.inventory.clusters = [alpha.model_copy(update={"name": f"c{number}"}) for number in range(200)]
    page = site.signed_in("Charlie").get("/")
    assert len(page.data) <= 300_000
    assert "188 more clusters" in page.text


def test_a_cluster_that_cannot_be_read_says_why(site: Site) -> None:
    site.inventory.change_cluster("alpha", error="401 Unauthorized", age_seconds=500.0)
    site.inventory.change_cluster("beta", quorate=False)
    page = site.signed_in("Charlie").get("/").text
    assert "Cannot be read: 401 Unauthorized" in page
    assert "No quorum" in page


def test_a_guest_of_a_lost_node_is_unknown_though_proxmox_still_says_running(site: Site) -> None:
    nodes = [node.model_copy(update={"status": "offline"}) for node in site.inventory.clusters[0].nodes]
    site.inventory.change_cluster("alpha", nodes=nodes)
    page = site.signed_in("Charlie").get("/guests/alpha/qemu/100").text
    assert "Proxmox VE does not know; node pve1 is offline." in page


def test_the_page_of_a_guest_says_what_is_known(site: Site) -> None:
    with_history(site)
    page = site.signed_in("Bob").get("/guests/alpha/lxc/210").text
    for words in ("cache1", "pve2", "Running, but its agent has gone silent", "pvewatch-auto-reset", "Incident #1",
                  "The task failed: got no answer.", "The last attempt was 3 minutes ago.", "/act/reset",
                  "https://alpha.example:8006/#v1:0:=lxc%2F210",
                  "/d/pve-guest?var-cluster=alpha&amp;var-guest=210"):  # fmt: skip
        assert words in page


def test_refusals_of_automation_are_shown_with_their_reasons(site: Site) -> None:
    with_history(site)
    browser = site.signed_in("Charlie")
    for path in ("/incidents/1", "/runs", "/runs/2"):
        page = browser.get(path).text
        assert "Refused" in page
        assert "The last attempt was 3 minutes ago." in page


def test_long_lists_are_paged(site: Site) -> None:
    for number in range(120):
        site.store.audit.write("test.event", actor="Alice", origin="person", now=site.clock.now, detail={"n": number})
    browser = site.signed_in("Alice")
    first = browser.get("/audit").text
    older = re.search(r'href="(/audit\?before=\d+)">Older<', first)
    assert older is not None
    assert "test.event" in browser.get(older[1]).text
    assert "Older" not in browser.get("/audit?event=login.accepted").text


def test_a_run_tells_programs_how_far_it_is(site: Site) -> None:
    browser = site.signed_in("Bob")
    browser.submit("/guests/alpha/qemu/100/act/reset", "/guests/alpha/qemu/100/act/reset")
    body = browser.get("/api/v1/runs/1").get_json()
    assert (body["run"]["state"], body["run"]["finished"], body["run"]["steps_reached"]) == ("pending", False, 1)
    assert [event["text"] for event in body["events"]] == ["Bob asked for: reset."]
    assert browser.get(f"/api/v1/runs/1?after={body['events'][0]['id']}").get_json()["events"] == []


def test_programs_read_guests_page_by_page(site: Site) -> None:
    browser = site.signed_in("Charlie")
    body = browser.get("/api/v1/guests?cluster=alpha&limit=3&offset=2").get_json()
    assert (body["total"], body["offset"], len(body["guests"])) == (8, 2, 3)
    assert {"id", "name", "node", "status", "condition", "age_seconds"} <= set(body["guests"][0])


@pytest.mark.parametrize("path", [path for path, _ in PAGES])
def test_every_answer_is_safe_to_show(site: Site, path: str) -> None:
    with_history(site)
    answer = site.signed_in("Alice").get(path)
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert ("no-store" in answer.headers["Cache-Control"]) is not path.startswith("/static/")
    assert not re.search(
        r"<script(?! src=)|\son\w+=|style=|javascript:", answer.text if "html" in answer.content_type else ""
    )


def test_a_name_with_markup_stays_text(site: Site) -> None:
    site.inventory.change("alpha", 100, name='<img src=x onerror="alert(1)">', tags=["<blink>"], lock='"><script>')
    browser = site.signed_in("Bob")
    for path in ("/", "/guests/alpha/qemu/100", "/guests/alpha/qemu/100/act/reset"):
        page = browser.get(path).text
        assert "<img src=x" not in page
        assert "<blink>" not in page
        assert '"><script>' not in page


def test_secrets_are_on_no_page(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with_history(site)
    browser = site.signed_in("Alice")
    cookie = browser.client.get_cookie("pvewatch_session")
    assert cookie is not None
    hashes = [user.password_hash for user in site.store.users.list()]
    texts = [browser.get(path).text for path, _ in PAGES] + [str(caplog.records)]
    for secret in (WEBHOOK_SECRET, cookie.value, *SECRETS.values(), *hashes):
        assert not any(secret in text for text in texts)


def test_below_a_path_every_link_has_that_path(tmp_path: Path, store: Store) -> None:
    site = Site(tmp_path, store, public_url="http://localhost/watch")
    browser = site.browser()
    page = browser.get("/watch/sign-in")
    assert page.status_code == 200
    assert 'action="/watch/sign-in"' in page.text
    assert not re.findall(r'(?:href|src|action)="/(?!watch/)', page.text)
