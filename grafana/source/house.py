"""The house layer over the Grafana Foundation SDK: one function per kind of panel, and a finishing pass.

The SDK is young (https://github.com/grafana/grafana-foundation-sdk) and leaves out what every panel needs: ids, refIds,
legends. All that knows it is in this file. A dashboard is made of `Panel`s in rows; `build` lays them out on the
24-column grid and gives the finished JSON together with what each query is expected to return.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import bargauge, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
GRID_COLUMNS = 24
NO_DATA = "no data: is the exporter down?"

Step = tuple[float | None, str]


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query. `may_be_empty` says why an empty answer is right; None means that one is a fault."""

    expr: str
    legend: str = ""
    may_be_empty: str | None = None


@dataclass(slots=True)
class Panel:
    """A panel before it is laid out. `number` is its id in links and must never change or be used again."""

    number: int
    builder: Any
    queries: Sequence[Query]
    width: int
    height: int
    instant: bool
    as_table: bool = False
    may_lack: frozenset[str] = frozenset()


@dataclass(slots=True)
class Row:
    """Panels under one heading (None: no heading); a collapsed row asks nothing until it is opened."""

    panels: list[Panel]
    number: int = 0
    title: str | None = None
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """A finished dashboard: its JSON, and what its queries promise.

    `expectations`: (panel id, refId) → why that query may be empty, None if it may not. `may_lack`: panel id → the
    labels that not every answer has.
    """

    document: dict[str, Any]
    expectations: dict[tuple[int, str], str | None] = field(default_factory=dict)
    may_lack: dict[int, frozenset[str]] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """The name of the file it is committed under."""
        return f"{self.document['uid']}.json"

    def text(self) -> str:
        """The bytes of that file: sorted keys, two spaces, a final newline."""
        return json.dumps(self.document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def thresholds(steps: Sequence[Step]) -> Any:
    """Absolute thresholds; the first step has the value None."""
    made = [models.Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(made)


def value_map(texts: dict[str, tuple[str, str]], null: tuple[str, str]) -> list[models.ValueMapping]:
    """Value → (text, colour), and what stands where there is no value."""
    named = {
        value: models.ValueMappingResult(text=text, color=color, index=index)
        for index, (value, (text, color)) in enumerate(texts.items())
    }
    nothing = models.ValueMappingResult(text=null[0], color=null[1], index=len(named))
    return [
        models.ValueMap(options=named),
        models.SpecialValueMap(
            options=models.DashboardSpecialValueMapOptions(match=models.SpecialValueMatch.NULL_AND_NAN, result=nothing)
        ),
    ]


def link(title: str, url: str) -> Any:
    """A data link that opens in a new tab."""
    return dashboard.DashboardLink(title).url(url).target_blank(True)


def stat_panel(
    number: int,
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str = "none",
    decimals: int = 0,
    steps: Sequence[Step] = ((None, "blue"),),
    maximum: float | None = None,
    mappings: Any = None,
    no_value: str = NO_DATA,
    width: int = 4,
    height: int = 4,
) -> Panel:
    """Big figures; with several queries each shows its name."""
    text_mode = common.BigValueTextMode.VALUE_AND_NAME if len(queries) > 1 else common.BigValueTextMode.VALUE
    builder = (
        stat.Panel()
        .text_mode(text_mode)
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    )
    if mappings:
        builder = builder.mappings(mappings)
    _field(builder, title, description, unit, no_value, maximum)
    builder.decimals(decimals)
    return Panel(number, builder, queries, width, height, instant=True)


def time_panel(
    number: int,
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str,
    maximum: float | None = None,
    steps: Sequence[Step] | None = None,
    many: bool = False,
    no_value: str = NO_DATA,
    width: int = 12,
    height: int = 8,
) -> Panel:
    """Lines over time. Gaps stay gaps. `many` puts the legend to the right as a table with the last and highest."""
    legend = common_builders.VizLegendOptions().show_legend(True)
    if many:
        legend = legend.display_mode(common.LegendDisplayMode.TABLE).placement(common.LegendPlacement.RIGHT)
        legend = legend.calcs(["lastNotNull", "max"])
    else:
        legend = legend.display_mode(common.LegendDisplayMode.LIST).placement(common.LegendPlacement.BOTTOM).calcs([])
    builder = (
        timeseries.Panel()
        .legend(legend)
        .tooltip(
            common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
        .span_nulls(False)
        .fill_opacity(5)
        .line_width(1)
        .show_points(common.VisibilityMode.AUTO)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    )
    if steps:
        line = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        builder = builder.thresholds(thresholds(steps)).thresholds_style(line)
    _field(builder, title, description, unit, no_value, maximum)
    return Panel(number, builder, queries, width, height, instant=False)


def bar_panel(
    number: int,
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str,
    maximum: float,
    steps: Sequence[Step],
    width: int = 12,
    height: int = 8,
    no_value: str = NO_DATA,
) -> Panel:
    """One horizontal bar per series."""
    builder = (
        bargauge.Panel()
        .orientation(common.VizOrientation.HORIZONTAL)
        .display_mode(common.BarGaugeDisplayMode.BASIC)
        .show_unfilled(True)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .decimals(0)
    )
    _field(builder, title, description, unit, no_value, maximum)
    return Panel(number, builder, queries, width, height, instant=True)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: where it comes from, its heading, and how it looks.

    `may_be_absent` says why an answer may not have it; Grafana then shows the table without.
    """

    source: str
    heading: str
    unit: str | None = None
    decimals: int | None = None
    maximum: float | None = None
    steps: Sequence[Step] | None = None
    mappings: Any = None
    links: Sequence[Any] = ()
    width: int | None = None
    bar: bool = False
    colored: bool = False
    may_be_absent: str | None = None


def table_panel(
    number: int,
    title: str,
    description: str,
    queries: Sequence[Query],
    columns: Sequence[Column],
    *,
    sort_by: str,
    descending: bool = False,
    hidden: Sequence[str] = (),
    no_value: str = "not known",
    width: int = 24,
    height: int = 12,
) -> Panel:
    """A table of instant queries, merged on the labels that all of them have."""
    rename = {column.source: column.heading for column in columns}
    order = {column.source: index for index, column in enumerate(columns)}
    organize = {
        "excludeByName": dict.fromkeys(("Time", *hidden), True),
        "indexByName": order,
        "renameByName": rename,
    }
    sorting = common_builders.TableSortByFieldState().display_name(sort_by).desc(descending)
    builder = (
        table.Panel()
        .show_header(True)
        .cell_height(common.TableCellHeight.SM)
        .filterable(True)
        .sort_by([sorting])
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(models.DataTransformerConfig(id_val="organize", options=organize))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .thresholds(thresholds(((None, "text"),)))
    )
    for column in columns:
        properties = _column(column)
        if properties:
            builder = builder.override_by_name(column.heading, properties)
    _field(builder, title, description, None, no_value, None)
    may_lack = frozenset(column.source for column in columns if column.may_be_absent)
    return Panel(number, builder, queries, width, height, instant=True, as_table=True, may_lack=may_lack)


def _column(column: Column) -> list[models.DynamicConfigValue]:
    values: dict[str, Any] = {}
    if column.unit:
        values["unit"] = column.unit
    if column.decimals is not None:
        values["decimals"] = column.decimals
    if column.maximum is not None:
        values.update({"min": 0, "max": column.maximum})
    if column.steps:
        values["thresholds"] = thresholds(column.steps).build()
    if column.mappings:
        values["mappings"] = column.mappings
    if column.bar:
        values["custom.cellOptions"] = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
    if column.colored:
        values["custom.cellOptions"] = {"type": "color-text"}
    if column.width:
        values["custom.width"] = column.width
    if column.links:
        values["links"] = [made.build() for made in column.links]
    return [models.DynamicConfigValue(id_val=name, value=value) for name, value in values.items()]


def _field(builder: Any, title: str, description: str, unit: str | None, no_value: str, maximum: float | None) -> None:
    builder.title(title).description(description).datasource(DATASOURCE).no_value(no_value)
    if unit:
        builder.unit(unit).min(0)
    if maximum is not None:
        builder.max(maximum)


def _targets(panel: Panel) -> list[Any]:
    made = []
    for index, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).ref_id(chr(ord("A") + index)).datasource(DATASOURCE)
        target = target.instant() if panel.instant else target.range()
        target = target.format(PromQueryFormat.TABLE if panel.as_table else PromQueryFormat.TIME_SERIES)
        made.append(target.legend_format(query.legend) if query.legend else target)
    return made


def build(
    uid: str,
    title: str,
    description: str,
    tags: list[str],
    variables: Sequence[Any],
    annotations: list[dict[str, Any]],
    links: Sequence[Any],
    rows: Sequence[Row],
) -> Built:
    """Lay the rows out and finish the dashboard. The SDK's gaps are filled here, once for all panels."""
    base = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(tags)
        .timezone("browser")
        .time("now-6h", "now")
        .refresh("1m")
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .variables(list(variables))
        .links(list(links))
    )
    document = encoded(base.build())
    document["annotations"] = {"list": annotations}
    document["version"] = 1
    for variable in document["templating"]["list"]:
        for key in [name for name in variable if name.startswith("auto")]:
            del variable[key]
        if variable["type"] == "constant":
            variable["current"] = {"selected": True, "text": variable["query"], "value": variable["query"]}
            variable["options"] = [dict(variable["current"])]
        elif variable["type"] == "query":
            variable["definition"] = variable["query"]
    for entry in document["links"]:
        # The SDK hides them in a menu that older servers do not have.
        entry.pop("placement", None)
    expectations: dict[tuple[int, str], str | None] = {}
    document["panels"] = panels = []
    y = 0
    for row in rows:
        if row.title is not None:
            heading = encoded(dashboard.Row(row.title).collapsed(row.collapsed).id(row.number).build())
            heading["gridPos"] = {"h": 1, "w": GRID_COLUMNS, "x": 0, "y": y}
            heading["panels"] = []
            panels.append(heading)
            y += 1
        placed, bottom = _place(row.panels, y, expectations)
        (panels[-1]["panels"] if row.collapsed else panels).extend(placed)
        y = y if row.collapsed else bottom
    may_lack = {panel.number: panel.may_lack for row in rows for panel in row.panels if panel.may_lack}
    return Built(document, expectations, may_lack)


def _place(
    panels: Sequence[Panel], y: int, expectations: dict[tuple[int, str], str | None]
) -> tuple[list[dict[str, Any]], int]:
    """Panels from left to right, and on; returns their JSON and the first free line below them."""
    placed, x, line_height = [], 0, 0
    for panel in panels:
        if x + panel.width > GRID_COLUMNS:
            x, y, line_height = 0, y + line_height, 0
        document = encoded(panel.builder.id(panel.number).targets(_targets(panel)).build())
        document["gridPos"] = {"h": panel.height, "w": panel.width, "x": x, "y": y}
        placed.append(document)
        for target, query in zip(document["targets"], panel.queries, strict=True):
            expectations[(panel.number, target["refId"])] = query.may_be_empty
        x, line_height = x + panel.width, max(line_height, panel.height)
    return placed, y + line_height


def encoded(model: Any) -> Any:
    """An SDK model as plain lists and dicts."""
    return json.loads(json.dumps(model, cls=JSONEncoder))
