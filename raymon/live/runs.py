"""From everything remembered to one view per run."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Final

import numpy as np

from raymon import catalog
from raymon.catalog import DRIVER
from raymon.health.shares import SAMPLING_ROLES, of_language_model
from raymon.live import driver_view, node_views
from raymon.live.driver_view import LIVE_SECONDS, Driver
from raymon.live.flow_view import NOTHING, process_flow, run_flow
from raymon.live.history import Ring, steady_growth
from raymon.live.memory import Memory
from raymon.live.subject import Subject
from raymon.live.worker_view import worker_view
from raymon.views import FlowView, NodeView, RunView, WorkerView

MEMORY_WINDOW_SECONDS: Final = 9.0
MEMORY_EXPORTS: Final = 3.3
"""Each third of the window must hold an export."""
DRIVER_MEMORY_WINDOW_SECONDS: Final = 15.0
BUFFER_WINDOW_SECONDS: Final = 15.0
USUAL_SECONDS: Final = 300.0
RETURN_POINTS: Final = 200
UP_SECONDS: Final = 10.0
"""A worker counts as up, where its driver counts none, while its last heartbeat is not older than this."""
_log = logging.getLogger(__name__)


def run_views(memory: Memory, rings: Mapping[str, Ring], now: float) -> tuple[RunView, ...]:
    """Return a view of every run that is not over at wall-clock `now`: live ones first, the newest first among them."""
    grouped: dict[str, dict[str, Subject]] = {}
    for (run, worker), subject in memory.subjects.items():
        if run in memory.heard:
            grouped.setdefault(run, {})[worker] = subject
    nodes = node_views.node_views(memory, now)
    views = [
        _safe_view(run, subjects, memory, rings.get(run, Ring()), nodes, now)
        for run, subjects in grouped.items()
        if DRIVER in subjects or not memory.renamed(subjects.values())
    ]
    waiting, free = node_views.unplaced_seconds(memory, now), node_views.free_resources(memory, now)
    views = [
        replace(view, unplaced_seconds=waiting, free_resources=free, flow=_with_engines(view, memory, now))
        for view in views
    ]
    return tuple(sorted(views, key=_order))


def _with_engines(view: RunView, memory: Memory, now: float) -> FlowView:
    """Return what flows through a run, with the figures of the cluster's inference engines if it may use them."""
    if not of_language_model(view):
        return view.flow
    first, used = memory.engines.first_token_seconds(), memory.engines.cache_ratio(now)
    return replace(view.flow, first_token_seconds=first, cache_used_ratio=used)


def _order(view: RunView) -> tuple[bool, float, float, str]:
    age = view.data_age_seconds
    live = age is not None and age < LIVE_SECONDS
    started = view.started_seconds_ago if view.started_seconds_ago is not None else float("inf")
    return (not live, started if live else (age if age is not None else float("inf")), started, view.run)


def _safe_view(
    run: str, subjects: dict[str, Subject], memory: Memory, ring: Ring, nodes: Mapping[str, NodeView], now: float
) -> RunView:
    """Return the view of a run; an empty one if its numbers cannot be read, so that other runs are still shown."""
    try:
        return _run_view(run, subjects, memory, ring, nodes, now)
    except Exception as error:  # noqa: BLE001  # the numbers come from outside; a bad run is one bad card
        _log.warning("the numbers of run %r cannot be computed with", run, exc_info=True)
        return RunView(run=run, problem=type(error).__name__)


