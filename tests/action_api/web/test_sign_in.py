from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from action_api.auth import passwords
from action_api.auth.forms import local_path
from action_api.store import Store
from tests.action_api.web.site import PASSWORD, START, Site, hidden_fields


def test_a_page_leads_to_the_sign_in_and_back(site: Site) -> None:
    browser = site.browser()
    answer = browser.get("/guests/alpha/qemu/100?x=1")
    assert answer.status_code == 303
    assert answer.location == "/sign-in?next=/guests/alpha/qemu/100%3Fx%3D1"
    fields = hidden_fields(browser.get(answer.location).text, "/sign-in")
    answer = browser.post("/sign-in", name="Charlie", password=PASSWORD, **fields)
    assert (answer.status_code, answer.location) == (303, "/guests/alpha/qemu/100?x=1")


@pytest.mark.parametrize(
    ("name", "password"),
    [("Charlie", "wrong"), ("Nobody", PASSWORD), ("", ""), ("Char\0lie", PASSWORD), ("Charlie", PASSWORD + "x" * 600)],
)
def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(site: Site, name: str, password: str) -> None:
    answer = site.browser().sign_in(name, password)
    assert answer.status_code == 401
    assert "The name or the password is wrong." in answer.text


def test_an_unknown_name_costs_the_same_work_as_a_known_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    class Counting:
        def verify(self, stored_hash: str, password: str) -> bool:
            hashed.append(stored_hash)
            return False

    passwords._nobodys_hash()
    monkeypatch.setattr(passwords, "_hasher", Counting())
    for name in ("Nobody", "Charlie"):
        site.browser().sign_in(name)
    assert len(hashed) == 2
    assert {parameters.rsplit("$", 2)[0] for parameters in hashed} == {hashed[0].rsplit("$", 2)[0]}


def test_guessing_has_to_wait_longer_each_time(site: Site) -> None:
    browser = site.browser()
    for _ in range(5):
        assert browser.sign_in("Charlie", "wrong").status_code == 401
    refused = browser.sign_in("Charlie")
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "15"
    assert "Wait 15 seconds" in refused.text
    site.clock.now += 16
    assert browser.sign_in("Charlie", "wrong").status_code == 401
    assert browser.sign_in("Charlie").headers["Retry-After"] == "30"
    site.clock.now += 31
    assert browser.sign_in("Charlie").status_code == 303


def test_guessing_many_names_from_one_address_has_to_wait_too(site: Site) -> None:
    for number in range(20):
        site.store.login_failures.record("address:127.0.0.1", now=START - number)
    assert site.browser().sign_in("Charlie").status_code == 429


def test_an_unknown_name_is_not_written_down_as_it_may_be_a_password(site: Site) -> None:
    site.browser().sign_in("my-secret-typed-into-the-wrong-field", "x")
    entry = site.store.audit.recent(1)[0]
    assert (entry.actor, entry.event) == ("(unknown name)", "login.refused")
    assert "secret" not in str(entry)


def test_every_sign_in_and_out_stands_in_the_audit_log(site: Site) -> None:
    browser = site.browser()
    browser.sign_in("Charlie", "wrong")
    browser.sign_in("Charlie")
    browser.submit("/", "/sign-out")
    events = [(entry.actor, entry.event, entry.remote) for entry in site.store.audit.recent()]
    assert events == [
        ("Charlie", "logout", "127.0.0.1"),
        ("Charlie", "login.accepted", "127.0.0.1"),
        ("Charlie", "login.refused", "127.0.0.1"),
    ]


def test_signing_out_ends_the_session_on_the_server(site: Site) -> None:
    browser = site.signed_in("Charlie")
    cookie = browser.client.get_cookie("pvewatch_session")
    assert cookie is not None
    browser.submit("/", "/sign-out")
    browser.client.set_cookie("pvewatch_session", cookie.value)
    assert browser.get("/").status_code == 303


def test_a_session_ends_after_its_hours(site: Site) -> None:
    browser = site.signed_in("Charlie")
    site.clock.now += 12 * 3600 - 60
    assert browser.get("/").status_code == 200
    site.clock.now += 120
    assert browser.get("/").status_code == 303


