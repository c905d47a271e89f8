"""Recorded parts of queries, for fleets of thousands of workers.

A query that reads every worker takes time in proportion to their number, at each point of a graph. Each `Part` is such
a part of one or several queries, with the series in which `prometheus/large-fleet-rules.yml` records it; `recorded`
replaces the parts of a query by their series.

Example:
    >>> from raymon import queries
    >>> recorded("sum(" + queries.query.rate(catalog.EPISODES, "run") + ")")
    'sum(run:ray_raymon_episodes:rate1m{run=~"$run"})'
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from raymon import catalog
from raymon.queries import flow, language, recorded_rules, run, verdicts, workers
from raymon.queries.query import RATE_INTERVAL, RUN, TOP, Query, over_range, rate

RATE_WINDOW: Final = "1m"
"""The window of the recorded rates."""
_EACH: Final = "run, worker"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of queries that is recorded.

    Attributes:
        series: Name of the recorded series: level, metric, operations.
        expression: The part as queries contain it, with Grafana's variables; its result has the label `run`.
        kept: What is recorded of it, as PromQL around `{}`: graphs of the worst workers need these alone.
    """

    series: str
    expression: str
    kept: str = "{}"

    def rule(self) -> dict[str, str]:
        """Return the recording rule, for every run, as Prometheus reads it."""
        expression = _replaced(self.expression, [part for part in RECORDED_FOR_ALERTS if part is not self])
        every_run = expression.replace(f"{RUN},", "").replace(f"{{{RUN}}}", "").replace(RATE_INTERVAL, RATE_WINDOW)
        return {"record": self.series, "expr": self.kept.replace("{}", every_run)}

    def replaced_in(self, expression: str) -> str:
        """Return a query's expression with the recorded series in place of the part.

        Where the part is taken over the dashboard's time range, as graphs do to choose their series, so is the series.
        """
        selector = f"{self.series}{{{RUN}}}"
        summary = "avg" if RATE_INTERVAL in self.expression else "last"
        expression = expression.replace(self.expression, selector)
        return expression.replace(over_range(self.expression), f"{summary}_over_time({selector}[$__range] @ end())")


def recorded(expression: str) -> str:
    """Return a query's expression with its parts replaced by the series that record them."""
    return _replaced(expression, (*RECORDED_FOR_ALERTS, *PARTS))


def _replaced(expression: str, parts: Iterable[Part]) -> str:
    for part in sorted(parts, key=lambda part: -len(part.expression)):
        expression = part.replaced_in(expression)
    return expression


def _series(level: str, metric: catalog.Metric, operations: str) -> str:
    return f"{level}:{metric.name.removesuffix('_total')}:{operations}"


def _rate(metric: catalog.Metric, *labels: str) -> Part:
    """Return the sum of a counter's rates by run and further labels."""
    level = "_".join(("run", *labels))
    return Part(_series(level, metric, f"rate{RATE_WINDOW}"), rate(metric, ", ".join(("run", *labels))))


def _worst(metric: catalog.Metric, operations: str, query: Query) -> Part:
    """Return the worst workers of each run, of a query that shows the worst of all."""
    order, inside = query.expression.removesuffix(")").split(f"({TOP}, ", 1)
    return Part(_series("run_worker", metric, operations), inside, f"{order} by (run) ({TOP}, {{}})")


def _of_shown(metric: catalog.Metric, operations: str, query: Query) -> Part:
    """Return a column of the table of workers, for the workers that another panel names."""
    kept = f"({{}}) and on ({_EACH}) {SHOWN_WORKERS}"
    return Part(_series("run_worker", metric, operations), query.expression, kept)


