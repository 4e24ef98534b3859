"""The runbooks as pages: what an alert means and what to do, at the address that every alert message links.

No sign-in: whoever is woken by a message reads it first. The pages are the same for everybody and name no guest.
"""

from __future__ import annotations

import re
from functools import cache

from flask import Blueprint, render_template, url_for
from markdown_it import MarkdownIt
from markupsafe import Markup

from action_api.routes.errors import Refused
from pvewatch.bundle import bundle_path

blueprint = Blueprint("runbooks", __name__, url_prefix="/runbooks")

_INDEX = "README"
# HTML in the text is shown as text, not passed on.
_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")


@blueprint.get("")
def index() -> str:
    """All alerts and what the severities mean."""
    return _page(_INDEX)


@blueprint.get("/<name>")
def page(name: str) -> str:
    """One alert's runbook."""
    return _page(name)


def _page(name: str) -> str:
    text = _texts().get(name)
    if text is None:
        link = (url_for("runbooks.index"), "All runbooks")
        words = f"There is no runbook for {name[:80]}."
        raise Refused(404, "runbook_not_found", words, remedy="It may be of another version of pvewatch.", link=link)
    # Pages link each other as files, so that they can be read in the repository too.
    linked = re.sub(r"\]\((\w+)\.md\)", lambda match: f"]({_address(match[1])})", text)
    title = text.partition("\n")[0].removeprefix("# ")
    body = Markup(_markdown.render(linked))  # noqa: S704  our own files, rendered with HTML switched off
    return render_template("runbook.html", title=title, body=body, is_index=name == _INDEX)


def _address(name: str) -> str:
    return url_for("runbooks.index") if name == _INDEX else url_for("runbooks.page", name=name)


@cache
def _texts() -> dict[str, str]:
    """Name → Markdown of every page that ships; what is asked for is looked up here, never opened as a path."""
    return {file.stem: file.read_text(encoding="utf-8") for file in bundle_path("docs/runbooks").glob("*.md")}