def _run_view(
    run: str, subjects: dict[str, Subject], memory: Memory, ring: Ring, nodes: Mapping[str, NodeView], now: float
) -> RunView:
    ages = {worker: memory.beat_age(subject.newest(), now) for worker, subject in subjects.items()}
    report = report_seconds(subjects.values(), ages)
    driver = driver_view.driver_of(subjects.get(DRIVER), memory, report, now)
    workers = _workers(subjects, memory, driver, ring, report, now)
    info = driver_view.run_info(driver)
    rates = driver.rates
    batches = rates.of(catalog.INFERENCE_BATCHES)
    pid = driver.gauge(catalog.PROCESS_ID)
    counts = driver_view.fleet_counts(driver)
    up = _workers_up(workers, driver, counts, report)
    return RunView(
        run=run,
        engine=info.get("engine"),
        algorithm=info.get("algorithm"),
        sampler=info.get("sampler"),
        environment=info.get("environment"),
        state=driver.process.label(catalog.RUN_STATE, catalog.RUN_STATES) if driver.process else None,
        driver_heartbeat_age_seconds=driver.beat_age,
        last_update_age_seconds=driver.age(memory, catalog.LAST_UPDATE, now),
        started_seconds_ago=driver.age(memory, catalog.RUN_START, now),
        steps_per_second=_fleet_rate(workers, driver),
        usual_steps_per_second=_usual_rate(ring, "steps_per_second"),
        usual_tokens_per_second=_usual_rate(ring, "tokens_out"),
        trained_steps_per_second=rates.of(catalog.FRAGMENT_STEPS, "trained"),
        trained_steps=driver.gauge(catalog.TRAINED_STEPS),
        target_steps=driver.gauge(catalog.TARGET_STEPS),
        updates=driver.counter(catalog.UPDATES),
        updates_per_second=rates.of(catalog.UPDATES),
        iteration_seconds=driver.gauge(catalog.ITERATION_SECONDS),
        phase_ratio=driver_view.phase_ratio(driver),
        phase=driver_view.current_phase(subjects.get(DRIVER)),
        policy_lag_mean=driver.gauge(catalog.POLICY_LAG, "mean"),
        policy_lag_max=driver.gauge(catalog.POLICY_LAG, "max"),
        workers=workers,
        workers_by_state={**counts, "up": up} if "up" in counts and up is not None else counts,
        workers_up=up,
        flow=_flow(subjects.get(DRIVER), workers, driver, memory, ring, now),
        recent_losses=driver.recent_losses,
        dropped_per_second=driver_view.rates_by(driver, catalog.FRAGMENTS_DROPPED, catalog.DROP_REASONS),
        received_per_second=rates.of(catalog.FRAGMENTS, "received"),
        inference_batch_size=(rates.of(catalog.INFERENCE_OBSERVATIONS) or 0.0) / batches if batches else None,
        actor_calls_per_second=rates.of(catalog.ACTOR_CALLS),
        learning=driver_view.learning(driver, workers),
        return_history=_return_history(ring),
        store=node_views.store_view(memory, driver, ring, now),
        node_cpu_ratio=node_views.node_cpu(memory, now),
        driver_rss_bytes=driver.gauge(catalog.RESIDENT_MEMORY),
        driver_rss_growth_bytes_per_second=driver_growth(ring, report),
        driver_pid=None if pid is None else int(pid),
        driver_node=(driver.process.node or None) if driver.process else None,
        drivers=driver_view.drivers_at_once(subjects.get(DRIVER), report, now),
        data_age_seconds=min((age for age in ages.values() if age is not None), default=None),
        exporter_age_seconds=node_views.exporter_age(memory, now),
        report_seconds=report,
        nodes=node_views.nodes_of_run(nodes, subjects.values(), memory, now),
    )


def _workers(
    subjects: Mapping[str, Subject], memory: Memory, driver: Driver, ring: Ring, report: float | None, now: float
) -> tuple[WorkerView, ...]:
    slopes = ring.memory_slopes(max(MEMORY_WINDOW_SECONDS, MEMORY_EXPORTS * (report or 0.0)))
    views = [
        worker_view(subjects[worker], memory, driver, report, slopes.get(worker), now)
        for worker in memory.courtesy.between(sorted((name for name in subjects if name != DRIVER), key=_number))
    ]
    return tuple(_current(views, driver))


