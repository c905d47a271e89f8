"""Everything that a viewer draws at one moment, as plain data from the collector.

Letters of the shapes: K samples in time, W workers.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raymon import catalog
from raymon.health import RunVerdict
from raymon.views import RunView

Floats = NDArray[np.float64]

STRIP: Final = (
    "absent",
    *catalog.ACTIVITIES,
    "stalled",
    "restarting",
    "dead",
    "given_up",
    "slow",
)
"""What a worker can be doing during one sample; `WorkerHistory.strip` holds indices into this tuple."""


def _no_floats() -> Floats:
    return np.empty(0)


@dataclass(frozen=True, slots=True, eq=False)
class WorkerHistory:
    """Per worker over time.

    Attributes:
        workers: The label of each row.
        rows: The row of each label.
        times: Wall-clock seconds of each column, rising; `[K]`.
        steps_per_second: NaN where not known; `[W, K]` float32.
        strip: Index into `STRIP`; `[W, K]` int8.
        rss_bytes: NaN where not known; `[W, K]` float32.
        latency_seconds: 95th percentile of the rollouts of the last minute, NaN where not known; `[W, K]` float32.
    """

    workers: tuple[str, ...] = ()
    times: Floats = field(default_factory=_no_floats)
    steps_per_second: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    strip: NDArray[np.int8] = field(default_factory=lambda: np.empty((0, 0), np.int8))
    rss_bytes: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    latency_seconds: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    rows: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", {name: row for row, name in enumerate(self.workers)})

    def since(self, moment: float) -> "WorkerHistory":
        """Return a copy of what is at a moment or later."""
        begin = int(np.searchsorted(self.times, moment))
        return WorkerHistory(
            self.workers,
            self.times[begin:].copy(),
            self.steps_per_second[:, begin:].copy(),
            self.strip[:, begin:].copy(),
            self.rss_bytes[:, begin:].copy(),
            self.latency_seconds[:, begin:].copy(),
        )


@dataclass(frozen=True, slots=True, eq=False)
class RunHistory:
    """A run over time: `times` are wall-clock seconds, rising; every value is `[K]` and NaN where not known.

    Attributes:
        values: Name to series; the names are those of `raymon.live.series.HISTORY`.
        workers: The same per worker.
    """

    times: Floats = field(default_factory=_no_floats)
    values: Mapping[str, Floats] = field(default_factory=dict)
    workers: WorkerHistory = field(default_factory=WorkerHistory)

    def last(self, seconds: float) -> "RunHistory":
        """Return a copy of the last seconds."""
        if not len(self.times):
            return self
        moment = float(self.times[-1]) - seconds
        begin = int(np.searchsorted(self.times, moment))
        values = {name: series[begin:].copy() for name, series in self.values.items()}
        return RunHistory(self.times[begin:].copy(), values, self.workers.since(moment))


@dataclass(frozen=True, slots=True)
class FiringAlert:
    """One alert: as Prometheus fires it, or evaluated here from the same thresholds (`source` "local")."""

    name: str
    severity: str
    summary: str
    run: str = ""
    worker: str = ""
    active_seconds: float = 0.0
    source: str = "local"


@dataclass(frozen=True, slots=True)
class TargetState:
    """How the last scrape of one metrics endpoint went; `error` is empty when it worked."""

    url: str
    error: str = ""
    answered_seconds_ago: float | None = None
    page_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Everything known at one moment. `verdicts` and `histories` are keyed by the run's name.

    Attributes:
        taken_at: Wall-clock seconds.
        taken_monotonic: `time.monotonic()` at the same moment; None for a moment of the past (a recording).
        runs: Live runs first, the newest first among them.
        source: In words, where the numbers come from.
        data_age_seconds: Age of the newest number, from heartbeats, not from the HTTP reply; None without any.
        problem: What is wrong with the collection itself, and what to do; empty while it works. Shown whether or not
            there is a run.
        recorded: First and last moment of the recording that the snapshot was read from, in wall-clock seconds; None
            for a live one.
        problem_since: Wall-clock seconds at which that began; None without a problem.
        rounds: Collections since the start.
    """

    taken_at: float
    runs: tuple[RunView, ...] = ()
    verdicts: Mapping[str, RunVerdict] = field(default_factory=dict)
    histories: Mapping[str, RunHistory] = field(default_factory=dict)
    alerts: tuple[FiringAlert, ...] = ()
    targets: tuple[TargetState, ...] = ()
    source: str = ""
    data_age_seconds: float | None = None
    problem: str = ""
    rounds: int = 0
    round_seconds: float = 0.0
    taken_monotonic: float | None = None
    problem_since: float | None = None
    recorded: tuple[float, float] | None = None

    def age_seconds(self, now: float | None = None) -> float:
        """Return the age of the snapshot; `now` is `time.monotonic()`.

        Add it to every age that is drawn: the ages in the views are those at `taken_at`.
        """
        if self.taken_monotonic is None:
            return 0.0
        return max(0.0, (time.monotonic() if now is None else now) - self.taken_monotonic)

    def run(self, name: str | None = None) -> RunView | None:
        """Return the run of that name, or the first; None when there is none."""
        return next((run for run in self.runs if name is None or run.run == name), None)

    def only(self, name: str) -> "Snapshot":
        """Return the snapshot with the run of that name only."""
        return replace(self, runs=tuple(run for run in self.runs if run.run == name))

    def excerpt(self, name: str, seconds: float) -> "Snapshot":
        """Return what is known of one run, with the last seconds of its history, copied: the rest can be freed."""
        verdicts = {run: verdict for run, verdict in self.verdicts.items() if run == name}
        histories = {run: history.last(seconds) for run, history in self.histories.items() if run == name}
        return replace(self.only(name), verdicts=verdicts, histories=histories)