RECORDED_FOR_ALERTS: Final = (
    Part(recorded_rules.STEPS_RATE, rate(catalog.ENV_STEPS, "run")),
    Part(recorded_rules.TOKENS_RATE, rate(catalog.TOKENS, "run", 'direction="out"')),
    Part(recorded_rules.STEP_COST, workers.STEP_COST),
    Part(recorded_rules.TOKEN_COST, language.SECONDS_PER_TOKEN),
)
"""Parts that `prometheus/rules.yml` records."""
SHOWN_WORKERS: Final = "run_worker:ray_raymon_worker_shown:count"
"""A series for each worker that the panels of slow and silent workers name."""
_BY_PHASE: Final = _series("run_role_phase", catalog.WORKER_PHASE, f"rate{RATE_WINDOW}")
_BY_ROLE: Final = _series("run_role", catalog.ROLE, "count")
_SUMS: Final = (
    _rate(catalog.EPISODES),
    _rate(catalog.ROLLOUT_FAILURES, "exception"),
    _rate(catalog.EMPTY_ROLLOUTS),
    _rate(catalog.CPU_SECONDS),
    _rate(catalog.RECORDING_SECONDS),
    Part(_series("run", catalog.HEARTBEAT, "count"), flow.REPORTING.expression),
    Part(_series("run", catalog.HEARTBEAT, "count_workers"), flow.WORKERS_OF_RUN),
    Part(_series("run_role_activity", catalog.ACTIVITY, "sum"), run.ACTIVITIES_BY_ROLE),
    Part(_BY_PHASE, run.PHASES_BY_ROLE),
    Part(_series("run_state", catalog.WORKER_STATE, "count"), verdicts.STATES_OF_RUN),
)
_LANGUAGE_SUMS: Final = (
    _rate(catalog.TOKENS, "direction"),
    _rate(catalog.RESPONSES, "end"),
    _rate(catalog.TAIL_RESPONSES),
    _rate(catalog.GENERATION_LENGTH),
    Part(_series("run", catalog.GENERATION_LENGTH, f"tail_rate{RATE_WINDOW}"), language.TAIL_LENGTH),
    *(
        Part(_series("run", catalog.RESPONSE_LENGTH, f"p{percent}_max"), language.longest_response(percent))
        for percent in (50, 95, 99)
    ),
    Part(_BY_ROLE, language.WORKERS_BY_ROLE),
    Part(
        _series("run_role_phase", catalog.WORKER_PHASE, f"ratio_rate{RATE_WINDOW}"),
        language.PHASE_SHARES,
        # The role without its space; of workers that sample environments there is none.
        f'label_replace({_BY_PHASE}{{role!=""}}, "role", "$1", "role", "(.*) ")'
        f" / on (run, role) group_left () {_BY_ROLE}",
    ),
)
_WORST: Final = (
    _worst(catalog.ROLLOUT_SECONDS, f"topk{TOP}_relative_rate{RATE_WINDOW}", workers.STRAGGLING),
    _worst(catalog.ROLLOUT_LATENCY, f"topk{TOP}_p95", workers.SLOWEST),
    _worst(catalog.ENV_STEPS, f"bottomk{TOP}_rate{RATE_WINDOW}", workers.FEWEST_STEPS),
    _worst(catalog.PROGRESS, f"topk{TOP}_age", workers.LONGEST_SILENT),
)
_MORE_WORST: Final = (
    _worst(catalog.GENERATION_SECONDS, f"topk{TOP}_relative_rate{RATE_WINDOW}", language.TOKEN_COST),
    Part(
        _series("run_worker", catalog.POLICY_VERSION, f"topk{TOP}_lag"),
        language.LAG_OF_EACH,
        f"topk by (run) ({TOP}, {{}})",
    ),
    _worst(catalog.RESIDENT_MEMORY, f"topk{TOP}", flow.MEMORY),
    _worst(catalog.CPU_SECONDS, f"topk{TOP}_rate{RATE_WINDOW}", flow.CPU),
)
_SHOWN: Final = Part(SHOWN_WORKERS, f"count by ({_EACH}) ({' or '.join(f'{part.series}{{{RUN}}}' for part in _WORST)})")
_COLUMNS: Final = (
    _of_shown(catalog.PROGRESS, "age", workers.PROGRESS_AGE),
    _of_shown(catalog.HEARTBEAT, "age", workers.HEARTBEAT_AGE),
    _of_shown(catalog.ENV_STEPS, f"rate{RATE_WINDOW}", workers.STEPS),
    _of_shown(catalog.ROLLOUT_LATENCY, "p95", workers.LATENCY_P95),
    _of_shown(catalog.ROLLOUT_FAILURES, f"rate{RATE_WINDOW}", workers.FAILURES),
    _of_shown(catalog.WORKER_RESTARTS, "sum", workers.RESTARTS),
    _of_shown(catalog.POLICY_VERSION, "lag", workers.WORKER_LAG),
    _of_shown(catalog.RESIDENT_MEMORY, "max", workers.WORKER_MEMORY),
    _of_shown(catalog.ROLE, "max", workers.ROLE),
)
PARTS: Final = (*_SUMS, *_LANGUAGE_SUMS, *_WORST, *_MORE_WORST, _SHOWN, *_COLUMNS)
"""Parts that `prometheus/large-fleet-rules.yml` records, in the order of their evaluation."""
