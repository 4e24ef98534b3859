"""The forecasts of the storage page on eight days of figures, which no simulated cluster lives to see.

Each expression stands in the committed dashboard; promtool runs it on written series, variables put in.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.source.panels import panels
from grafana.source.prove import resolved
from grafana.source.storage import storage
from pvewatch.stack import tools

GIB = 2**30
DAY_MINUTES = 24 * 60
LABELS = '{cluster="home", node="pve1", storage="local"}'
SHARED = '{cluster="home", storage="nas"}'
NOW = f"{8 * DAY_MINUTES}m"
TABLE = "Storages"
ANSWER = '{cluster="home", node="pve1", storage="local"}'


def expr(panel: str, query: str) -> str:
    targets = next(one["targets"] for one in panels(storage().document) if one["title"] == panel)
    found = next(target["expr"] for target in targets if target["refId"] == query)
    return resolved(found, {"cluster": ".*", "storage": ".*"})


def told(folder: Path, series: dict[str, str], asked: str, samples: list[dict[str, Any]]) -> str:
    """What promtool says of `asked` at NOW on these series of one point an hour; nothing when it is as expected."""
    path = folder / "forecast.yml"
    test = {
        "interval": "60m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": asked, "eval_time": NOW, "exp_samples": samples}],
    }
    path.write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}), encoding="utf-8")
    done = subprocess.run(
        [str(tools.find("promtool")), "test", "rules", str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def grown(hours: int, gib_an_hour: int, labels: str = LABELS) -> dict[str, str]:
    """A storage of 1000 GiB that holds 100 at first and grows for the last `hours` of eight days."""
    missing = 8 * 24 - hours
    start = f"_x{missing} " if missing else ""
    return {
        f"storage:pve_disk_usage_bytes:max{labels}": f"{start}{100 * GIB}+{gib_an_hour * GIB}x{hours}",
        f"storage:pve_disk_size_bytes:max{labels}": f"{start}{1000 * GIB}+0x{hours}",
    }


@pytest.mark.parametrize(
    ("panel", "query", "value"),
    [
        # 8 days at 1 GiB an hour: 292 GiB are used, 708 are left for as many hours.
        pytest.param(TABLE, "E", 24 * GIB, id="growth in a day"),
        pytest.param(TABLE, "F", 708 * 3600, id="full in"),
        pytest.param("Full in 30 days", "A", 1, id="more than full in 30 days"),
    ],
)
def test_a_storage_that_grows_is_forecast(tmp_path: Path, panel: str, query: str, value: float) -> None:
    assert told(tmp_path, grown(8 * 24, 1), expr(panel, query), [{"labels": ANSWER, "value": value}]) == ""


def test_a_storage_that_does_not_grow_is_never_full_and_stays_as_it_is(tmp_path: Path) -> None:
    series = grown(8 * 24, 0)
    assert told(tmp_path, series, expr(TABLE, "F"), []) == ""
    assert told(tmp_path, series, expr("Full soonest", "A"), []) == ""
    assert told(tmp_path, series, expr("Full in 30 days", "A"), [{"labels": ANSWER, "value": 0.1}]) == ""


def test_nothing_is_forecast_from_the_figures_of_a_few_hours(tmp_path: Path) -> None:
    for panel, query in ((TABLE, "E"), (TABLE, "F"), ("Full soonest", "A"), ("Full in 30 days", "A")):
        assert told(tmp_path, grown(5, 10), expr(panel, query), []) == ""


def test_a_month_is_not_forecast_from_the_figures_of_half_a_day(tmp_path: Path) -> None:
    series = grown(12, 10)
    assert told(tmp_path, series, expr("Full in 30 days", "A"), []) == ""
    assert told(tmp_path, series, expr(TABLE, "E"), [{"labels": ANSWER, "value": 240 * GIB}]) == ""


def test_a_shared_storage_is_on_all_nodes_and_the_soonest_is_shown(tmp_path: Path) -> None:
    both = grown(8 * 24, 1) | grown(8 * 24, 2, SHARED)
    # The shared one grows twice as fast: 516 GiB are left for half as many hours.
    assert told(tmp_path, both, expr("Full soonest", "A"), [{"labels": "{}", "value": 258 * 3600}]) == ""
    growth = [
        {"labels": ANSWER, "value": 24 * GIB},
        {"labels": '{cluster="home", node="all nodes", storage="nas"}', "value": 48 * GIB},
    ]
    assert told(tmp_path, both, expr(TABLE, "E"), growth) == ""
