"""The house layer over the Grafana Foundation SDK: one function per kind of panel, variable and link, and `build`.

The SDK is young (https://github.com/grafana/grafana-foundation-sdk) and leaves out what every panel needs. All that
knows it is in this file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    text,
    timeseries,
)
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

from grafana.source.board import Built, Column, Panel, Query, Row, Step
from grafana.source.finish import finished
from pvewatch.render.links import DEFAULT_PUBLIC_URL

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
UNITS = frozenset(value for name, value in vars(units).items() if name[0] != "_" and isinstance(value, str))
BY_THRESHOLD = dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS)
PLAIN: Sequence[Step] = ((None, "text"),)
DESCENDING = common.SortOrder.DESCENDING
NO_DATA = "no data: is the exporter down?"
TITLE = "Proxmox VE / "
# Three scrapes of the slowest figures (a node's details: every 60 s).
GAP_MILLISECONDS = 180_000


def _thresholds(steps: Sequence[Step]) -> Any:
    made = [models.Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(made)


def value_map(texts: dict[str, tuple[str, str]], null: tuple[str, str]) -> list[models.ValueMapping]:
    """Value → (text, colour), and what stands where there is no value."""
    named = {
        value: models.ValueMappingResult(text=label, color=color, index=index)
        for index, (value, (label, color)) in enumerate(texts.items())
    }
    nothing = models.ValueMappingResult(text=null[0], color=null[1], index=len(named))
    return [
        models.ValueMap(options=named),
        models.SpecialValueMap(
            options=models.DashboardSpecialValueMapOptions(match=models.SpecialValueMatch.NULL_AND_NAN, result=nothing)
        ),
    ]


def link(title: str, url: str, *, new_tab: bool = True) -> Any:
    """A data link; those to pages outside Grafana open in a tab of their own."""
    return dashboard.DashboardLink(title).url(url).target_blank(new_tab)


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
    links: Sequence[Any] = (),
    names: bool = False,
    no_value: str = NO_DATA,
    width: int = 4,
    height: int = 4,
) -> Panel:
    """Big figures; with several queries, or `names`, each shows its legend. `names` alone shows the legend only."""
    if names:
        text_mode = common.BigValueTextMode.NAME
    else:
        text_mode = common.BigValueTextMode.VALUE_AND_NAME if len(queries) > 1 else common.BigValueTextMode.VALUE
    builder = (
        stat.Panel()
        .text_mode(text_mode)
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
        .color_scheme(BY_THRESHOLD)
        .decimals(decimals)
    )
    if mappings:
        builder = builder.mappings(mappings)
    _field(builder, title, description, unit, no_value, maximum, links)
    return _panel(number, builder, queries, width, height, instant=True)


def time_panel(
    number: int,
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str,
    maximum: float | None = None,
    signed: bool = False,
    steps: Sequence[Step] | None = None,
    many: bool = False,
    links: Sequence[Any] = (),
    no_value: str = NO_DATA,
    width: int = 12,
    height: int = 8,
) -> Panel:
    """Lines over time. Gaps stay gaps. `many` puts the legend to the right as a table with the last and highest.
    `signed` figures go below zero; all others are drawn from 0.
    """
    shape, place = common.LegendDisplayMode.LIST, common.LegendPlacement.BOTTOM
    if many:
        shape, place = common.LegendDisplayMode.TABLE, common.LegendPlacement.RIGHT
    legend = common_builders.VizLegendOptions().show_legend(True).display_mode(shape).placement(place)
    legend = legend.calcs(["lastNotNull", "max"] if many else [])
    builder = (
        timeseries.Panel()
        .legend(legend)
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(DESCENDING))
        .span_nulls(False)
        .fill_opacity(5)
        .line_width(1)
        .show_points(common.VisibilityMode.AUTO)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    )
    if steps:
        line = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        builder = builder.thresholds(_thresholds(steps)).thresholds_style(line)
    _field(builder, title, description, unit, no_value, maximum, links, signed=signed)
    return _panel(number, builder, queries, width, height, instant=False)


def bar_panel(
    number: int,
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str,
    maximum: float | None,
    steps: Sequence[Step],
    decimals: int = 0,
    links: Sequence[Any] = (),
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
        .thresholds(_thresholds(steps))
        .color_scheme(BY_THRESHOLD)
        .decimals(decimals)
    )
    _field(builder, title, description, unit, no_value, maximum, links)
    return _panel(number, builder, queries, width, height, instant=True)


def state_panel(
    number: int,
    title: str,
    description: str,
    queries: Sequence[Query],
    mappings: Any,
    *,
    links: Sequence[Any] = (),
    no_value: str = NO_DATA,
    width: int = 24,
    height: int = 8,
) -> Panel:
    """A state timeline: one bar per series, its colour and text from `mappings` (`value_map`), gaps left open."""
    builder = (
        statetimeline.Panel()
        .legend(common_builders.VizLegendOptions().show_legend(False).display_mode(common.LegendDisplayMode.LIST))
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.SINGLE))
        .show_value(common.VisibilityMode.AUTO)
        .merge_values(True)
        .row_height(0.8)
        .fill_opacity(80)
        .line_width(0)
        .span_nulls(GAP_MILLISECONDS)
        .mappings(mappings)
        .thresholds(_thresholds(PLAIN))
        .color_scheme(BY_THRESHOLD)
    )
    _field(builder, title, description, "none", no_value, None, links)
    return _panel(number, builder, queries, width, height, instant=False)


def text_panel(number: int, title: str, description: str, markdown: str, *, width: int = 24, height: int = 3) -> Panel:
    """A short help in Markdown; no HTML."""
    builder = text.Panel().mode(TextMode.MARKDOWN).content(markdown).title(title).description(description)
    return _panel(number, builder, (), width, height, instant=True)


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
    """A table of instant queries, merged on the labels that all of them have. `hidden` columns are left out."""
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
        .color_scheme(BY_THRESHOLD)
        .thresholds(_thresholds(PLAIN))
    )
    for column in columns:
        properties = _column(column)
        if properties:
            builder = builder.override_by_name(column.heading, properties)
    _field(builder, title, description, None, no_value, None)
    may_lack = frozenset(column.source for column in columns if column.may_be_absent)
    return _panel(number, builder, queries, width, height, instant=True, as_table=True, may_lack=may_lack)


def _column(column: Column) -> list[models.DynamicConfigValue]:
    cell = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"} if column.bar else {"type": "color-text"}
    values = {
        "unit": column.unit,
        "decimals": column.decimals,
        "min": None if column.maximum is None else 0,
        "max": column.maximum,
        "thresholds": _thresholds(column.steps).build() if column.steps else None,
        "mappings": column.mappings,
        "custom.cellOptions": cell if column.bar or column.colored else None,
        "custom.width": column.width,
        "links": [made.build() for made in column.links] or None,
    }
    return [models.DynamicConfigValue(id_val=name, value=value) for name, value in values.items() if value is not None]


def _field(
    builder: Any,
    title: str,
    description: str,
    unit: str | None,
    no_value: str,
    maximum: float | None,
    links: Sequence[Any] = (),
    *,
    signed: bool = False,
) -> None:
    builder.title(title).description(description).datasource(DATASOURCE).no_value(no_value)
    if unit:
        builder.unit(unit)
        if not signed:
            builder.min(0)
    if maximum is not None:
        builder.max(maximum)
    if links:
        builder.data_links(list(links))


def query_variable(
    name: str, label: str, query: str, *, several: bool = False, all_value: str | None = None, regex: str = ""
) -> Any:
    """A variable read from Prometheus. `several` allows more than one value and All (`all_value`, or all of them)."""
    made = (
        dashboard.QueryVariable(name)
        .label(label)
        .query(query)
        .regex(regex)
        .datasource(DATASOURCE)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(several)
        .include_all(several)
    )
    if several:
        made = made.current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
        made = made.all_value(all_value) if all_value else made
    return made


def _panel(
    number: int,
    builder: Any,
    queries: Sequence[Query],
    width: int,
    height: int,
    *,
    instant: bool,
    as_table: bool = False,
    may_lack: frozenset[str] = frozenset(),
) -> Panel:
    targets = []
    for index, query in enumerate(queries):
        target = prometheus.Dataquery().expr(query.expr).ref_id(chr(ord("A") + index)).datasource(DATASOURCE)
        target = target.instant() if instant else target.range()
        target = target.format(PromQueryFormat.TABLE if as_table else PromQueryFormat.TIME_SERIES)
        targets.append(target.legend_format(query.legend) if query.legend else target)
    document = encoded(builder.id(number).targets(targets).build())
    return Panel(document, queries, width, height, may_lack)


def encoded(model: Any) -> Any:
    """An SDK model as plain lists and dicts."""
    return json.loads(json.dumps(model, cls=JSONEncoder))


def build(
    uid: str,
    title: str,
    topic: str,
    description: str,
    *,
    variables: Sequence[Any],
    rows: Sequence[Row],
    annotations: Sequence[dict[str, Any]] = (),
    history: str | None = None,
) -> Built:
    """Lay the rows out and finish the dashboard. The SDK's gaps are filled here, once for all panels.

    `uid` begins with pve-; `title` goes without the common beginning; `topic` is its second tag. The data source and
    the address of the action API are variables of every dashboard and need not be given. `history` ("90d") makes it
    one that looks back that far and does not refresh by itself.
    """
    base = (
        dashboard.Dashboard(TITLE + title)
        .uid(uid)
        .description(description)
        .tags(["pvewatch", topic])
        .timezone("browser")
        .time(f"now-{history or '6h'}", "now")
        .refresh("" if history else "1m")
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .variables(
            [
                dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
                *variables,
                dashboard.ConstantVariable("action_api").label("Action API").value(DEFAULT_PUBLIC_URL),
            ]
        )
        .links(
            [
                dashboard.DashboardLink("Proxmox VE")
                .type(models.DashboardLinkType.DASHBOARDS)
                .tags(["pvewatch"])
                .as_dropdown(True)
                .include_vars(True)
                .keep_time(True),
                dashboard.DashboardLink("Incidents and actions")
                .type(models.DashboardLinkType.LINK)
                .icon("external link")
                .tooltip("The pages of the action API")
                .url("${action_api:raw}/")
                .target_blank(True),
            ]
        )
    )
    headings = {
        row.number: encoded(dashboard.Row(row.title).collapsed(row.collapsed).id(row.number).build())
        for row in rows
        if row.title is not None
    }
    return finished(encoded(base.build()), rows, headings, list(annotations))
