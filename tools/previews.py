#!/usr/bin/env python3
"""Draws a preview of each dashboard out of real query results: docs/previews/<uid>.png.

They are no screenshots: Grafana is not run. The simulated clusters of the tests are scraped by a real Prometheus, each
panel's queries are asked as Grafana would, and the answers are drawn simply, at the places the dashboard gives them.

PYTHONPATH=. python tools/previews.py            all of them; takes about a minute and needs Chromium
PYTHONPATH=. python tools/previews.py pve-node   only these
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import requests
from PIL import Image, ImageColor
from playwright.sync_api import sync_playwright
from preview_panels import LINES, STEPS, Answered, drawn
from preview_values import COLOURS

from grafana.source.prove import Asked, chosen, resolved
from grafana.source.registry import dashboards
from grafana.source.scenarios import FLEET
from tests.browser.conftest import CHROMIUM, FLAGS
from tests.grafana import fleet, history

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "previews"
WIDTH = 1200
MAX_BYTES = 120_000
COLUMN, LINE, GAP, TITLE = WIDTH / 24, 32, 6, 24
# How long the scenarios are watched, at a scrape each second.
SEEN_SECONDS = 45
STEPS_TO_WHITE = 8
CAPACITY = "pve-capacity"
# Dashboards of one cluster, node or guest → the scenario whose cluster is shown.
SCENARIOS = {"pve-cluster": "healthy", "pve-node": "healthy", "pve-guest": "healthy"}

STYLE = """
* { box-sizing: border-box; font: 12px "DejaVu Sans", sans-serif; color: #33363b }
body { margin: 0; background: #eef0f2; position: relative }
h1 { position: absolute; left: 10px; top: 6px; margin: 0; font-size: 17px; font-weight: bold }
h1 small { margin-left: 14px; color: #6b6f76 }
.row { position: absolute; left: 8px; padding: 6px; font-size: 14px }
.panel { position: absolute; background: #fff; border: 1px solid #d5d8dc; overflow: hidden }
.panel > b { display: block; height: 24px; padding: 5px 8px; white-space: nowrap; font-weight: bold }
.stat { display: flex; flex-direction: column; align-items: center; justify-content: center; height: calc(100% - 28px) }
.stat div, .stat small { color: inherit; font-size: 26px; white-space: nowrap }
.stat.n2 div { font-size: 17px } .stat.n3 div { font-size: 13px } .stat small { font-size: 12px; color: #6b6f76 }
.none { display: flex; align-items: center; justify-content: center; height: calc(100% - 28px); padding: 8px;
  text-align: center; color: #6b6f76 }
.help { padding: 4px 8px; white-space: pre-wrap }
table { border-collapse: collapse; width: 100% }
td, th { height: 22px; padding: 0 6px; text-align: left; white-space: nowrap; overflow: hidden }
td { border-top: 1px solid #eef0f2 }
th { border: 0; background: #f6f7f8 } td.num, th.num { text-align: right }
td.link { text-decoration: underline } td.more { color: #6b6f76 }
.bars td { border: 0; width: 1% } .bars td.rail { width: 98% } .rail i, .gauge i { display: inline-block; height: 12px }
.gauge { width: 110px }
svg { display: block } text { font-size: 11px } text.inside { fill: #fff }
line.grid { stroke: #e4e6e9 } polyline { fill: none; stroke-width: 1.5 }
.beside { display: flex } .beside .legend { width: 240px; padding-top: 8px }
.below .legend { padding-left: 62px; height: 32px; overflow: hidden }
.legend span { display: inline-block; margin-right: 14px; white-space: nowrap }
.beside .legend span { display: flex; align-items: center }
.legend u { text-decoration: none; overflow: hidden; text-overflow: ellipsis } .beside .legend u { flex: 1 }
.tight td, .tight th { font-size: 10px; padding: 0 3px } .tight .gauge { width: 70px }
.legend b { display: inline-block; flex: none; width: 12px; height: 3px; margin: 0 5px 3px 0 }
.legend em { padding-left: 8px }
"""


def main(uids: Sequence[str]) -> None:
    """Draw the previews of these dashboards, or of all."""
    built = {one.document["uid"]: one.document for one in dashboards()}
    if unknown := set(uids) - set(built):
        sys.exit(f"no dashboard has the uid {', '.join(sorted(unknown))}; there are {', '.join(built)}")
    wanted = [built[uid] for uid in uids or built]
    pages: dict[str, tuple[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder, requests.Session() as session:
        if any(document["uid"] != CAPACITY for document in wanted):
            with fleet.watched(Path(folder), scrapes=SEEN_SECONDS) as seen:
                asked = Asked(seen.url, seen.at, session)
                for document in wanted:
                    if document["uid"] != CAPACITY:
                        pages[document["uid"]] = page(asked, document, SEEN_SECONDS)
        if any(document["uid"] == CAPACITY for document in wanted):
            past = Path(folder) / "past"
            past.mkdir()
            with history.history(past) as url:
                asked = Asked(url, history.NOW, session)
                pages[CAPACITY] = page(asked, built[CAPACITY], history.DAYS * history.DAY)
    FOLDER.mkdir(exist_ok=True)
    photograph(pages)


def page(asked: Asked, document: dict[str, Any], seconds: float) -> tuple[str, int]:
    """The dashboard as HTML, and its height in pixels."""
    variables = chosen(asked, document, SCENARIOS.get(document["uid"], FLEET)) or {}
    at = [f"{name}: {value}" for name, value in variables.items() if name not in ("datasource", "action_api")]
    told = ", ".join(at).replace(".*", "All")
    parts = [
        f"<h1>{escape(document['title'])}<small>preview drawn from query results, not a screenshot of Grafana · "
        f"{escape(told)}</small></h1>"
    ]
    top, below = 34, 0.0
    for panel in document["panels"]:
        place = panel["gridPos"]
        y = top + place["y"] * LINE
        below = max(below, y + place["h"] * LINE)
        if panel["type"] == "row":
            count = len(panel["panels"])
            inside = f" ({count} panel{'' if count == 1 else 's'}, closed)" if panel["collapsed"] else ""
            sign = "▸" if panel["collapsed"] else "▾"
            parts.append(f'<div class="row" style="top:{y}px">{sign} {escape(panel["title"])}{inside}</div>')
            continue
        width, height = int(place["w"] * COLUMN - GAP), place["h"] * LINE - GAP
        answered = Answered(
            panel, answers(asked, panel, variables, seconds), asked.at - seconds, asked.at, width, height - TITLE
        )
        box = f"left:{place['x'] * COLUMN + GAP / 2}px;top:{y}px;width:{width}px;height:{height}px"
        parts.append(f'<div class="panel" style="{box}"><b>{escape(panel["title"])}</b>{drawn(answered)}</div>')
    height = int(below) + GAP
    return f'<meta charset="utf-8"><style>{STYLE}</style><body style="height:{height}px">{"".join(parts)}', height


def answers(
    asked: Asked, panel: dict[str, Any], variables: dict[str, str], seconds: float
) -> dict[str, list[dict[str, Any]]]:
    """The series of each query of a panel, by refId."""
    found: dict[str, list[dict[str, Any]]] = {}
    for target in panel.get("targets", []):
        expr = resolved(target["expr"], variables)
        if target.get("instant"):
            found[target["refId"]] = asked.run(expr, instant=True)
        else:
            window = {"start": asked.at - seconds, "end": asked.at, "step": seconds / STEPS}
            found[target["refId"]] = list(asked.get("/api/v1/query_range", query=expr, **window)["result"])
    return found


def photograph(pages: dict[str, tuple[str, int]]) -> None:
    """Write docs/previews/<uid>.png of each page; ends with a message when one is too large."""
    few = palette()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, "--disable-lcd-text"])
        for uid, (html, height) in pages.items():
            view = browser.new_page(viewport={"width": WIDTH, "height": height})
            view.set_content(html)
            path = FOLDER / f"{uid}.png"
            picture = Image.open(io.BytesIO(view.screenshot())).convert("RGB")
            view.close()
            picture.quantize(palette=few, dither=Image.Dither.NONE).save(path, optimize=True)
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")
            if path.stat().st_size > MAX_BYTES:
                sys.exit(f"{path} is larger than {MAX_BYTES} bytes")
        browser.close()


def palette() -> Image.Image:
    """The colours that are used, each also as the edge of a letter on white: a fourth of the size of true colours."""
    used = ["#33363b", "#6b6f76", "#000000", *COLOURS.values(), *LINES]
    found = [ImageColor.getrgb(colour) for colour in ("#ffffff", "#eef0f2", "#d5d8dc", "#f6f7f8", "#e4e6e9")]
    for red, green, blue in (ImageColor.getrgb(colour)[:3] for colour in used):
        found += [
            (red + (255 - red) * step // STEPS_TO_WHITE, green + (255 - green) * step // STEPS_TO_WHITE,
             blue + (255 - blue) * step // STEPS_TO_WHITE)
            for step in range(STEPS_TO_WHITE)
        ]  # fmt: skip
    made = Image.new("P", (1, 1))
    made.putpalette([part for colour in dict.fromkeys(found) for part in colour])
    return made


if __name__ == "__main__":
    main(sys.argv[1:])
