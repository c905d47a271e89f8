"""From what is remembered of a run's driver to its part of the view."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from raymon import catalog
from raymon.catalog import Metric
from raymon.live.memory import Memory
from raymon.live.rates import Rates, driver_rates
from raymon.live.subject import Interval, Process, Subject
from raymon.views import WorkerView

LIVE_SECONDS: Final = 30.0
RECENT_SECONDS: Final = 30.0
_LATE_SECONDS: Final = 3.0
TOGETHER_SECONDS: Final = 15.0
"""Two drivers that both report for so long are two runs; one that is started again outlasts its end by less."""
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
LEARNING_TERMS: Final = (*_LEARNING, "nonfinite_updates", "nonfinite_updates_per_second")


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver of a run at one moment; every part is empty when no driver reports.

    Attributes:
        live: Whether its heartbeat is recent.
        beat_age: Seconds since it last wrote its numbers.
        version: Version of its policy.
        age_before: How long it had been training at the first collection, in seconds.
        silent_seconds: A worker's numbers older than this are old because the worker is silent.
        restarts: Reason to number, by worker.
        recent_restarts: Replacements within the last half minute, by worker.
        recent_losses: Workers lost within the last half minute, by reason.
    """

    process: Process | None = None
    rates: Rates = field(default_factory=Rates)
    live: bool = False
    beat_age: float | None = None
    version: float | None = None
    age_before: float = 0.0
    silent_seconds: float = 3.0
    restarts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    recent_restarts: Mapping[str, int] = field(default_factory=dict)
    recent_losses: Mapping[str, int] = field(default_factory=dict)

    def gauge(self, metric: Metric, *values: str) -> float | None:
        """Return the last value of a gauge; None if it is not known."""
        return self.process.gauge(metric, *values) if self.process else None

    def counter(self, metric: Metric, *values: str) -> float | None:
        """Return the last value of a counter; None if it is not known."""
        return self.process.counter(metric, *values) if self.process else None

    def age(self, memory: Memory, metric: Metric, now: float) -> float | None:
        """Return the age of the moment in a gauge; None if it is not known or 0."""
        moment = self.process.moment(metric) if self.process else None
        return memory.clock.age(moment, self.process.node, now) if self.process and moment else None

    def lifecycle(self, worker: str) -> str | None:
        """Return `restarting`, `given_up` or `up`; None without a live driver."""
        if self.process is None:
            return None
        for state in ("given_up", "restarting"):
            if (self.process.gauge(catalog.WORKER_TROUBLE, worker, state) or 0.0) > 0.5:
                return state
        return "up" if self.live else None

    def policy_lag(self, version: float | None, beat_age: float | None) -> float | None:
        """Return by how many updates a worker is behind, from its version and the age of that number.

        Driver and worker write their versions at different moments; updates made between them are no lag, unless the
        worker has been silent since.
        """
        if self.version is None or version is None:
            return None
        between = 0.0
        if beat_age is not None and self.beat_age is not None and beat_age < self.silent_seconds:
            between = (self.rates.of(catalog.UPDATES) or 0.0) * (beat_age - self.beat_age)
        return float(max(0.0, round(self.version - version - between)))

    def counts_workers(self) -> bool:
        """Return whether it ever reported a worker: as up, lost or by a fragment that it received."""
        counted = (self.gauge(catalog.WORKERS, "up"), self.counter(catalog.FRAGMENTS, "received"))
        losses = (self.counter(catalog.WORKER_LOSSES, reason) for reason in catalog.LOSS_REASONS)
        return any(number for number in (*counted, *losses))


def driver_of(subject: Subject | None, memory: Memory, report: float | None, now: float) -> Driver:
    """Return the driver of a run at `now`; `report` is the run's export interval."""
    if subject is None:
        return Driver()
    process = subject.newest()
    age = memory.beat_age(process, now)
    started = process.moment(catalog.RUN_START)
    seen_first = process.round == 1 and started
    return Driver(
        process,
        rates=driver_rates(subject, report),
        live=age is not None and age < LIVE_SECONDS,
        beat_age=age,
        version=process.gauge(catalog.LEARNER_VERSION),
        age_before=memory.clock.age(started, process.node, process.first_seen) if started and seen_first else 0.0,
        silent_seconds=max(3.0, 1.5 * (report or 0.0)),
        restarts=_restarts(process),
        recent_restarts=recent_events(subject, catalog.WORKER_RESTARTS),
        recent_losses=recent_events(subject, catalog.WORKER_LOSSES),
    )


