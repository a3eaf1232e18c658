"""Boards as Grafana's JSON, by its own SDK: layout, legends, colours and variables are decided here, once for all."""

import json
from collections.abc import Callable, Iterator

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from tools.dashboards.model import Board, Form, Panel, Query, Section, Variable

TAG = "turbospec"
HEIGHT = 8
NUMBER_HEIGHT = 4
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
EVERYTHING = ".*"
"""Value of All. The list of values, which Grafana would use, leaves out what has none: engines before any policy."""

HIDDEN = ("Time", "Value", "__name__", "instance", "job", "container", "endpoint")
"""Columns of a table of labels that say nothing about an engine."""

Drawn = timeseries.Panel | stat.Panel | statetimeline.Panel | table.Panel


def as_json(board: Board) -> str:
    """The file that Grafana imports; equal boards make equal text."""
    built = _dashboard(board).build()
    return json.dumps(built, cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _dashboard(board: Board) -> dashboard.Dashboard:
    made = (
        dashboard.Dashboard(board.title)
        .uid(f"turbospec-{board.name}")
        .description(board.description)
        .tags([TAG])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("TurboSpec")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for variable in board.variables:
        made.with_variable(_variable(variable))
    identifiers = iter(range(1, 1000))
    for section in board.sections:
        made.with_row(dashboard.Row(section.title).id(next(identifiers)))
        for panel in _panels(section, identifiers):
            made.with_panel(panel)
    return made


def _variable(variable: Variable) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(variable.name)
        .label(variable.title)
        .datasource(SOURCE)
        .query(f"label_values({variable.selector}, {variable.label})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(EVERYTHING)
        .current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _panels(section: Section, identifiers: Iterator[int]) -> Iterator[Drawn]:
    for panel in section.panels:
        drawn = _FORMS[panel.form](panel)
        drawn.id(next(identifiers)).title(panel.title).description(panel.description).unit(panel.unit)
        drawn.datasource(SOURCE).span(panel.width)
        drawn.height(NUMBER_HEIGHT if panel.form is Form.NUMBER else HEIGHT)
        for number, query in enumerate(panel.queries):
            drawn.with_target(_target(query, "ABCDEFGH"[number], panel.form))
        yield drawn


def _target(query: Query, reference: str, form: Form) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(reference).expr(query.expr).legend_format(query.legend)
    if form is Form.TABLE:
        return target.instant().format(PromQueryFormat.TABLE)
    return target.range()


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
        .calcs([])
    )


def _lines(_panel: Panel) -> timeseries.Panel:
    return (
        timeseries.Panel()
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
        .line_width(1)
        .show_points(common_models.VisibilityMode.NEVER)
        .axis_soft_min(0)
    )


def _stacked(panel: Panel) -> timeseries.Panel:
    return (
        _lines(panel)
        .fill_opacity(40)
        .stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))
    )


def _number(_panel: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .color_mode(common_models.BigValueColorMode.NONE)
        .graph_mode(common_models.BigValueGraphMode.AREA)
        .text_mode(common_models.BigValueTextMode.VALUE)
    )


def _states(_panel: Panel) -> statetimeline.Panel:
    return _timeline({"1": ("True", "green"), "0": ("False", "orange"), "-1": ("Unknown", "text")})


def _events(_panel: Panel) -> statetimeline.Panel:
    return _timeline({"1": ("yes", "blue")})


def _timeline(words: dict[str, tuple[str, str]]) -> statetimeline.Panel:
    results = {
        value: models.ValueMappingResult(text=text, color=color, index=number)
        for number, (value, (text, color)) in enumerate(words.items())
    }
    return (
        statetimeline.Panel()
        .legend(_legend())
        .mappings([models.ValueMap(options=results)])
        .merge_values(True)
        .show_value(common_models.VisibilityMode.NEVER)
        .row_height(0.8)
        .fill_opacity(70)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    )


def _table(_panel: Panel) -> table.Panel:
    hidden = models.DataTransformerConfig(
        id_val="organize", options={"excludeByName": dict.fromkeys(HIDDEN, True), "renameByName": {}}
    )
    return table.Panel().show_header(True).with_transformation(hidden)


_FORMS: dict[Form, Callable[[Panel], Drawn]] = {
    Form.LINES: _lines,
    Form.STACKED: _stacked,
    Form.NUMBER: _number,
    Form.STATES: _states,
    Form.EVENTS: _events,
    Form.TABLE: _table,
}
