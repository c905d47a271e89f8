"""From what is remembered of a worker to its view."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from raymon import catalog
from raymon.live.memory import Memory, Process, Span, Subject, field_of
from raymon.views import WorkerView

Rates = dict[str, float]

WINDOW_SECONDS: Final = 8.0
"""Rates are taken over the last eight seconds: steady enough to read, quick enough to name a fault within fifteen."""
LONG_WINDOW_SECONDS: Final = 60.0
FEWEST_ROLLOUTS: Final = 3.0
FEWEST_GROWTHS: Final = 8
"""So often must steps have been seen to grow before it is known how long they usually stand still."""
STEADY_SECONDS: Final = 3.0
"""Steps that never stand still for longer are counted as they are taken, not at the end of a rollout."""
_QUANTILES: Final = {f"p{round(q * 100)}": str(q) for q in catalog.QUANTILES}
_SETTLE_SECONDS: Final = 2.5
"""Before a worker has been watched that long, nothing is known of when it last waited."""


@dataclass(frozen=True, slots=True)
class DriverSays:
    """What the driver of a run knows of its workers; `process` is None when no driver reports.

    Attributes:
        age_before: How long it had been training when the first collection was made, in seconds.
        beat_age: Seconds since it wrote down its version.
        silent_seconds: From this age on what a worker wrote down is old because it is silent.
    """

    process: Process | None = None
    live: bool = False
    version: float | None = None
    beat_age: float | None = None
    silent_seconds: float = 3.0
    updates_per_second: float = 0.0
    recent: Mapping[str, int] = field(default_factory=dict)
    age_before: float = 0.0

    def lifecycle(self, worker: str) -> str | None:
        """Return `restarting`, `given_up` or `up`; None without a live driver."""
        if self.process is None:
            return None
        for state in ("given_up", "restarting"):
            if (self.process.gauge(catalog.WORKER_TROUBLE, worker, state) or 0.0) > 0.5:
                return state
        return "up" if self.live else None

    def lag_of(self, version: float | None, beat_age: float | None) -> float | None:
        """Return the updates a worker is behind, given its version and when it wrote that down.

        The two versions were written at different moments; the updates made between them are no lag, unless the worker
        has been silent since.
        """
        if self.version is None or version is None:
            return None
        between = 0.0
        if beat_age is not None and self.beat_age is not None and beat_age < self.silent_seconds:
            between = self.updates_per_second * (beat_age - self.beat_age)
        return max(0.0, round(self.version - version - between))

    def restarts(self, worker: str) -> dict[str, int]:
        """Return how often the worker was replaced, by reason."""
        counters = self.process.counters if self.process else {}
        found = {why: counters.get(field_of(catalog.WORKER_RESTARTS, worker, why), 0) for why in catalog.LOSS_REASONS}
        return {why: int(count) for why, count in found.items() if count > 0}


def worker_view(subject: Subject, memory: Memory, driver: DriverSays, report: float | None, now: float) -> WorkerView:
    """Return what is known of a worker at wall-clock `now`; `report` is the run's export interval."""
    process = subject.newest()
    clock, node = memory.clock, process.node
    beat_age = None if process.beat is None else clock.age(process.beat, node, now)
    progress = process.gauge(catalog.PROGRESS)
    progress_age = clock.age(progress, node, now) if progress else None
    window = max(WINDOW_SECONDS, 3.0 * (report or 1.0))
    silent = beat_age is None or beat_age > 2.0 * window
    rates: Rates = {} if silent else rates_of(subject, window, STEADY_SECONDS + (report or 0.0))
    version = process.gauge(catalog.POLICY_VERSION)
    latency = {name: process.gauge(catalog.ROLLOUT_LATENCY, value) for name, value in _QUANTILES.items()}
    pid = process.gauge(catalog.PROCESS_ID)
    return WorkerView(
        worker=subject.worker,
        activity=activity_of(process),
        heartbeat_age_seconds=beat_age,
        progress_age_seconds=progress_age,
        stuck_seconds=_stuck(subject, process, progress_age, now),
        exporter_age_seconds=memory.exporter_age(process.url, now),
        present=process.gauge_round == memory.round,
        lifecycle=driver.lifecycle(subject.worker),
        pid=int(pid) if pid is not None else None,
        node=node or None,
        steps_per_second=0.0 if silent and process.beat else rates.get(catalog.ENV_STEPS.name),
        rollouts_per_second=0.0 if silent and process.beat else rates.get(catalog.ROLLOUTS.name),
        latency_seconds={name: value for name, value in latency.items() if value is not None},
        mean_rollout_seconds=rates.get("mean_rollout_seconds"),
        rollout_steps=rates.get("rollout_steps"),
        step_seconds=rates.get("step_seconds"),
        longest_pause_seconds=rates.get("longest_pause_seconds"),
        phase_ratio={
            phase: min(1.0, ratio)
            for phase in catalog.WORKER_PHASES
            if (ratio := rates.get(field_of(catalog.WORKER_PHASE, phase))) is not None
        },
        episode_return=process.gauge(catalog.EPISODE_RETURN),
        policy_version=version,
        policy_lag=driver.lag_of(version, beat_age),
        restarts=driver.restarts(subject.worker),
        recent_restarts=driver.recent.get(subject.worker, 0),
        rss_bytes=process.gauge(catalog.RESIDENT_MEMORY),
        cpu_ratio=rates.get(catalog.CPU_SECONDS.name),
        seen_seconds=max(0.0, now - process.first_seen) + (driver.age_before if process.round == 1 else 0.0),
        log_id=process.worker_id or None,
    )


