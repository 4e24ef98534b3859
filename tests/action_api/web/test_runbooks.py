"""Runbooks as pages: the address in every alert leads to text that helps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.action_api.web.site import Site

PAGES = sorted(file.stem for file in (Path(__file__).parents[3] / "docs" / "runbooks").glob("*.md"))


@pytest.mark.parametrize("name", PAGES)
def test_every_runbook_is_a_page_that_needs_no_sign_in(site: Site, name: str) -> None:
    answer = site.browser().get(f"/runbooks/{name}")
    assert answer.status_code == 200
    assert f"<h1>{name}</h1>" in answer.text or name == "README"


@pytest.mark.parametrize("name", PAGES)
def test_links_between_runbooks_lead_to_pages(site: Site, name: str) -> None:
    browser = site.browser()
    for target in re.findall(r"<article.*?</article>", browser.get(f"/runbooks/{name}").text, re.S):
        for link in re.findall(r'href="(/[^"]*)"', target):
            assert browser.get(link).status_code == 200


def test_the_index_names_every_alert(site: Site) -> None:
    text = site.browser().get("/runbooks").text
    assert [name for name in PAGES if name != "README" and name not in text] == []


@pytest.mark.parametrize("name", ["Nothing", "..%2F..%2FREADME", "%2e%2e", "README.md"])
def test_what_is_no_runbook_is_not_found(site: Site, name: str) -> None:
    assert site.browser().get(f"/runbooks/{name}").status_code == 404
