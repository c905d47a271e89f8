"""Panels of Grafana dashboards as small dataclasses, drawn as the JSON that Grafana 9.4 and every later one read.

A panel takes title, description and unit from its first query, so that a number is explained the same everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from raymon import catalog
from raymon.queries import Query

Kind = Literal["stat", "timeseries", "table", "heatmap", "state-timeline", "bargauge", "gauge"]
Json = dict[str, Any]

DATASOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS: Final = 24
INSTANT: Final[tuple[Kind, ...]] = ("stat", "table", "bargauge", "gauge")
"""Panels that show the last moment only."""
MOST_POINTS: Final = 240
"""Points a series has on a graph at most, 15 s apart over an hour: with a thousand workers each one costs."""
GREEN: Final = "green"
YELLOW: Final = "#EAB839"
RED: Final = "red"

# One colour for each thing everywhere, apart for colour-blind eyes (Okabe and Ito 2008); white and grey wait.
COLOURS: Final[Mapping[str, str]] = {
    "environment": "#009E73",
    "inference": "#0072B2",
    "sending": "#CC79A7",
    "waiting": "#BBBBBB",
    "starting": "#F0E442",
    "sample": "#009E73",
    "transfer": "#CC79A7",
    "weights": "#F0E442",
    "learn": "#D55E00",
    "checkpoint": "#56B4E9",
    "log": "#E69F00",
    "other": "#777777",
    "received": "#0072B2",
    "trained": "#009E73",
    "dropped": "#D55E00",
}
_COLOURED: Final[Mapping[str, tuple[str, ...]]] = {
    "{{activity}}": catalog.ACTIVITIES,
    "{{phase}}": tuple(dict.fromkeys((*catalog.DRIVER_PHASES, *catalog.WORKER_PHASES))),
    "{{outcome}}": catalog.FRAGMENTS.values["outcome"],
}


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        kind: Grafana's panel type.
        queries: The first gives title, description and unit; a table has one column per query.
        width: Of the dashboard's 24 columns.
        height: In Grafana's units of 30 pixels and a gap.
        steps: Value to colour from which it holds, for stats, gauges and bar gauges.
        stacked: Whether a graph stacks its series.
        maximum: Upper end of the axis or gauge.
        title: Instead of the first query's.
        text: What a stat shows: the value or the series' name.
        empty: Why the panel has no data in a healthy run; empty when it always has. Shown instead of "No data".
    """

    kind: Kind
    queries: tuple[Query, ...]
    width: int = 8
    height: int = 8
    steps: tuple[tuple[float | None, str], ...] = ((None, GREEN),)
    stacked: bool = False
    maximum: float | None = None
    title: str = ""
    text: Literal["value", "name", "value_and_name"] = "value"
    empty: str = ""
    links: tuple[Json, ...] = ()

    def model(self, number: int, x: int, y: int) -> Json:
        """Return the panel's JSON at a place of the dashboard."""
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
        defaults: Json = {
            "color": {"mode": "palette-classic" if self.kind == "timeseries" else "thresholds"},
            "custom": self._custom(),
            "mappings": [],
            "noValue": self.empty or "no data",
            "thresholds": {"mode": "absolute", "steps": [{"color": c, "value": v} for v, c in self.steps]},
            "unit": self.queries[0].unit,
        }
        if self.maximum is not None:
            defaults |= {"min": 0, "max": self.maximum}
        if self.links:
            defaults["links"] = list(self.links)
        if self.kind == "state-timeline":
            defaults["color"] = {"mode": "fixed"}
            defaults["mappings"] = [{"type": "value", "options": {"0": {"text": " ", "color": "transparent"}}}]
        return defaults

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
        names = _COLOURED.get(self.queries[0].legend, ())
        return [
            {
                "matcher": {"id": "byName", "options": name},
                "properties": [{"id": "color", "value": {"fixedColor": COLOURS[name], "mode": "fixed"}}],
            }
            for name in names
        ]

    def _options(self) -> Json:
        reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        options: dict[str, Json] = {
            "stat": {
                "colorMode": "value",
                "graphMode": "none",
                "justifyMode": "auto",
                "orientation": "auto",
                "reduceOptions": reduced,
                "textMode": self.text,
            },
            "timeseries": {
                "legend": {"calcs": ["lastNotNull"], "displayMode": "list", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            },
            "heatmap": {
                "calculate": False,
                "cellGap": 1,
                "color": {"mode": "scheme", "scheme": "Viridis", "steps": 64, "reverse": False},
                "legend": {"show": True},
                "rowsFrame": {"layout": "le"},
                "tooltip": {"show": True, "mode": "single", "yHistogram": False},
                "yAxis": {"axisPlacement": "left", "reverse": False, "unit": self.queries[0].unit},
            },
            "state-timeline": {
                "alignValue": "left",
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
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
            },
            "gauge": {"reduceOptions": reduced, "showThresholdLabels": False, "showThresholdMarkers": True},
        }
        return options[self.kind]

    def _extra(self) -> Json:
        """Return further keys of the panel; a table has its transformations."""
        return {}
