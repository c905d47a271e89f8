"""From everything remembered to one view per run."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import median
from typing import Final

import numpy as np

from raymon import catalog
from raymon.catalog import DRIVER, Metric
from raymon.live.history import Ring, steady_growth
from raymon.live.memory import Memory, Process, Subject, field_of
from raymon.live.nodes import exporter_age, node_cpu, store_view
from raymon.live.workers import LONG_WINDOW_SECONDS, WINDOW_SECONDS, DriverSays, Rates, worker_view
from raymon.views import RunView, WorkerView

LIVE_SECONDS: Final = 30.0
MEMORY_WINDOW_SECONDS: Final = 9.0
DRIVER_MEMORY_WINDOW_SECONDS: Final = 15.0
RECENT_SECONDS: Final = 30.0
USUAL_SECONDS: Final = 300.0
RETURN_POINTS: Final = 200
_LEARNING: Final[Mapping[str, tuple[Metric, tuple[str, ...]]]] = {
    **{term: (catalog.LOSS, (term,)) for term in catalog.LOSS_TERMS},
    **{f"return_{name}": (catalog.FLEET_RETURN, (name,)) for name in ("mean", "min", "max")},
    "kl": (catalog.KL, ()),
    "policy_entropy": (catalog.ENTROPY, ()),
    "clip_ratio": (catalog.CLIP_RATIO, ()),
    "explained_variance": (catalog.EXPLAINED_VARIANCE, ()),
    "gradient_norm": (catalog.GRADIENT_NORM, ()),
    "learning_rate": (catalog.LEARNING_RATE, ()),
    "episode_length": (catalog.FLEET_LENGTH, ()),
}


def run_views(memory: Memory, rings: Mapping[str, Ring], now: float) -> tuple[RunView, ...]:
    """Return a view of every run that is not over at wall-clock `now`: live ones first, the newest first among them."""
    grouped: dict[str, dict[str, Subject]] = {}
    for (run, worker), subject in memory.subjects.items():
        if run in memory.heard:
            grouped.setdefault(run, {})[worker] = subject
    views = [_run_view(run, subjects, memory, rings.get(run, Ring()), now) for run, subjects in grouped.items()]
    return tuple(sorted(views, key=_order))


def _order(view: RunView) -> tuple[bool, float, float, str]:
    age = view.data_age_seconds
    live = age is not None and age < LIVE_SECONDS
    started = view.started_seconds_ago if view.started_seconds_ago is not None else float("inf")
    return (not live, started if live else (age if age is not None else float("inf")), started, view.run)


def _run_view(run: str, subjects: dict[str, Subject], memory: Memory, ring: Ring, now: float) -> RunView:
    driver_subject = subjects.get(DRIVER)
    process = driver_subject.newest() if driver_subject else None
    beats = {worker: _beat_age(subject.newest(), memory, now) for worker, subject in subjects.items()}
    known = [age for age in beats.values() if age is not None]
    data_age = min(known, default=None)
    report = report_seconds(subjects.values(), beats)
    driver_age = beats.get(DRIVER)
    rates = driver_rates(driver_subject, report) if driver_subject else {}
    driver = DriverSays(
        process,
        live=driver_age is not None and driver_age < LIVE_SECONDS,
        version=process.gauge(catalog.LEARNER_VERSION) if process else None,
        beat_age=driver_age,
        silent_seconds=max(3.0, 1.5 * (report or 0.0)),
        updates_per_second=rates.get(catalog.UPDATES.name, 0.0),
        age_before=_age_before(process, memory) if process else 0.0,
        recent=recent_events(driver_subject, catalog.WORKER_RESTARTS) if driver_subject else {},
    )
    views = [
        worker_view(subjects[worker], memory, driver, report, now)
        for worker in sorted((name for name in subjects if name != DRIVER), key=_number)
    ]
    slopes = ring.memory_slopes(MEMORY_WINDOW_SECONDS)
    workers = tuple(_with_growth(view, slopes.get(view.worker)) for view in _current(views, process))
    return RunView(
        run=run,
        driver_heartbeat_age_seconds=driver_age,
        data_age_seconds=data_age,
        exporter_age_seconds=exporter_age(memory, now),
        report_seconds=report,
        workers=workers,
        steps_per_second=_fleet_rate(workers, rates),
        usual_steps_per_second=_usual_rate(ring),
        recent_losses=recent_events(driver_subject, catalog.WORKER_LOSSES) if driver_subject else {},
        node_cpu_ratio=node_cpu(memory, now),
        store=store_view(memory, process, rates, ring, now),
        return_history=_return_history(ring),
        driver_rss_growth_bytes_per_second=driver_growth(ring),
        **(_driver_part(process, rates, memory, now) if process else {}),  # type: ignore[arg-type]  # fields by name
    )


def _driver_part(process: Process, rates: Rates, memory: Memory, now: float) -> dict[str, object]:
    def age(metric: Metric) -> float | None:
        moment = process.gauge(metric)
        return memory.clock.age(moment, process.node, now) if moment else None

    phases = {phase: rates.get(field_of(catalog.PHASE_SECONDS, phase), 0.0) for phase in catalog.DRIVER_PHASES}
    wall = sum(phases.values())
    batches = rates.get(catalog.INFERENCE_BATCHES.name)
    info, pid = _run_info(process), process.gauge(catalog.PROCESS_ID)
    return {
        **info,
        "state": _one_of(process, catalog.RUN_STATE, catalog.RUN_STATES),
        "last_update_age_seconds": age(catalog.LAST_UPDATE),
        "started_seconds_ago": age(catalog.RUN_START),
        "trained_steps_per_second": rates.get(field_of(catalog.FRAGMENT_STEPS, "trained")),
        "trained_steps": process.gauge(catalog.TRAINED_STEPS),
        "target_steps": process.gauge(catalog.TARGET_STEPS),
        "updates": process.counters.get(catalog.UPDATES.name),
        "updates_per_second": rates.get(catalog.UPDATES.name),
        "iteration_seconds": process.gauge(catalog.ITERATION_SECONDS),
        "phase_ratio": {phase: seconds / wall for phase, seconds in phases.items()} if wall > 0.0 else {},
        "policy_lag_mean": process.gauge(catalog.POLICY_LAG, "mean"),
        "policy_lag_max": process.gauge(catalog.POLICY_LAG, "max"),
        "workers_by_state": _counts(process),
        "dropped_per_second": {
            reason: rate
            for reason in catalog.DROP_REASONS
            if (rate := rates.get(field_of(catalog.FRAGMENTS_DROPPED, reason))) is not None
        },
        "received_per_second": rates.get(field_of(catalog.FRAGMENTS, "received")),
        "inference_batch_size": rates.get(catalog.INFERENCE_OBSERVATIONS.name, 0.0) / batches if batches else None,
        "actor_calls_per_second": rates.get(catalog.ACTOR_CALLS.name),
        "learning": _learning(process, rates),
        "driver_rss_bytes": process.gauge(catalog.RESIDENT_MEMORY),
        "driver_pid": None if pid is None else int(pid),
        "driver_node": process.node or None,
    }


def driver_rates(driver: Subject, report: float | None) -> Rates:
    """Return the growth per second of the driver's counters; over a longer window where iterations are long."""
    window = max(WINDOW_SECONDS, 3.0 * (report or 1.0))
    span = driver.growth(window)
    if span is not None and (driver.grown(span, catalog.UPDATES.name) or 0.0) < 2.0:
        span = driver.growth(LONG_WINDOW_SECONDS)
    if span is None:
        return {}
    return {name: grown / span[0] for name in driver.fields if (grown := driver.grown(span, name)) is not None}


