"""Panels of Grafana dashboards as small dataclasses, written as JSON that Grafana 9.4 and every later version reads.

A panel takes title, description and unit from its first query, so that a number is explained the same way everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from generate.colours import BLUE, BY_LEGEND, COLOURS, NEUTRAL, NO_VALUE, States, Steps, mapping, thresholds
from raymon.queries import Query

Kind = Literal["stat", "timeseries", "table", "heatmap", "state-timeline", "bargauge", "gauge"]
Json = dict[str, Any]

DATASOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS: Final = 24
INSTANT: Final[tuple[Kind, ...]] = ("stat", "table", "bargauge", "gauge")
"""Panels that show the last moment only."""
MOST_POINTS: Final = 240
"""Most points of a series on a graph, 15 s apart over an hour: with a thousand workers each point costs."""
PLAIN_SECONDS: Final = "suffix:s"
"""Seconds that do not turn into minutes: 500 s is a round tick, 8.33 min is not."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        kind: Grafana's panel type.
        queries: The first gives title, description and unit; a table has one column per query.
        width: Of the dashboard's 24 columns.
        height: In Grafana's units of 30 pixels and a gap.
        steps: Thresholds of stats, gauges and bar gauges; without them values have a neutral colour.
        series_steps: Thresholds of single series, by the series' name or by a `/pattern/` of it.
        stacked: Whether a graph stacks its series.
        maximum: Upper end of the axis or gauge.
        free_axis: Whether the axis of a graph follows the values, which may be negative or far from 0; otherwise it
            begins at 0, so that small changes do not look like cliffs.
        decimals: Digits after the decimal point; None leaves them to Grafana.
        title: Replaces the first query's.
        empty: Text of a panel without data; Grafana ignores it in a state timeline.
        states: Text and colour of each number, from 1 on, of a query that returns states as numbers.
        zero: Text of the number 0 of such a query.
        names: Text for the series names that are raw label values.
        legend: Place of a graph's legend; a table on the right has room for long names.
    """

    kind: Kind
    queries: tuple[Query, ...]
    width: int = 8
    height: int = 8
    steps: Steps = ()
    series_steps: Mapping[str, Steps] = field(default_factory=dict)
    stacked: bool = False
    maximum: float | None = None
    free_axis: bool = False
    decimals: int | None = None
    title: str = ""
    empty: str = ""
    states: States = ()
    zero: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    legend: Literal["bottom", "right"] = "bottom"

    def model(self, number: int, x: int, y: int) -> Json:
        """Return the panel's JSON at a position of the dashboard."""
        first = self.queries[0]
        return {
            "id": number,
            "type": self.kind,
            "title": self.title or first.title,
            "description": first.help,
            "datasource": DATASOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "targets": [self._target(query, ref) for query, ref in zip(self.queries, "ABCDEFGHIJ", strict=False)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": self._overrides()},
            "options": self._options(),
            "maxDataPoints": MOST_POINTS,
            **self._extra(),
        }

    @property
    def _instant(self) -> bool:
        return self.kind in INSTANT

    def _target(self, query: Query, ref: str) -> Json:
        shape = {"table": "table", "heatmap": "heatmap"}.get(self.kind, "time_series")
        return {
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": query.expression,
            "format": shape,
            "instant": self._instant,
            "range": not self._instant,
            "legendFormat": query.legend or "__auto",
            "refId": ref,
        }

    def _defaults(self) -> Json:
        neutral = BLUE if self.kind == "bargauge" else NEUTRAL
        defaults: Json = {
            "color": {"mode": "palette-classic" if self.kind == "timeseries" else "thresholds"},
            "custom": self._custom(),
            "mappings": self._mappings(),
            **({} if self.kind == "state-timeline" else {"noValue": self.empty or self._no_value()}),
            "thresholds": thresholds(self.steps or ((None, neutral),)),
            "unit": self._unit(),
        }
        if self._from_zero():
            defaults["min"] = 0
        if self.maximum is not None:
            defaults["max"] = self.maximum
        if self.decimals is not None:
            defaults["decimals"] = self.decimals
        return defaults

    def _unit(self) -> str:
        """Return the unit; graphs show plain seconds, since Grafana chooses ticks that are round in seconds."""
        unit = self.queries[0].unit
        return PLAIN_SECONDS if (self.kind, unit) == ("timeseries", "s") else unit

    def _no_value(self) -> str:
        return "no data"

    def _from_zero(self) -> bool:
        if self.kind == "bargauge" or self.maximum is not None:
            return True
        return self.kind == "timeseries" and not self.free_axis

    def _mappings(self) -> list[Json]:
        mappings = [mapping(self.states, self.zero)] if self.states else []
        return [*mappings, NO_VALUE] if self.kind in ("stat", "gauge", "bargauge") else mappings

    def _custom(self) -> Json:
        if self.kind == "timeseries":
            return {
                "drawStyle": "line",
                "fillOpacity": 70 if self.stacked else 8,
                "lineWidth": 0 if self.stacked else 2,
                "showPoints": "never",
                "spanNulls": False,
                "stacking": {"group": "A", "mode": "normal" if self.stacked else "none"},
            }
        if self.kind == "state-timeline":
            return {"fillOpacity": 80, "lineWidth": 0}
        return {}

    def _overrides(self) -> list[Json]:
        legend = self.queries[0].legend
        colours = {
            name: {"id": "color", "value": {"fixedColor": COLOURS[name], "mode": "fixed"}}
            for name in BY_LEGEND.get(legend, ())
        }
        texts = {name: {"id": "displayName", "value": text} for name, text in self.names.items()}
        steps = {name: {"id": "thresholds", "value": thresholds(steps)} for name, steps in self.series_steps.items()}
        return [
            {"matcher": _named(name, legend), "properties": [override]}
            for overrides in (colours, texts, steps)
            for name, override in overrides.items()
        ]

    def _text_mode(self) -> str:
        """Return what a stat shows: with several series also their names."""
        named = len(self.queries) > 1 or "{{" in self.queries[0].legend
        return "value_and_name" if named else "value"

    def _options(self) -> Json:
        reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        shape = "table" if self.legend == "right" else "list"
        legend = {"calcs": ["lastNotNull"], "displayMode": shape, "placement": self.legend, "showLegend": True}
        options: dict[str, Json] = {
            "stat": {
                "colorMode": "value",
                "graphMode": "none",
                "justifyMode": "auto",
                "orientation": "auto",
                "reduceOptions": reduced,
                "textMode": self._text_mode(),
            },
            "timeseries": {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}},
            "heatmap": {
                "calculate": False,
                "cellGap": 1,
                "color": {"mode": "scheme", "scheme": "Viridis", "steps": 64, "reverse": False},
                "legend": {"show": False},
                "rowsFrame": {"layout": "le"},
                "tooltip": {"show": True, "mode": "single", "yHistogram": False},
                "yAxis": {"axisPlacement": "left", "reverse": False, "unit": self.queries[0].unit},
            },
            "state-timeline": {
                "alignValue": "left",
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                "mergeValues": True,
                "rowHeight": 0.9,
                "showValue": "never",
                "tooltip": {"mode": "single", "sort": "none"},
            },
            "bargauge": {
                "displayMode": "basic",
                "orientation": "horizontal",
                "reduceOptions": reduced,
                "showUnfilled": True,
                "valueMode": "text",
            },
            "gauge": {"reduceOptions": reduced, "showThresholdLabels": False, "showThresholdMarkers": True},
        }
        return options[self.kind]

    def _extra(self) -> Json:
        """Return further keys of the panel; a table has its transformations."""
        return {}


def _named(name: str, legend: str) -> Json:
    """Return the matcher of a name or `/pattern/` of series; a legend that begins with a role has it before some."""
    if name.startswith("/"):
        return {"id": "byRegexp", "options": name}
    if legend.startswith("{{role}}"):
        return {"id": "byRegexp", "options": f"/^(\\w+ )?{name}$/"}
    return {"id": "byName", "options": name}
