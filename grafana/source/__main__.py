"""`python -m grafana.source`: write grafana/dashboards/*.json again."""

from __future__ import annotations

from pathlib import Path

from grafana.source.registry import dashboards
from pvewatch.render.documents import write

OUT = Path(__file__).resolve().parents[1] / "dashboards"

for built in dashboards():
    print(write(OUT / built.file_name, built.text()))
