"""A dashboard: rows of panels placed from left to right, variables, annotations and links, as Grafana's JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from generate.panel import COLUMNS, DATASOURCE, Json, Panel
from raymon import catalog
from raymon.queries.query import RATE_INTERVAL, RUN, of
from raymon.stack.files import TAG

SCHEMA_VERSION: Final = 37
"""Native to Grafana 9.4 and migrated forward by every later one."""
ANNOTATION_STEP: Final = "5s"
"""The scrape interval; Grafana joins marks that are at most one step apart, and widens the step of long ranges."""
RAY_DASHBOARD: Final = "rayDefaultDashboard"
"""The uid of Ray's own default dashboard."""


@dataclass(frozen=True, slots=True)
class Row:
    """A question and the panels that answer it; a collapsed row runs no query until it is opened."""

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard, written to `<uid>.json`."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Json, ...]

    def panels(self) -> Iterator[Panel]:
        """Yield the panels of all rows."""
        for row in self.rows:
            yield from row.panels

    def model(self) -> Json:
        """Return the classic dashboard JSON."""
        return {
            "uid": self.uid,
            "id": None,
            "title": self.title,
            "description": self.description,
            "tags": [TAG, "ray", "reinforcement-learning"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "10s",
            "time": {"from": "now-30m", "to": "now"},
            "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m", "15m"]},
            "timezone": "browser",
            "templating": {"list": list(self.variables)},
            "annotations": {"list": [_grafanas_own(), *_annotations()]},
            "links": _links(),
            "panels": _placed(self.rows),
        }

    def text(self) -> str:
        """Return the JSON as it is checked in."""
        return json.dumps(self.model(), indent=2, ensure_ascii=False) + "\n"


def datasource() -> Json:
    """Return the variable that gives every panel its data source."""
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {"selected": True, "text": "default", "value": "default"},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
    }


def choice(name: str, label: str, query: str, hide: int = 0, filtered: bool = False) -> Json:
    """Return a variable with values from a query; several can be selected, all are by default.

    Args:
        name: Its name in queries, without the dollar.
        label: Its name on the page.
        query: Grafana's `label_values(selector, label)`.
        hide: 2 hides it.
        filtered: Whether its values depend on another variable: then "All" means the listed values, not `.+`.
    """
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{name}"},
        "current": {"selected": True, "text": "All", "value": "$__all"},
        "allValue": None if filtered else ".+",
        "hide": hide,
        "includeAll": True,
        "multi": True,
        "options": [],
        "refresh": 2,
        "regex": "",
        "skipUrlSync": False,
        "sort": 3,
    }


ENGINES: Final = choice("engine", "Engine", f"label_values({catalog.RUN_INFO.name}, engine)")
RUNS: Final = choice("run", "Run", f'label_values({catalog.RUN_INFO.name}{{engine=~"$engine"}}, run)', filtered=True)
WORKERS: Final = choice(
    "worker",
    "Worker",
    f'label_values({catalog.HEARTBEAT.name}{{{RUN},worker!="{catalog.DRIVER}"}}, worker)',
)


def of_runs(*more: Json) -> tuple[Json, ...]:
    """Return the variables of a dashboard about runs."""
    return (datasource(), ENGINES, RUNS, *more)


def _grafanas_own() -> Json:
    return {
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
        "name": "Annotations & Alerts",
        "type": "dashboard",
    }


def _annotations() -> list[Json]:
    shared: Json = {"datasource": DATASOURCE, "enable": True, "step": ANNOTATION_STEP}
    return [
        {
            **shared,
            "name": "Training began",
            "expr": f"max by (run) ({of(catalog.RUN_START)}) * 1000",
            "iconColor": "blue",
            "tagKeys": "run",
            "textFormat": "{{run}}",
            "titleFormat": "Training began",
            "useValueForTime": "on",
        },
        {
            **shared,
            "name": "Worker lost",
            "expr": f"{_replaced_workers()} or {_given_up_workers()}",
            "iconColor": "red",
            "tagKeys": "run,worker,reason",
            "textFormat": "{{run}}: worker {{worker}} was lost ({{reason}})",
            "titleFormat": "Worker lost",
        },
    ]


def _replaced_workers() -> str:
    """Return the workers replaced just now; the first replacement begins a series, which increase() does not see."""
    by = "run, worker, reason"
    restarts = of(catalog.WORKER_RESTARTS)
    increased = f"sum by ({by}) (increase({restarts}[{RATE_INTERVAL}])) > 0"
    began = f"sum by ({by}) ({restarts}) unless sum by ({by}) ({restarts} offset {RATE_INTERVAL})"
    return f"{increased} or ({began})"


def _given_up_workers() -> str:
    """Return the workers that the driver gave up just now."""
    by, trouble = "run, worker", of(catalog.WORKER_TROUBLE, 'state="given_up"')
    began = f"max by ({by}) ({trouble}) == 1 unless max by ({by}) ({trouble} offset {RATE_INTERVAL}) == 1"
    return f'label_replace({began}, "reason", "given up", "", "")'


def _links() -> list[Json]:
    shared: Json = {"icon": "external link", "includeVars": True, "keepTime": True, "targetBlank": False}
    return [
        {
            **shared,
            "type": "dashboards",
            "title": "raymon",
            "tags": [TAG],
            "asDropdown": True,
            "tooltip": "",
            "url": "",
        },
        {
            **shared,
            "includeVars": False,
            "type": "link",
            "title": "Ray's own dashboard",
            "tags": [],
            "asDropdown": False,
            "tooltip": "Tasks, actors and resources of the whole cluster, from Ray itself",
            "url": f"/d/{RAY_DASHBOARD}",
        },
    ]


def link_to(uid: str, title: str, *variables: str) -> Json:
    """Return a link from a table cell that passes values of its row on.

    Args:
        uid: The dashboard to open.
        title: Text of the link.
        variables: Columns of the row that are variables of that dashboard.
    """
    encoded = {
        name: ":percentencode" if name == "run" else "" for name in variables
    }  # the name of a run can contain any character
    values = "".join(f"&var-{name}=${{__data.fields.{name}{how}}}" for name, how in encoded.items())
    return {
        "title": title,
        "url": f"/d/{uid}?${{datasource:queryparam}}{values}&${{__url_time_range}}",
        "targetBlank": False,
    }


def _placed(rows: Sequence[Row]) -> list[Json]:
    placed: list[Json] = []
    number, y = 1, 0
    for row in rows:
        header: Json = {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": row.collapsed,
            "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
            "panels": [],
        }
        number, y = number + 1, y + 1
        models, height = _in_lines(row.panels, number, y)
        number, y = number + len(models), y + (0 if row.collapsed else height)
        placed.append(header)
        if row.collapsed:
            header["panels"] = models
        else:
            placed.extend(models)
    return placed


def _in_lines(panels: Sequence[Panel], number: int, y: int) -> tuple[list[Json], int]:
    """Place panels in lines of 24 columns; return them with the height they take."""
    models: list[Json] = []
    x = height = taken = 0
    for panel in panels:
        if x + panel.width > COLUMNS:
            x, taken, height = 0, taken + height, 0
        models.append(panel.model(number + len(models), x, y + taken))
        x, height = x + panel.width, max(height, panel.height)
    return models, taken + height
