"""What flows while a language model is trained: tokens, responses, groups, the buffer, synchronizations of weights.

A process reports only the families that it uses. Figures of a run are sums over its workers where any of them reports
the family, else the driver's: a controller that knows everything and workers that know their part are not added up.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from raymon import catalog
from raymon.catalog import Metric
from raymon.health.windows import LEAST_WINDOW_SECONDS
from raymon.live.memory import Memory
from raymon.live.rates import LONG_WINDOW_SECONDS, Rates
from raymon.live.subject import Interval, Process, Subject, key_of
from raymon.views import FlowView

NOTHING: Final = FlowView()
FEWEST_GROUPS: Final = 32
_QUANTILES: Final = {f"p{round(q * 100)}": str(q) for q in catalog.QUANTILES}
_FIRST: Final = tuple(
    key_of(metric, *(metric.values[label][0] for label in metric.labels))
    for metric in catalog.of("flow")
    if metric.kind == "counter"
)
"""One counter of each family: a process that counts in a family has this one."""


def process_flow(subject: Subject, rates: Rates, memory: Memory, now: float) -> FlowView:
    """Return what flows through one process at wall-clock `now`; `NOTHING` where it reports none of it."""
    process = subject.newest()
    if not any(key in process.counters for key in _FIRST) and process.gauge(catalog.BUFFER_DEPTH) is None:
        return NOTHING
    batches = subject.whole_growths(key_of(catalog.TOKENS, "out"), LEAST_WINDOW_SECONDS)
    syncs = rates.of(catalog.WEIGHT_SYNCS)
    since, between = _syncs(subject, process)
    moment = process.moment(catalog.BUFFER_OLDEST)
    lengths = {name: process.gauge(catalog.RESPONSE_LENGTH, value) for name, value in _QUANTILES.items()}
    return FlowView(
        tokens_per_second=_rates(catalog.TOKENS, rates),
        responses_per_second=_rates(catalog.RESPONSES, rates),
        response_length={name: value for name, value in lengths.items() if value is not None},
        generated_per_second=_recent(subject, batches, catalog.GENERATION_LENGTH),
        tail_responses_ratio=_tail_ratio(subject, batches),
        groups=_groups(subject),
        buffer_depth=process.gauge(catalog.BUFFER_DEPTH),
        buffer_capacity=process.gauge(catalog.BUFFER_CAPACITY) or None,
        buffer_oldest_age_seconds=memory.clock.age(moment, process.node, now) if moment else None,
        weight_syncs_per_second=syncs,
        weight_sync_seconds=(rates.of(catalog.WEIGHT_SYNC_SECONDS) or 0.0) / syncs if syncs else None,
        weight_sync_bytes=(rates.of(catalog.WEIGHT_SYNC_BYTES) or 0.0) / syncs if syncs else None,
        updates_since_sync=since,
        updates_between_syncs=between,
    )


def run_flow(workers: Sequence[FlowView], driver: FlowView) -> FlowView:
    """Return what flows through the workers of a run and its driver together."""
    flows = [flow for flow in (*workers, driver) if flow is not NOTHING]
    if not flows:
        return NOTHING
    of_workers = [flow for flow in workers if flow is not NOTHING]

    def summed(read: Callable[[FlowView], Mapping[str, float]]) -> dict[str, float]:
        parts = [read(flow) for flow in of_workers]
        counting = [part for part in parts if any(part.values())] or ([read(driver)] if read(driver) else parts)
        return {key: sum(part.get(key, 0.0) for part in counting) for part in counting for key in part}

    def total(read: Callable[[FlowView], float | None]) -> float | None:
        known = [value for flow in flows if (value := read(flow)) is not None]
        return sum(known) if known else None

    def largest(read: Callable[[FlowView], float | None]) -> float | None:
        return max((value for flow in flows if (value := read(flow)) is not None), default=None)

    lengths = {name: largest(lambda flow, name=name: flow.response_length.get(name)) for name in _QUANTILES}  # type: ignore[misc]
    return FlowView(
        tokens_per_second=summed(lambda flow: flow.tokens_per_second),
        responses_per_second=summed(lambda flow: flow.responses_per_second),
        response_length={name: length for name, length in lengths.items() if length is not None},
        generated_per_second=summed(lambda flow: flow.generated_per_second),
        tail_responses_ratio=largest(lambda flow: flow.tail_responses_ratio),
        groups=summed(lambda flow: flow.groups),
        buffer_depth=total(lambda flow: flow.buffer_depth),
        buffer_capacity=total(lambda flow: flow.buffer_capacity),
        buffer_oldest_age_seconds=largest(lambda flow: flow.buffer_oldest_age_seconds),
        weight_syncs_per_second=largest(lambda flow: flow.weight_syncs_per_second),
        weight_sync_seconds=largest(lambda flow: flow.weight_sync_seconds),
        weight_sync_bytes=largest(lambda flow: flow.weight_sync_bytes),
        updates_since_sync=largest(lambda flow: flow.updates_since_sync),
        updates_between_syncs=largest(lambda flow: flow.updates_between_syncs),
    )


def _rates(metric: Metric, rates: Rates) -> dict[str, float]:
    known = {value: rates.of(metric, value) for value in metric.values[metric.labels[0]]}
    return {value: rate for value, rate in known.items() if rate is not None}


def _recent(subject: Subject, span: Interval | None, metric: Metric) -> dict[str, float]:
    """Return the rates of a counter of batches by its one label over the last whole batches."""
    if span is None:
        return {}
    grown = {value: subject.grown(span, metric, value) for value in metric.values[metric.labels[0]]}
    return {value: number / span.seconds for value, number in grown.items() if number is not None}


def _groups(subject: Subject) -> dict[str, float]:
    """Return the groups of the last seconds by whether they have a signal; of the last minute where there are few."""
    counted: dict[str, float] = {}
    for window in (LEAST_WINDOW_SECONDS, LONG_WINDOW_SECONDS):
        span = subject.growth(window)
        if span is not None and sum(counted.values()) < FEWEST_GROUPS:
            grown = {signal: subject.grown(span, catalog.GROUPS, signal) for signal in catalog.GROUPS.values["signal"]}
            counted = {signal: number for signal, number in grown.items() if number is not None}
    return counted


def _tail_ratio(subject: Subject, span: Interval | None) -> float | None:
    """Return which share of the responses of the last whole batches were the last of their batch to end."""
    if span is None:
        return None
    responses = sum(subject.grown(span, catalog.RESPONSES, end) or 0.0 for end in catalog.RESPONSES.values["end"])
    return (subject.grown(span, catalog.TAIL_RESPONSES) or 0.0) / responses if responses else None


def _syncs(subject: Subject, process: Process) -> tuple[float | None, float | None]:
    """Return the updates since the last synchronization of weights, and the most between two; None if not known.

    Known of a process that counts both. If it synchronized none lately, all updates that were seen count: at least so
    many were made since.
    """
    syncs, updates = (subject.columns.get(key_of(metric)) for metric in (catalog.WEIGHT_SYNCS, catalog.UPDATES))
    if syncs is None or updates is None or not subject.points or not process.counter(catalog.WEIGHT_SYNCS):
        return None, None
    points = [(_at(totals, syncs), _at(totals, updates)) for _, totals in subject.points]
    at_syncs = [after[1] for before, after in pairwise(points) if after[0] > before[0]]
    between = max((after - before for before, after in pairwise(at_syncs)), default=None)
    return points[-1][1] - (at_syncs[-1] if at_syncs else points[0][1]), between


def _at(totals: Sequence[float], column: int) -> float:
    return totals[column] if column < len(totals) else 0.0
