"""`Query`, and the helpers that build its PromQL.

Counters are read only through `sum by (…) (rate(…))`, since Ray keeps the series of a killed process; gauges only
through an aggregation, since a restarted worker appears twice for some seconds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from raymon.catalog import DRIVER, ROLE, Metric

RUN: Final = 'run=~"$run"'
"""The first matcher of every query over raymon's own metrics."""
WORKER: Final = 'worker=~"$worker"'
WORKERS_ONLY: Final = f'worker!="{DRIVER}"'
SESSION: Final = 'SessionName=~"$session"'
"""Ray's own families have no label `run`: they are selected by the Ray session."""
RATE_INTERVAL: Final = "$__rate_interval"
TOP: Final = 10
"""Most series of a graph: more cannot be distinguished."""
_SELECTOR: Final = re.compile(r"(?P<selector>\w+\{[^}]*\})(?P<window>\[[^]]*\])?")


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression with title, unit and help.

    Example:
        >>> from raymon import queries
        >>> 'run=~"r1"' in queries.run.WORKERS_UP.fill(run="r1")
        True

    Attributes:
        title: What it shows, in a few words.
        unit: One of Grafana's unit ids.
        help: One sentence: how the number is computed and what it means.
        expression: PromQL with Grafana's variables `$run`, `$worker`, `$session` and `$__rate_interval`.
        legend: Grafana's legend format, by default one series per run; empty for a single number.
    """

    title: str
    unit: str
    help: str
    expression: str
    legend: str = "{{run}}"

    def fill(
        self, run: str = ".+", worker: str = ".+", session: str = ".+", rate_interval: str = "30s", window: str = "1h"
    ) -> str:
        """Return the expression with its variables replaced, for use outside Grafana.

        Args:
            run: Regular expression of the runs.
            worker: Regular expression of the workers.
            session: Regular expression of the Ray sessions.
            rate_interval: Window of the rates: at least four scrape intervals.
            window: Takes the place of the dashboard's time range.
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
    """Return a selector of a metric in the selected runs."""
    return f"{metric.name}{suffix}{{{','.join((RUN, *matchers))}}}"


def rate(metric: Metric, by: str, *matchers: str, suffix: str = "") -> str:
    """Return a counter's increase per second, summed by labels, so that a restarted worker does not show as a jump."""
    return f"sum by ({by}) ({each_rate(metric, *matchers, suffix=suffix)})"


def each_rate(metric: Metric, *matchers: str, suffix: str = "") -> str:
    """Return a counter's increase per second in each process: for sums over workers, which need no sum by worker."""
    return f"rate({of(metric, *matchers, suffix=suffix)}[{RATE_INTERVAL}])"


def latest(metric: Metric, by: str, *matchers: str) -> str:
    """Return a gauge; the larger value where a worker and its replacement are both exported."""
    return f"max by ({by}) ({of(metric, *matchers)})"


def age(metric: Metric, by: str, *matchers: str) -> str:
    """Return the seconds since a timestamp gauge."""
    return f"clamp_min(time() - {latest(metric, by, *matchers)}, 0)"


def coded(metric: Metric, by: str, label: str, values: tuple[str, ...], *matchers: str) -> str:
    """Return a gauge of states as one number: the position, from 1, of the current state in `values`."""
    states = (
        f"{position} * " + of(metric, *matchers, f'{label}="{value}"') for position, value in enumerate(values, 1)
    )
    return f"max by ({by}) ({' or '.join(states)})"


def role_of_each() -> str:
    """Return 1 for each worker that has another role than `env`, with the label `role`.

    One role each: two processes under one number, the new one and one that has just ended, would make a join fail.
    """
    return f"topk by (run, worker) (1, {latest(ROLE, 'run, worker, role')})"


def with_role(expression: str) -> str:
    """Return series of workers with their role and a space as label `role`; workers of the role `env` have none.

    A legend `{{role}}{{worker}}` then reads `reward 4`, and `4` in a run without roles. Of the other roles, series that
    are 0 are left out: their workers export phases and activities of environments, too.
    """
    return f"({_of_other_roles(expression)} or {_without_role(expression)})"


def sum_by_role(expression: str, label: str) -> str:
    """Return the sum of `with_role(expression)` by run, role and a label.

    Each part is summed before the two are joined, which takes two thirds of the time with thousands of workers.
    """
    parts = (f"sum by (run, role, {label}) ({part(expression)})" for part in (_of_other_roles, _without_role))
    return f"({' or '.join(parts)})"


def _of_other_roles(expression: str) -> str:
    named = f'label_join({role_of_each()}, "role", " ", "role", "none")'  # without a label `none`, it ends in the space
    return f"({expression} > 0) * on (run, worker) group_left (role) {named}"


def _without_role(expression: str) -> str:
    return f"{expression} unless on (run, worker) {role_of_each()}"


def largest_now(expression: str, number: int = TOP) -> str:
    """Return the largest series of the last moment, for panels that show one moment."""
    return f"topk({number}, {expression})"


def smallest_now(expression: str, number: int = TOP) -> str:
    """Return the smallest series of the last moment, for panels that show one moment."""
    return f"bottomk({number}, {expression})"


def top(expression: str, number: int = TOP) -> str:
    """Return the series that are largest over the whole time range, for graphs.

    `topk` alone picks other series at each step of a range, so that lines have gaps and more than `number` appear.
    """
    return f"({expression}) and topk({number}, {over_range(expression)})"


def of_top_runs(expression: str, order: str, number: int = 3) -> str:
    """Return the series of the runs for which `order`, one series per run, is largest over the whole time range."""
    return f"({expression}) and on (run) topk({number}, {over_range(order)})"


def of_top_workers(expression: str, order: str, number: int = 3) -> str:
    """Return the series of the workers for which `order`, one series per worker, is largest over the time range."""
    return f"({expression}) and on (run, worker) topk({number}, {over_range(order)})"


def over_range(expression: str) -> str:
    """Return the expression over the dashboard's time range: mean rates, and each gauge's last value."""

    def pinned(match: re.Match[str]) -> str:
        selector = f"{match['selector']}[$__range] @ end()"
        return selector if match["window"] else f"last_over_time({selector})"

    return _SELECTOR.sub(pinned, expression)


def share(metric: Metric, label: str, *matchers: str) -> str:
    """Return the shares, between 0 and 1, of a counter of seconds by one label."""
    parts = f"sum by ({label}) (rate({of(metric, *matchers)}[{RATE_INTERVAL}]))"
    whole = f"sum(rate({of(metric, *matchers)}[{RATE_INTERVAL}]))"
    return f"{parts} / ignoring({label}) group_left () {whole}"
