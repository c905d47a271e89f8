"""`docs/metrics.md`: every metric with its kind, labels and meaning, and where it is shown."""

import re
from typing import Final

from generate.dashboards import DASHBOARDS
from raymon import catalog
from raymon.catalog import Metric, Source

_HEADINGS: dict[Source, str] = {
    "process": "Every process that records",
    "worker": "A worker: a process that samples",
    "driver": "The driver: the process that trains",
}


INTRODUCTION: Final = """\
<!-- Written by python -m generate from raymon/catalog.py; change that. -->
# Metric reference

Every family raymon records, under the name Prometheus stores. All carry the label `run`; those of workers and of
processes carry `worker` too: a small integer, kept over restarts, or `driver`. Ray adds labels of its own, of which
`WorkerId`, `NodeAddress` and `SessionName` are useful. Read counters through `sum by (…) (rate(…))` only: the series of
a process that is gone stays, flat, and its successor adds one.
"""
SERIES: Final = f"""\
## Series

A worker adds at most {catalog.series_of("worker")} series, a driver at most {catalog.series_of("driver")}; the
budgets are {catalog.SERIES_BUDGET["worker"]} and {catalog.SERIES_BUDGET["driver"]}, and the catalogue refuses to exceed
them. A worker whose rollouts fail adds one series per exception class, at most {catalog.MOST_FAILURE_CLASSES + 1}.
"""


def text() -> str:
    """Return the page."""
    shown = _shown()
    lines = [INTRODUCTION]
    for source, heading in _HEADINGS.items():
        lines += [f"## {heading}", "", "| Metric | Kind | Labels | Meaning | Shown on |", "|---|---|---|---|---|"]
        lines += [_row(metric, shown.get(metric.name, ())) for metric in catalog.of(source)]
        lines.append("")
    lines.append(SERIES)
    return "\n".join(lines)


def _row(metric: Metric, boards: tuple[str, ...]) -> str:
    labels = "<br>".join(_label(metric, label) for label in metric.labels)
    unit = f", {metric.unit}" if metric.unit else ""
    meaning = metric.help + (f" Present {metric.present}." if metric.present else "")
    return f"| `{metric.name}` | {metric.kind}{unit} | {labels} | {meaning} | {', '.join(boards)} |"


def _label(metric: Metric, label: str) -> str:
    values = metric.values.get(label)
    return f"`{label}`: {', '.join(values)}" if values else f"`{label}`"


def _shown() -> dict[str, tuple[str, ...]]:
    """Return the titles of the dashboards that show each family."""
    shown: dict[str, dict[str, None]] = {}
    for board in DASHBOARDS:
        for query in (query for panel in board.panels() for query in panel.queries):
            for name in re.findall(rf"{catalog.PREFIX}\w+", query.expression):
                family = name.removesuffix("_bucket")
                shown.setdefault(family, {})[board.title.removeprefix("raymon / ")] = None
    return {name: tuple(boards) for name, boards in shown.items()}
