"""Maintenance, from the page and from the command line, before a real Alertmanager."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner, Result
from werkzeug.test import TestResponse

from action_api.maintenance_cli import maintenance
from action_api.store import Store
from pvewatch.config import Settings
from tests.action_api.web.site import Browser, Site, hidden_fields, settings_for
from tests.rules.servers import alertmanager, wait_until

GUEST = {"alertname": "GuestDown", "cluster": "alpha", "id": "qemu/100", "node": "pve1"}
NEIGHBOUR = {"alertname": "GuestDown", "cluster": "alpha", "id": "lxc/201", "node": "pve1"}
NODE = {"alertname": "NodeDown", "cluster": "alpha", "id": "node/pve1", "node": "pve1"}
ELSEWHERE = {"alertname": "GuestDown", "cluster": "beta", "id": "qemu/100", "node": "pve1"}
ALERTS = (GUEST, NEIGHBOUR, NODE, ELSEWHERE)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("alertmanager")
    (folder / "alertmanager.yml").write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    with alertmanager(folder / "alertmanager.yml", folder / "data") as url:
        yield url


@pytest.fixture
def url(running: str) -> Iterator[str]:
    """An Alertmanager to which four alerts are known; what a test has silenced ends with the test."""
    end = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    requests.post(
        f"{running}/api/v2/alerts", json=[{"labels": labels, "endsAt": end} for labels in ALERTS], timeout=10
    ).raise_for_status()
    wait_until(lambda: len(requests.get(f"{running}/api/v2/alerts", timeout=10).json()) == len(ALERTS), "the alerts")
    yield running
    for silence in silences(running):
        requests.delete(f"{running}/api/v2/silence/{silence['id']}", timeout=10)


def silences(url: str) -> list[dict[str, object]]:
    known = requests.get(f"{url}/api/v2/silences", timeout=10).json()
    return [silence for silence in known if silence["status"]["state"] != "expired"]


def silenced(url: str) -> list[dict[str, str]]:
    """The labels of every alert that Alertmanager keeps to itself because of a silence."""
    known = requests.get(f"{url}/api/v2/alerts", timeout=10).json()
    quiet = [alert["labels"] for alert in known if alert["status"]["silencedBy"]]
    return [labels for labels in ALERTS if labels in quiet]


def becomes_silent(url: str, *alerts: dict[str, str]) -> None:
    wait_until(lambda: silenced(url) == list(alerts), f"{alerts} to be silenced")


@pytest.fixture
def site(tmp_path: Path, store: Store, url: str) -> Site:
    """The site before that Alertmanager, which takes a beginning in the past for now."""
    site = Site(tmp_path, store, settings=settings_for(tmp_path, url))
    site.clock.now = time.time() - 300  # every sign-in takes half a minute
    return site


@dataclass
class Source:
    settings: Settings

    def load(self) -> Settings:
        return self.settings


def begin(browser: Browser, **fields: str) -> TestResponse:
    chosen = {"cluster": "alpha", "duration": "2h", "comment": "moving its disks"} | fields
    return browser.submit("/maintenance", "/maintenance", **chosen)


def end(browser: Browser, silence_id: object) -> TestResponse:
    return browser.submit("/maintenance", f"/maintenance/{silence_id}/end")


@pytest.mark.parametrize(
    ("fields", "quiet"),
    [
        ({"guest": "qemu/100"}, [GUEST]),
        ({"guest": "100"}, [GUEST]),
        ({"node": "pve1"}, [GUEST, NEIGHBOUR, NODE]),
        ({}, [GUEST, NEIGHBOUR, NODE]),
    ],
    ids=["a guest", "a guest by its number", "a node with its guests", "a cluster"],
)
def test_an_alert_is_silent_from_beginning_to_end(
    site: Site, url: str, fields: dict[str, str], quiet: list[dict[str, str]]
) -> None:
    bob = site.signed_in("Bob")
    answer = begin(bob, **fields)
    assert answer.status_code == 303, answer.text
    becomes_silent(url, *quiet)
    (silence,) = silences(url)
    assert (silence["createdBy"], silence["comment"]) == ("Bob", "moving its disks")
    page = bob.get(answer.location).text
    assert "Silent until" in page
    assert "moving its disks" in page

    answer = end(bob, silence["id"])
    assert answer.status_code == 303, answer.text
    becomes_silent(url)
    assert "Nothing is silent." in bob.get(answer.location).text
    ended, started = site.store.audit.recent(2)
    assert (started.event, started.actor, started.cluster) == ("maintenance.started", "Bob", "alpha")
    assert (ended.event, ended.actor, ended.guest) == ("maintenance.ended", "Bob", fields.get("guest"))
    assert started.detail["silence"] == ended.detail["silence"] == silence["id"]


def test_what_was_silenced_elsewhere_is_listed_and_can_be_ended(site: Site, url: str) -> None:
    end_at = (datetime.now(UTC) + timedelta(hours=3)).isoformat()
    matchers = [{"name": "alertname", "value": "Node.*", "isRegex": True, "isEqual": False}]
    body = {"matchers": matchers, "endsAt": end_at, "startsAt": datetime.now(UTC).isoformat()}
    body |= {"createdBy": "amtool", "comment": "<b>by hand</b>"}
    requests.post(f"{url}/api/v2/silences", json=body, timeout=10).raise_for_status()
    alice = site.signed_in("Alice")
    page = alice.get("/maintenance").text
    assert "Alertname!~&#34;Node.*&#34;" in page
    assert "&lt;b&gt;by hand&lt;/b&gt;" in page
    assert end(alice, silences(url)[0]["id"]).status_code == 303
    assert silences(url) == []


def test_a_link_from_an_alert_fills_in_the_form_and_silences_nothing(site: Site, url: str) -> None:
    bob = site.signed_in("Bob")
    page = bob.get("/maintenance?cluster=beta&id=lxc/200").text
    assert "<option selected>beta</option>" in page
    assert 'name="guest" value="lxc/200"' in page
    assert 'name="node" value="pve2"' in bob.get("/maintenance?cluster=alpha&node=pve2").text
    assert '<option value="2h" selected>' in page
    assert silences(url) == []


def test_the_guest_page_leads_to_the_form(site: Site) -> None:
    page = site.signed_in("Charlie").get("/guests/alpha/qemu/100").text
    assert 'href="/maintenance?cluster=alpha&amp;id=qemu/100"' in page
    assert 'href="/maintenance?cluster=alpha&amp;node=' in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cluster": "gamma"}, "is not a cluster; known are: alpha, beta"),
        ({"guest": "vm100"}, "is not a guest: write its number"),
        ({"guest": "999"}, "alpha has no guest 999"),
        ({"guest": "lxc/100"}, "alpha has no guest lxc/100"),
        ({"node": "pve9"}, "alpha has no node pve9; its nodes are"),
        ({"node": "pve1", "guest": "100"}, "Give a node or a guest, not both"),
        ({"node": ".*"}, "is not the name of a node"),
        ({"duration": "10s"}, "maintenance lasts between"),
        ({"duration": "31d"}, "maintenance lasts between"),
        ({"duration": "for ever"}, "is not a duration"),
        ({"comment": "  "}, "Say why, in a comment"),
        ({"comment": "a" * 501}, "at most 500 printable characters"),
    ],
)
def test_what_would_silence_the_wrong_thing_is_refused_and_the_form_kept(
    site: Site, url: str, fields: dict[str, str], words: str
) -> None:
    bob = site.signed_in("Bob")
    answer = begin(bob, **fields)
    assert answer.status_code == 422
    text = html.unescape(answer.text)
    assert words.lower() in text.lower()
    assert fields.get("guest", "") in text
    assert silences(url) == []


def test_a_guest_that_cannot_be_looked_up_is_silenced_all_the_same(site: Site, url: str) -> None:
    site.inventory.reason = "the exporter does not answer"
    assert begin(site.signed_in("Bob"), guest="qemu/100").status_code == 303
    becomes_silent(url, GUEST)


def test_who_may_only_look_sees_the_list_and_no_form(site: Site, url: str) -> None:
    begin(site.signed_in("Bob"), guest="qemu/100")
    charlie = site.signed_in("Charlie")
    page = charlie.get("/maintenance").text
    assert "moving its disks" in page
    assert "This needs the role operator; you are viewer." in page
    assert "End now" not in page
    token = hidden_fields(page, "/sign-out")["form_token"]
    answer = charlie.post("/maintenance", form_token=token, cluster="alpha", duration="2h", comment="x")
    assert answer.status_code == 403
    assert charlie.post(f"/maintenance/{silences(url)[0]['id']}/end", form_token=token).status_code == 403
    assert len(silences(url)) == 1


def test_a_password_alone_silences_nothing(site: Site, url: str) -> None:
    bob = site.store.users.by_name("Bob")
    assert bob is not None
    site.store.users.set_totp_secret(bob.id, None)
    browser = site.browser()
    browser.sign_in("Bob")
    page = browser.get("/maintenance").text
    assert "A second factor is needed" in page
    token = hidden_fields(page, "/sign-out")["form_token"]
    answer = browser.post("/maintenance", form_token=token, cluster="alpha", duration="2h", comment="x")
    assert answer.status_code == 403
    assert silences(url) == []
    assert site.store.audit.recent(1)[0].event == "maintenance.refused"


def test_a_form_from_elsewhere_silences_nothing(site: Site, url: str) -> None:
    bob = site.signed_in("Bob")
    assert bob.post("/maintenance", cluster="alpha", duration="2h", comment="x").status_code == 403
    assert silences(url) == []


def test_an_end_that_comes_twice_says_so(site: Site, url: str) -> None:
    bob = site.signed_in("Bob")
    begin(bob, guest="qemu/100")
    page, silence_id = bob.get("/maintenance").text, silences(url)[0]["id"]
    token = hidden_fields(page, "/sign-out")["form_token"]
    assert bob.post(f"/maintenance/{silence_id}/end", form_token=token).status_code == 303
    answer = bob.post(f"/maintenance/{silence_id}/end", form_token=token)
    assert answer.status_code == 404
    assert "This has ended already, or never was." in answer.text


def test_an_alertmanager_that_does_not_answer_is_named_and_the_form_kept(tmp_path: Path, store: Store) -> None:
    site = Site(tmp_path, store)
    bob = site.signed_in("Bob")
    answer = bob.get("/maintenance")
    assert answer.status_code == 200
    assert "What is silent is not known now" in answer.text
    assert "Alertmanager at http://127.0.0.1:1/api/v2/silences does not answer" in answer.text
    answer = begin(bob, comment="moving its disks")
    assert answer.status_code == 503
    assert 'value="moving its disks"' in answer.text
    assert not [entry for entry in store.audit.recent(9) if entry.event.startswith("maintenance")]


# The command line.


@pytest.fixture
def command(tmp_path: Path, store: Store, url: str) -> Source:
    return Source(settings_for(tmp_path, url))


def run(source: Source, *arguments: str) -> Result:
    return CliRunner().invoke(maintenance, arguments, obj=source)


def test_the_command_silences_lists_and_ends(command: Source, store: Store, url: str) -> None:
    done = run(command, "start", "alpha", "--guest", "100", "--for", "90m", "--comment", "moving its disks")
    assert done.exit_code == 0, done.output
    silence_id = done.stdout.strip()
    assert f"pvewatch maintenance end {silence_id}" in done.stderr
    assert "was not checked" in done.stderr, "no exporter answers in this test"
    becomes_silent(url, GUEST)

    listed = run(command, "list")
    assert silence_id in listed.stdout
    assert "guest 100 of alpha" in listed.stdout
    (row,) = json.loads(run(command, "list", "--json").stdout)
    assert (row["cluster"], row["guest"], row["node"], row["state"]) == ("alpha", "100", None, "active")
    begun, ends = datetime.fromisoformat(row["starts_at"]), datetime.fromisoformat(row["ends_at"])
    assert abs((ends - begun).total_seconds() - 5400) < 60

    assert run(command, "end", silence_id).exit_code == 0
    becomes_silent(url)
    assert "Nothing is in maintenance." in run(command, "list").stderr
    assert [entry.event for entry in store.audit.recent(2)] == ["maintenance.ended", "maintenance.started"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gamma", "--for", "2h"], "is not a cluster; known are: alpha, beta"),
        (["alpha", "--for", "2h", "--node", "pve1", "--guest", "100"], "not both"),
        (["alpha", "--for", "two hours"], "is not a duration"),
    ],
)
def test_the_command_says_what_it_does_not_take(command: Source, arguments: list[str], words: str, url: str) -> None:
    done = run(command, "start", *arguments, "--comment", "x")
    assert done.exit_code == 2
    assert words in done.stderr
    assert silences(url) == []


def test_the_command_says_what_to_do_without_an_alertmanager(tmp_path: Path, store: Store) -> None:
    source = Source(settings_for(tmp_path))
    for arguments in (["list"], ["end", "x"], ["start", "alpha", "--for", "2h", "--comment", "x"]):
        done = run(source, *arguments)
        assert done.exit_code == 1
        assert "Alertmanager at http://127.0.0.1:1" in done.stderr
        assert "Start Alertmanager, or mend alertmanager.url." in done.stderr
    assert store.audit.recent(9) == ()


def test_maintenance_needs_only_one_alertmanager_that_answers(tmp_path: Path, store: Store, url: str) -> None:
    away = "http://127.0.0.1:1"
    source = Source(settings_for(tmp_path, away, url))
    done = run(source, "start", "alpha", "--guest", "100", "--for", "90m", "--comment", "moving its disks")
    assert done.exit_code == 0, done.output
    becomes_silent(url, GUEST)
    assert "guest 100 of alpha" in run(source, "list").stdout
    site = Site(tmp_path, store, settings=source.settings)
    site.clock.now = time.time()
    assert "guest 100 of alpha" in site.signed_in("Bob").get("/maintenance").text
    assert run(source, "end", done.stdout.strip()).exit_code == 0
    becomes_silent(url)

    nobody = run(Source(settings_for(tmp_path, away, "http://127.0.0.1:2")), "list")
    assert nobody.exit_code == 1
    assert "http://127.0.0.1:1/" in nobody.stderr
    assert "http://127.0.0.1:2/" in nobody.stderr


def test_ending_what_is_not_there_fails(command: Source) -> None:
    for silence_id in ("6f1c6cd6-52d5-4f0c-9f5a-0d2b1a3d0b8a", "../alerts", ""):
        done = run(command, "end", silence_id)
        assert done.exit_code == 1
        assert "see: pvewatch maintenance list" in done.stderr