def _flow(
    subject: Subject | None, workers: Sequence[WorkerView], driver: Driver, memory: Memory, ring: Ring, now: float
) -> FlowView:
    own = process_flow(subject, driver.rates, memory, now) if subject else NOTHING
    flow = run_flow([worker.flow for worker in workers], own)
    if flow.buffer_depth is None:
        return flow
    times, depths = ring.recent("buffer_depth", BUFFER_WINDOW_SECONDS)
    steady = steady_growth(times, depths[None], BUFFER_WINDOW_SECONDS)
    return replace(flow, buffer_growth_per_second=None if steady is None else float(steady[0]))


def _current(views: list[WorkerView], driver: Driver) -> list[WorkerView]:
    """Leave out the labels that only an earlier run of the same name had: no heartbeat, and more than are expected.

    Of processes that ran tasks and have ended idle, the last is shown only while there is no other worker.
    """
    lasting = [view for view in views if not view.ended_idle]
    ended = [view for view in views if view.ended_idle and view.heartbeat_age_seconds is not None]
    views = lasting or sorted(ended, key=lambda view: view.heartbeat_age_seconds or 0.0)[:1]
    expected = driver.gauge(catalog.WORKERS, "expected")
    beating = sum(view.heartbeat_age_seconds is not None for view in views)
    missing = len(views) if expected is None else max(0, int(expected) - beating)
    kept = []
    for view in views:
        if view.heartbeat_age_seconds is None:
            missing -= 1
        if view.heartbeat_age_seconds is not None or missing >= 0:
            kept.append(view)
    return kept


def _workers_up(
    workers: tuple[WorkerView, ...], driver: Driver, counts: Mapping[str, int], report: float | None
) -> int | None:
    """Return the workers that are up, from their heartbeats if the driver never reported any.

    Where more report than the driver expects, it expects those that sample: trainers and others are left out.
    """
    if driver.counts_workers():
        return counts.get("up")
    limit = max(UP_SECONDS, 3.0 * (report or 0.0))
    others = len(workers) > (counts.get("expected") or len(workers))
    ages = [worker.heartbeat_age_seconds for worker in workers if not others or worker.role in SAMPLING_ROLES]
    return sum(age is not None and age < limit for age in ages) if ages else counts.get("up")


def report_seconds(subjects: Iterable[Subject], ages: Mapping[str, float | None]) -> float | None:
    """Return how often the run's processes export, from the gaps of their heartbeats; None until two were seen."""
    gaps = [
        gap
        for subject in subjects
        if (gap := subject.newest().beat_gap) is not None and (ages.get(subject.worker) or 0.0) < LIVE_SECONDS
    ]
    return min(30.0, max(0.5, median(gaps))) if gaps else None


def driver_growth(ring: Ring, report: float | None) -> float | None:
    """Return how many bytes a second the driver grows steadily; None while too little was seen."""
    window = max(DRIVER_MEMORY_WINDOW_SECONDS, MEMORY_EXPORTS * (report or 0.0))
    times, memory = ring.recent("driver_rss_bytes", window)
    steady = steady_growth(times, memory[None], window)
    return None if steady is None else float(steady[0])


def _fleet_rate(workers: tuple[WorkerView, ...], driver: Driver) -> float | None:
    known = [worker.steps_per_second for worker in workers if worker.steps_per_second is not None]
    if not any(known) and len(known) < len(workers):  # those that are not known yet may do all of the work
        known = []
    if known or not driver.counter(catalog.FRAGMENT_STEPS, "received"):  # a loop of one's own may count none
        return sum(known) if known else None
    return driver.rates.of(catalog.FRAGMENT_STEPS, "received")


def _usual_rate(ring: Ring, series: str) -> float | None:
    times, values = ring.recent(series, USUAL_SECONDS)
    earlier = values[times < times[-1] - 15.0] if len(times) else values
    return float(np.median(earlier)) if len(earlier) >= 15 else None


def _return_history(ring: Ring) -> tuple[tuple[float, float], ...]:
    times, values = ring.recent("return_mean", 1e9)
    step = max(1, len(times) // RETURN_POINTS)
    return tuple(zip(times[::step].tolist(), values[::step].tolist(), strict=True))


def _number(worker: str) -> tuple[int, str]:
    return (int(worker), "") if worker.isdecimal() and len(worker) < 10 else (10**9, worker)