def test_a_disabled_person_is_out_at_once(site: Site) -> None:
    browser = site.signed_in("Charlie")
    user = site.store.users.by_name("Charlie")
    assert user is not None
    site.store.users.disable(user.id, now=site.clock.now)
    assert browser.get("/").status_code == 303
    answer = site.browser().sign_in("Charlie")
    assert answer.status_code == 401
    assert "The name or the password is wrong." in answer.text


def test_a_role_counts_from_the_next_request_on(site: Site) -> None:
    browser = site.signed_in("Alice")
    assert browser.get("/audit").status_code == 200
    user = site.store.users.by_name("Alice")
    assert user is not None
    site.store.users.set_role(user.id, "viewer")
    assert browser.get("/audit").status_code == 403


def test_the_database_holds_no_session_that_could_be_used(site: Site, tmp_path: Path) -> None:
    browser = site.signed_in("Bob")
    browser.get("/guests/alpha/qemu/100/act/reset")
    dump = "\n".join(sqlite3.connect(tmp_path / "action_api.db").iterdump())
    cookie = browser.client.get_cookie("pvewatch_session")
    assert cookie is not None
    assert cookie.value not in dump
    assert PASSWORD not in dump


def test_cookies_are_kept_from_scripts_and_other_sites(site: Site) -> None:
    answer = site.browser().sign_in("Charlie")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("pvewatch_session=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie


def test_behind_https_cookies_are_bound_to_host_and_https(tmp_path: Path, store: Store) -> None:
    site = Site(tmp_path, store, public_url="https://pvewatch.example")
    browser = site.browser()
    page = browser.get("/sign-in", base_url="https://pvewatch.example")
    visit = page.headers["Set-Cookie"]
    assert visit.startswith("__Host-pvewatch_visit=")
    assert "Secure" in visit
    assert "Path=/" in visit
    assert "Domain" not in visit


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/account/second-factor/begin", "/account/second-factor"])
def test_a_form_that_no_page_of_ours_gave_is_refused(site: Site, path: str) -> None:
    browser = site.signed_in("Charlie")
    for fields in ({}, {"form_token": "0" * 64}):
        answer = browser.post(path, name="Charlie", password=PASSWORD, **fields)
        assert answer.status_code == 403
        assert "form_not_ours" in answer.text
    assert browser.get("/").status_code == 200, "the session was not touched"


def test_a_form_of_another_browser_is_refused(site: Site) -> None:
    fields = hidden_fields(site.browser().get("/sign-in").text, "/sign-in")
    stranger = site.browser()
    stranger.get("/sign-in")
    assert stranger.post("/sign-in", name="Charlie", password=PASSWORD, **fields).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_a_form_sent_by_another_site_is_refused(site: Site, headers: dict[str, str]) -> None:
    browser = site.browser()
    fields = hidden_fields(browser.get("/sign-in").text, "/sign-in")
    answer = browser.client.post("/sign-in", data=fields | {"name": "Charlie", "password": PASSWORD}, headers=headers)
    assert answer.status_code == 403


def test_our_own_origin_is_taken(site: Site) -> None:
    browser = site.browser()
    fields = hidden_fields(browser.get("/sign-in").text, "/sign-in")
    for origin in ("http://localhost", "http://127.0.0.1:9280"):
        headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
        answer = browser.client.post("/sign-in", data=fields | {"name": "x", "password": "y"}, headers=headers)
        assert answer.status_code == 401


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/\n/evil.example",
        "evil",
        "",
        "/" + "a" * 3000,
        "/ /evil.example",
        "http:evil",
        "/x\\..\\..//evil.example",
    ],
)
def test_after_the_sign_in_one_stays_on_this_site(site: Site, target: str) -> None:
    browser = site.browser()
    fields = hidden_fields(browser.get("/sign-in").text, "/sign-in") | {"next": target}
    answer = browser.post("/sign-in", name="Charlie", password=PASSWORD, **fields)
    assert (answer.status_code, answer.location) == (303, "/")


@given(st.text(max_size=40))
def test_no_text_at_all_leads_to_another_site(text: str) -> None:
    for target in (text, "/" + text, "//" + text, "/\\" + text, "https://" + text):
        path = local_path(target)
        assert path.startswith("/")
        assert not path.startswith("//")
        assert "\\" not in path
        assert path.isprintable()
