"""Opens pages of the action API as a person's browser would: cookies, redirects, forms."""

from __future__ import annotations

import re
from html import unescape

import requests

from pvewatch.stack.first_login import FirstLogin
from pvewatch.stack.observe import TIMEOUT_SECONDS, Unanswered

_INPUT = re.compile(r"<input\b[^>]*>")
_ATTRIBUTE = re.compile(r'\b(name|value|type)="([^"]*)"')


class Browser:
    """A visitor of the action API at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()

    def sees_guest_page_unasked(self, link: str) -> bool:
        """Whether `link` opens for somebody who has not signed in. Raises Unanswered."""
        try:
            answer = requests.get(link, timeout=TIMEOUT_SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            raise Unanswered(f"{link}: {type(error).__name__}") from error
        return answer.status_code == 200

    def sign_in_and_open(self, link: str, login: FirstLogin) -> str:
        """Follow `link`, sign in on the form it leads to, and return the page one arrives at. Raises Unanswered."""
        try:
            form = self._session.get(link, timeout=TIMEOUT_SECONDS)
            fields = _hidden_fields(form.text) | {"name": login.name, "password": login.password}
            # A browser names the origin of the form; the action API refuses one that is not its own.
            origin = {"Origin": self._url, "Referer": form.url}
            page = self._session.post(form.url, data=fields, headers=origin, timeout=TIMEOUT_SECONDS)
        except requests.RequestException as error:
            raise Unanswered(f"{link}: {type(error).__name__}") from error
        if page.status_code != 200 or page.url != link:
            raise Unanswered(f"signing in for {link} led to {page.url} ({page.status_code})")
        return unescape(page.text)


def _hidden_fields(page: str) -> dict[str, str]:
    fields = {}
    for tag in _INPUT.findall(page):
        attributes = dict(_ATTRIBUTE.findall(tag))
        if attributes.get("type") == "hidden" and "name" in attributes:
            fields[attributes["name"]] = unescape(attributes.get("value", ""))
    return fields
