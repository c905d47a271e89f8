"""What a query is, and the few words from which the PromQL of the book is put together.

Counters are read only through `sum by (…) (rate(…))`, since Ray keeps a killed process's series; gauges only through an
aggregation, since a restarted worker shows twice for some seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from raymon.catalog import DRIVER, Metric

RUN: Final = 'run=~"$run"'
"""The selection every query of ours begins with."""
WORKER: Final = 'worker=~"$worker"'
WORKERS_ONLY: Final = f'worker!="{DRIVER}"'
SESSION: Final = 'SessionName=~"$session"'
"""Ray's own families know no run: they are chosen by the Ray session."""
RATE_INTERVAL: Final = "$__rate_interval"
TOP: Final = 10
"""Series a graph shows at most: more cannot be told apart."""


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression with what a reader needs to understand its number.

    Example:
        >>> from raymon import queries
        >>> 'run=~"r1"' in queries.run.WORKERS_UP.fill(run="r1")
        True

    Attributes:
        title: What is shown, in a few words.
        unit: One of Grafana's unit ids.
        help: One sentence: how the number comes about and what it tells.
        expression: PromQL with Grafana's variables `$run`, `$worker`, `$session` and `$__rate_interval`.
        legend: Grafana's legend format; empty for a single number.
    """

    title: str
    unit: str
    help: str
    expression: str
    legend: str = ""

    def fill(
        self, run: str = ".+", worker: str = ".+", session: str = ".+", rate_interval: str = "30s", window: str = "1h"
    ) -> str:
        """Return the expression for use outside Grafana, each variable (a regular expression) put in.

        Args:
            run: Which runs.
            worker: Which workers.
            session: Which Ray sessions.
            rate_interval: Window of the rates: at least four scrape intervals.
            window: Stands for the dashboard's whole time range.
        """
        values = {
            "$__rate_interval": rate_interval,
            "$__range": window,
            "$session": session,
            "$worker": worker,
            "$run": run,
        }
        return substitute(self.expression, values)


def substitute(expression: str, values: Mapping[str, str]) -> str:
    """Return the expression with each variable replaced by its value, longer names first."""
    for name in sorted(values, key=len, reverse=True):
        expression = expression.replace(name, values[name])
    return expression


def of(metric: Metric, *matchers: str, suffix: str = "") -> str:
    """Return a selector of our family in the chosen runs."""
    return f"{metric.name}{suffix}{{{','.join((RUN, *matchers))}}}"


def rate(metric: Metric, by: str, *matchers: str, suffix: str = "") -> str:
    """Return a counter's increase per second, summed by labels (restarts of a worker then do not show as jumps)."""
    return f"sum by ({by}) (rate({of(metric, *matchers, suffix=suffix)}[{RATE_INTERVAL}]))"


def latest(metric: Metric, by: str, *matchers: str) -> str:
    """Return a gauge, the larger value where a worker and its successor are both still exported."""
    return f"max by ({by}) ({of(metric, *matchers)})"


def age(metric: Metric, by: str, *matchers: str) -> str:
    """Return the seconds since a moment that a gauge tells."""
    return f"clamp_min(time() - {latest(metric, by, *matchers)}, 0)"


def top(expression: str, number: int = TOP) -> str:
    """Return the largest few."""
    return f"topk({number}, {expression})"


def bottom(expression: str, number: int = TOP) -> str:
    """Return the smallest few."""
    return f"bottomk({number}, {expression})"


def share(metric: Metric, label: str, *matchers: str) -> str:
    """Return how a counter of seconds divides over one label, as shares of 1."""
    parts = f"sum by ({label}) (rate({of(metric, *matchers)}[{RATE_INTERVAL}]))"
    whole = f"sum(rate({of(metric, *matchers)}[{RATE_INTERVAL}]))"
    return f"{parts} / ignoring({label}) group_left () {whole}"
