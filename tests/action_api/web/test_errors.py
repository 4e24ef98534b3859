"""Every refusal has one shape: {"error": {"code": str, "message": str, "detail": anything}}."""

from __future__ import annotations

import logging
import sqlite3

import pytest
from werkzeug.test import TestResponse

from tests.action_api.web.site import Site


def assert_error(answer: TestResponse, status: int, code: str) -> None:
    """The one shape, and nothing besides it."""
    assert answer.status_code == status
    assert answer.content_type == "application/json"
    body = answer.get_json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "detail"}
    assert body["error"]["code"] == code
    assert body["error"]["message"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v1/runs/99", 404, "run_not_found"),
        ("/api/v1/nothing", 404, "not_found"),
        ("/api/v1/runs/abc", 404, "not_found"),
        ("/api/v1/runs/99999999999999999999999", 404, "not_found"),
        ("/-/nothing", 404, "not_found"),
    ],
)
def test_programs_get_errors_in_one_shape(site: Site, path: str, status: int, code: str) -> None:
    assert_error(site.signed_in("Charlie").get(path), status, code)


def test_programs_that_are_not_signed_in_are_told_so(site: Site) -> None:
    assert_error(site.browser().get("/api/v1/me"), 401, "not_signed_in")


def test_a_wrong_method_names_the_right_ones(site: Site) -> None:
    answer = site.browser().client.delete("/-/healthy")
    assert_error(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["Allow"]


def test_a_webhook_without_its_token_is_refused_in_the_same_shape(site: Site) -> None:
    assert_error(site.browser().client.post("/webhook/alertmanager", json={}), 401, "unauthorized")


def test_a_page_can_be_asked_for_as_json_too(site: Site) -> None:
    browser = site.signed_in("Charlie")
    answer = browser.get("/guests/alpha/qemu/555", headers={"Accept": "application/json"})
    assert_error(answer, 404, "guest_not_found")


def test_a_form_that_is_not_ours_is_refused_in_the_same_shape(site: Site) -> None:
    answer = site.browser().client.post("/sign-in", headers={"Accept": "application/json"})
    assert_error(answer, 403, "form_not_ours")


def test_too_large_a_form_is_refused(site: Site) -> None:
    browser = site.browser()
    browser.get("/sign-in")
    answer = browser.client.post("/sign-in", data={"name": "x" * 3_000_000}, headers={"Accept": "application/json"})
    assert_error(answer, 413, "too_large")


def test_without_an_inventory_the_process_is_not_ready_but_healthy(site: Site) -> None:
    site.inventory.reason = "the exporter at http://127.0.0.1:9221 answered 401"
    browser = site.signed_in("Charlie")
    assert_error(browser.get("/-/ready"), 503, "inventory_unavailable")
    assert_error(browser.get("/api/v1/guests"), 503, "inventory_unavailable")
    assert browser.get("/-/healthy").get_json() == {"status": "healthy"}


def test_a_failure_of_our_own_gives_a_reference_and_no_secret(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> str:
        raise RuntimeError("password=hunter2")

    site.app.add_url_rule("/api/v1/broken", view_func=broken)
    site.app.add_url_rule("/broken", view_func=broken, endpoint="broken_page")
    with caplog.at_level(logging.ERROR):
        answer = site.browser().get("/api/v1/broken")
        page = site.browser().get("/broken")
    assert_error(answer, 500, "internal_error")
    reference = answer.get_json()["error"]["detail"]["reference"]
    assert reference in [record.__dict__["reference"] for record in caplog.records]
    assert "hunter2" not in answer.text
    assert "hunter2" not in page.text


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/guests/alpha/qemu/555",
        "/guests/gamma/qemu/100",
        "/guests/alpha/lxc/100",
        "/guests/alpha/openvz/1",
        "/guests/al%00pha/qemu/100",
        "/guests/alpha/qemu/100/act/explode",
        "/runs/99",
        "/incidents/99",
    ],
)
def test_people_get_a_page_that_leads_on(site: Site, path: str) -> None:
    answer = site.signed_in("Bob").get(path)
    assert answer.status_code == 404
    assert answer.content_type.startswith("text/html")
    assert "To the overview" in answer.text


def test_an_unknown_guest_says_what_is_known(site: Site) -> None:
    browser = site.signed_in("Bob")
    assert "Look for it in the overview" in browser.get("/guests/alpha/qemu/555").text
    page = browser.get("/guests/gamma/qemu/100").text
    assert "known: alpha, beta" in page


def test_a_database_that_has_gone_is_named_and_nothing_of_it_is_shown(site: Site) -> None:
    browser = site.signed_in("Charlie")
    with sqlite3.connect(site.settings.data_dir / "action_api.db") as database:
        database.execute("DROP TABLE sessions")
    assert_error(browser.get("/api/v1/me"), 503, "database_unavailable")
    page = browser.get("/")
    assert page.status_code == 503
    assert "sessions" not in page.text