def recent_events(driver: Subject, metric: Metric) -> dict[str, int]:
    """Return how often a counter of the driver grew within the last half minute, by the value of its first label."""
    span = driver.growth(RECENT_SECONDS)
    found: dict[str, int] = {}
    if span is None:
        return found
    for name in driver.fields:
        if name.startswith(metric.name + ":") and (grown := round(driver.grown(span, name) or 0.0)) > 0:
            label = name.split(":")[1]
            found[label] = found.get(label, 0) + grown
    return found


def report_seconds(subjects: Iterable[Subject], beats: Mapping[str, float | None]) -> float | None:
    """Return how often the run's processes export, as seen from their heartbeats; None until two were seen."""
    gaps = [
        gap
        for subject in subjects
        if (gap := subject.newest().beat_gap) is not None and (beats.get(subject.worker) or 0.0) < LIVE_SECONDS
    ]
    return min(30.0, max(0.5, median(gaps))) if gaps else None


def _current(views: list[WorkerView], driver: Process | None) -> list[WorkerView]:
    """Leave out the labels that only an earlier run of the same name had: no heartbeat, and more than are expected."""
    expected = driver.gauge(catalog.WORKERS, "expected") if driver else None
    beating = sum(view.heartbeat_age_seconds is not None for view in views)
    missing = len(views) if expected is None else max(0, int(expected) - beating)
    kept = []
    for view in views:
        if view.heartbeat_age_seconds is None:
            missing -= 1
        if view.heartbeat_age_seconds is not None or missing >= 0:
            kept.append(view)
    return kept