def drivers_at_once(subject: Subject | None, report: float | None, now: float) -> tuple[tuple[str, int], ...]:
    """Return node address and process id of each driver of a run, where several have reported for a while; else none.

    One that says that its run has ended does not count, nor does one whose heartbeat stands still.
    """
    if subject is None or len(subject.processes) < 2:
        return ()
    gap = 3.0 * (report or 1.0)
    reporting = [
        process
        for process in subject.processes.values()
        if process.beat is not None
        and now - process.beat_seen < _LATE_SECONDS + gap
        and process.label(catalog.RUN_STATE, catalog.RUN_STATES) not in ("finished", "stopped", "failed")
    ]
    if len(reporting) < 2:
        return ()
    since = sorted(process.first_seen for process in reporting)[1]
    lasting = [process for process in reporting if process.beat_seen - since > max(TOGETHER_SECONDS, gap)]
    pids = [(process.node, int(process.gauge(catalog.PROCESS_ID) or 0)) for process in lasting]
    return tuple(sorted(pids)) if len(pids) > 1 else ()


def _restarts(process: Process) -> Mapping[str, Mapping[str, int]]:
    restarts: dict[str, dict[str, int]] = {}
    for key, count in process.counters.items():
        if key[0] == catalog.WORKER_RESTARTS.name and count > 0.0:
            _, worker, reason = key
            restarts.setdefault(worker, {})[reason] = int(count)
    return restarts


def recent_events(driver: Subject, metric: Metric) -> Mapping[str, int]:
    """Return how often a counter of the driver grew within the last half minute, by the value of its first label."""
    span = driver.growth(RECENT_SECONDS)
    events: dict[str, int] = {}
    if span is None:
        return events
    for key in driver.columns:
        if key[0] == metric.name and (grown := round(driver.grown(span, metric, *key[1:]) or 0.0)) > 0:
            events[key[1]] = events.get(key[1], 0) + grown
    return events


def run_info(driver: Driver) -> Mapping[str, str | None]:
    """Return engine, algorithm, sampler and environment; empty while not known."""
    gauges = driver.process.gauges if driver.process else {}
    newest = next((key for key in reversed(gauges) if key[0] == catalog.RUN_INFO.name), None)
    if newest is None:
        return {}
    return {label: value or None for label, value in zip(catalog.RUN_INFO.labels, newest[1:], strict=True)}


def phase_ratio(driver: Driver) -> Mapping[str, float]:
    """Return each phase's share of the driver's wall time; empty while not known."""
    phases = {phase: driver.rates.of(catalog.PHASE_SECONDS, phase) or 0.0 for phase in catalog.DRIVER_PHASES}
    for phase in catalog.LANGUAGE_PHASES:
        if seconds := driver.rates.of(catalog.PHASE_SECONDS, phase):
            phases[phase] = seconds
    wall = sum(phases.values())
    return {phase: seconds / wall for phase, seconds in phases.items()} if wall > 0.0 else {}


def current_phase(subject: Subject | None) -> str | None:
    """Return the phase that took most of the driver's time between its last two exports; None while not known."""
    if subject is None or len(subject.points) < 2:
        return None
    (began, before), (ended, after) = subject.points[-2], subject.points[-1]
    span = Interval(ended - began, before, after)
    grown = {
        phase: subject.grown(span, catalog.PHASE_SECONDS, phase) or 0.0
        for phase in catalog.PHASE_SECONDS.values["phase"]
    }
    phase = max(grown, key=grown.__getitem__)
    return phase if grown[phase] > 0.0 else None


def rates_by(driver: Driver, metric: Metric, values: Iterable[str]) -> Mapping[str, float]:
    """Return the rates of a counter by the value of its label, those not known left out."""
    rates = {value: driver.rates.of(metric, value) for value in values}
    return {value: rate for value, rate in rates.items() if rate is not None}


def fleet_counts(driver: Driver) -> Mapping[str, int]:
    """Return the number of workers in each state, as the driver counts them."""
    counts = {state: driver.gauge(catalog.WORKERS, state) for state in catalog.FLEET_STATES}
    return {state: int(count) for state, count in counts.items() if count is not None}


def learning(driver: Driver, workers: Sequence[WorkerView]) -> Mapping[str, float]:
    """Return the last value of every learning curve; the mean return is that of the workers if the driver lacks it."""
    returns = [each.episode_return for each in workers if each.present and each.episode_return is not None]
    finite = [value / len(returns) for value in returns if math.isfinite(value)]  # of a foreign page: no sum overflows
    own = {"return_mean": math.fsum(finite) * (len(returns) / len(finite))} if finite else {}
    if driver.process is None:
        return own
    last = {term: driver.gauge(metric, *values) for term, (metric, values) in _LEARNING.items()}
    return {
        **own,
        **{term: value for term, value in last.items() if value is not None},
        "nonfinite_updates": driver.counter(catalog.NONFINITE_UPDATES) or 0.0,
        "nonfinite_updates_per_second": driver.rates.of(catalog.NONFINITE_UPDATES) or 0.0,
    }
