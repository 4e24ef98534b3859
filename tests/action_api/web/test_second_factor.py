from __future__ import annotations

import re
from pathlib import Path

import pyotp
import pytest

from action_api.auth.second_factor import matching_step
from action_api.store import Store
from tests.action_api.web.site import PASSWORD, SECRETS, Browser, Site, hidden_fields

ACT = "/guests/alpha/qemu/100/act/reset"


def without_factor(site: Site, name: str) -> None:
    user = site.store.users.by_name(name)
    assert user is not None
    site.store.users.set_totp_secret(user.id, None)


def enrol(site: Site, browser: Browser) -> None:
    """Set the second factor up as a person would."""
    browser.submit("/account/second-factor", "/account/second-factor/begin")
    page = browser.get("/account/second-factor").text
    found = re.search(r'class="secret">([A-Z2-7]+)<', page)
    assert found, page
    assert "<svg" in page
    code = pyotp.TOTP(found[1]).at(int(site.clock.now))
    assert browser.submit("/account/second-factor", "/account/second-factor", code=code).status_code == 303


def test_the_password_alone_opens_nothing(site: Site) -> None:
    browser = site.browser()
    answer = browser.submit("/sign-in?next=/incidents", "/sign-in", name="Bob", password=PASSWORD)
    assert answer.location == "/sign-in/code?next=/incidents"
    assert browser.get("/").status_code == 303
    assert browser.get("/api/v1/me").status_code == 401
    assert browser.give_code("Bob", answer.location).location == "/incidents"
    assert browser.get("/api/v1/me").get_json()["may_change"] is True


def test_the_half_session_is_worth_nothing_after_the_code(site: Site) -> None:
    browser = site.browser()
    browser.submit("/sign-in", "/sign-in", name="Bob", password=PASSWORD)
    half = browser.client.get_cookie("pvewatch_session")
    assert half is not None
    browser.give_code("Bob")
    whole = browser.client.get_cookie("pvewatch_session")
    assert whole is not None
    assert whole.value != half.value
    thief = site.browser()
    thief.client.set_cookie("pvewatch_session", half.value)
    assert thief.get("/api/v1/me").status_code == 401


def test_a_code_counts_once(site: Site) -> None:
    site.signed_in("Bob")
    code = pyotp.TOTP(SECRETS["Bob"]).at(int(site.clock.now))
    second = site.browser()
    second.submit("/sign-in", "/sign-in", name="Bob", password=PASSWORD)
    answer = second.submit("/sign-in/code", "/sign-in/code", code=code)
    assert answer.status_code == 401
    assert "was used before" in answer.text
    assert second.get("/").status_code == 303


@pytest.mark.parametrize("code", ["", "000000", "12345", "abcdef", "\uff11\uff12\uff13\uff14\uff15\uff16", "9" * 400])
def test_a_wrong_code_is_refused(site: Site, code: str) -> None:
    browser = site.browser()
    browser.submit("/sign-in", "/sign-in", name="Bob", password=PASSWORD)
    assert browser.submit("/sign-in/code", "/sign-in/code", code=code).status_code == 401
    assert site.store.audit.recent(1)[0].detail["reason"] == "wrong_code"


def test_guessing_codes_has_to_wait(site: Site) -> None:
    browser = site.browser()
    browser.submit("/sign-in", "/sign-in", name="Bob", password=PASSWORD)
    for _ in range(5):
        browser.submit("/sign-in/code", "/sign-in/code", code="000000")
    code = pyotp.TOTP(SECRETS["Bob"]).at(int(site.clock.now))
    assert browser.submit("/sign-in/code", "/sign-in/code", code=code).status_code == 429


def test_a_password_waits_for_its_code_ten_minutes(site: Site) -> None:
    browser = site.browser()
    browser.submit("/sign-in", "/sign-in", name="Bob", password=PASSWORD)
    fields = hidden_fields(browser.get("/sign-in/code").text, "/sign-in/code")
    site.clock.now += 601
    code = pyotp.TOTP(SECRETS["Bob"]).at(int(site.clock.now))
    assert browser.post("/sign-in/code", code=code, **fields).location.startswith("/sign-in?")


def test_clocks_may_differ_by_one_step() -> None:
    totp = pyotp.TOTP(SECRETS["Bob"])
    for seconds, right in ((-60, False), (-30, True), (0, True), (30, True), (60, False)):
        assert (matching_step(SECRETS["Bob"], totp.at(1_790_000_000 + seconds), now=1_790_000_000) is not None) is right


def test_an_operator_without_one_is_led_to_set_it_up_before_acting(site: Site) -> None:
    without_factor(site, "Bob")
    browser = site.browser()
    answer = browser.sign_in("Bob", next=ACT)
    assert answer.location == f"/account/second-factor?next={ACT}"
    assert browser.get("/").status_code == 200, "looking is allowed"
    assert browser.get(ACT).location == f"/account/second-factor?next={ACT}"
    enrol(site, browser)
    assert "Reset web1 now" in browser.get(ACT).text, "the session that set it up may act"
    assert site.store.audit.recent(1)[0].event == "second_factor.enrolled"
    site.clock.now += 60
    again = site.browser()
    assert again.submit("/sign-in", "/sign-in", name="Bob", password=PASSWORD).location.startswith("/sign-in/code")


def test_a_post_without_it_changes_nothing(site: Site) -> None:
    without_factor(site, "Bob")
    browser = site.browser()
    browser.sign_in("Bob")
    fields = hidden_fields(browser.get("/").text, "/sign-out")
    answer = browser.post(ACT, **fields)
    assert answer.status_code == 403
    assert "second factor is needed" in answer.text
    assert site.store.runs.recent() == ()


def test_it_cannot_be_replaced_by_whoever_sits_at_the_open_browser(site: Site) -> None:
    browser = site.signed_in("Bob")
    fields = hidden_fields(browser.get("/").text, "/sign-out")
    assert browser.post("/account/second-factor/begin", **fields).status_code == 409
    user = site.store.users.by_name("Bob")
    assert user is not None
    assert user.totp_secret == SECRETS["Bob"]


def test_looking_at_the_page_makes_no_secret(site: Site) -> None:
    browser = site.signed_in("Charlie")
    assert "Set it up now" in browser.get("/account/second-factor").text
    user = site.store.users.by_name("Charlie")
    assert user is not None
    assert user.totp_secret is None


def test_without_the_requirement_every_page_says_so(tmp_path: Path, store: Store) -> None:
    site = Site(tmp_path, store, require_second_factor=False)
    without_factor(site, "Bob")
    browser = site.browser()
    assert browser.sign_in("Bob").location == "/"
    for path in ("/", "/runs", "/incidents", ACT):
        assert "No second factor is required here." in browser.get(path).text
    assert browser.submit(ACT, ACT).status_code == 303