def rates_of(subject: Subject, window: float, steady_seconds: float) -> Rates:
    """Return every counter's growth per second, and the mean duration of a rollout, over about `window` seconds.

    Where rollouts are so long that the window holds fewer than three, it is widened: they are counted at their end. Not
    so steps, where they are counted as they are taken: they never stand still for as long as `steady_seconds`.
    """
    span = subject.growth(window)
    if span is None:
        return {}
    rollouts = _rollouts(subject, span)
    lately: Rates = {}
    if (subject.grown(span, catalog.ROLLOUTS.name) or 0.0) < FEWEST_ROLLOUTS:
        lately = _lately(subject, span, steady_seconds)
        longer = subject.growth(LONG_WINDOW_SECONDS) or span
        rollouts = _rollouts(subject, longer)
        if FEWEST_ROLLOUTS * rollouts.get("mean_rollout_seconds", 0.0) > window:
            span = longer
    found = {name: grown / span[0] for name in subject.fields if (grown := subject.grown(span, name)) is not None}
    return {**found, **_steps(subject, span), **rollouts, **lately}


def _rollouts(subject: Subject, span: Span) -> Rates:
    """Return the mean duration of a span's rollouts and the steps in one; nothing when none ended."""
    count = subject.grown(span, catalog.ROLLOUTS.name)
    if not count:
        return {}
    seconds, steps = (
        subject.grown(span, metric.name) or 0.0 for metric in (catalog.ROLLOUT_SECONDS, catalog.ENV_STEPS)
    )
    return {"mean_rollout_seconds": seconds / count, "rollout_steps": steps / count}


def _lately(subject: Subject, span: Span, steady_seconds: float) -> Rates:
    """Return for how long steps stood still at most, and of a span what they tell where that is not long."""
    pause = subject.longest_pause(FEWEST_GROWTHS)
    if pause is None:
        return {}
    return {"longest_pause_seconds": pause, **(_steps(subject, span) if pause < steady_seconds else {})}


def _steps(subject: Subject, span: Span) -> Rates:
    """Return the steps per second of a span and the seconds in rollouts that one took; nothing when none was taken."""
    steps = subject.grown(span, catalog.ENV_STEPS.name)
    if not steps:
        return {}
    return {
        catalog.ENV_STEPS.name: steps / span[0],
        "step_seconds": (subject.grown(span, catalog.ROLLOUT_SECONDS.name) or 0.0) / steps,
    }


def activity_of(process: Process) -> str | None:
    """Return what the worker last said it was doing."""
    for name in catalog.ACTIVITIES:
        if (process.gauge(catalog.ACTIVITY, name) or 0.0) > 0.5:
            return name
    return None


def _stuck(subject: Subject, process: Process, progress_age: float | None, now: float) -> float | None:
    watched = now - process.first_seen
    if watched < _SETTLE_SECONDS:
        return None
    ages = [watched if progress_age is None else progress_age]
    if subject.idle_at:
        ages.append(now - subject.idle_at)
    return max(0.0, min(ages))