def _fleet_rate(workers: tuple[WorkerView, ...], rates: Rates) -> float | None:
    known = [worker.steps_per_second for worker in workers if worker.steps_per_second is not None]
    return sum(known) if known else rates.get(field_of(catalog.FRAGMENT_STEPS, "received"))


def _with_growth(view: WorkerView, growth: float | None) -> WorkerView:
    return view if growth is None else replace(view, rss_growth_bytes_per_second=growth)


def _beat_age(process: Process, memory: Memory, now: float) -> float | None:
    return None if process.beat is None else memory.clock.age(process.beat, process.node, now)


def _one_of(process: Process, metric: Metric, values: Iterable[str]) -> str | None:
    return next((value for value in values if (process.gauge(metric, value) or 0.0) > 0.5), None)


def _age_before(process: Process, memory: Memory) -> float:
    started = process.gauge(catalog.RUN_START)
    return memory.clock.age(started, process.node, process.first_seen) if started and process.round == 1 else 0.0


def _counts(process: Process) -> dict[str, int]:
    found = {state: process.gauge(catalog.WORKERS, state) for state in catalog.FLEET_STATES}
    return {state: int(count) for state, count in found.items() if count is not None}


def _run_info(process: Process) -> dict[str, str | None]:
    prefix = catalog.RUN_INFO.name + ":"
    told = next((key for key in reversed(process.gauges) if key.startswith(prefix)), None)
    if told is None:
        return {}
    values = told.removeprefix(prefix).split(":", len(catalog.RUN_INFO.labels) - 1)
    return {label: value or None for label, value in zip(catalog.RUN_INFO.labels, values, strict=False)}


def _learning(process: Process, rates: Rates) -> dict[str, float]:
    found = {term: process.gauge(metric, *values) for term, (metric, values) in _LEARNING.items()}
    learning = {term: value for term, value in found.items() if value is not None}
    learning["nonfinite_updates"] = process.counters.get(catalog.NONFINITE_UPDATES.name, 0.0)
    learning["nonfinite_updates_per_second"] = rates.get(catalog.NONFINITE_UPDATES.name, 0.0)
    return learning


def _usual_rate(ring: Ring) -> float | None:
    times, values = ring.recent("steps_per_second", USUAL_SECONDS)
    earlier = values[times < times[-1] - 15.0] if len(times) else values
    return float(np.median(earlier)) if len(earlier) >= 15 else None


def driver_growth(ring: Ring) -> float | None:
    """Return how many bytes a second the driver grows steadily; None while too little was seen."""
    times, memory = ring.recent("driver_rss_bytes", DRIVER_MEMORY_WINDOW_SECONDS)
    steady = steady_growth(times, memory[None], DRIVER_MEMORY_WINDOW_SECONDS)
    return None if steady is None else float(steady[0])


def _return_history(ring: Ring) -> tuple[tuple[float, float], ...]:
    times, values = ring.recent("return_mean", 1e9)
    step = max(1, len(times) // RETURN_POINTS)
    return tuple(zip(times[::step].tolist(), values[::step].tolist(), strict=True))


def _number(worker: str) -> tuple[int, str]:
    return (int(worker), "") if worker.isdecimal() and len(worker) < 10 else (10**9, worker)
