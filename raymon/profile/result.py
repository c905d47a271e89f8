"""The result of a profile as plain data: the report and the terminal show the same values."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from raymon.catalog import DRIVER
from raymon.health import RunVerdict, WorkerVerdict, judged_workers
from raymon.profile import stacks, timeline
from raymon.profile.stacks import Difference, Place, SampledStack
from raymon.profile.timeline import LastArrivals, Track
from raymon.views import RunView, WorkerView

MOST_PLACES: Final = 6
FEW_WORKERS: Final = 4
SLOWER_RATIO: Final = 1.3
"""Smaller differences between workers are noise."""
LEAST_RATIO: Final = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class ProcessProfile:
    """One sampled process; `standing` lists (thread, frames) at the end of the profile, innermost frame first."""

    name: str
    pid: int
    stacks: Sequence[SampledStack] = ()
    standing: Sequence[tuple[str, Sequence[str]]] = ()
    problem: str = ""

    def busiest(self) -> list[tuple[Place, float]]:
        """Return (function, share of the wall time), largest first, without waiting for Ray."""
        places = list(stacks.working(self.stacks).items())[:MOST_PLACES]
        return [(place, share) for place, share in places if share >= LEAST_RATIO]

    def waiting_ratio(self) -> float:
        """Return the share of the wall time in which the process waited for Ray."""
        whole = stacks.samples_of(self.stacks) or 1
        return min(1.0, sum(stack.samples for stack in self.stacks if stacks.waits(stack)) / whole)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """The slowest worker compared with a typical one, in seconds per 1,000 environment steps."""

    slow: str
    typical: str
    differences: Sequence[Difference]


@dataclass(frozen=True, slots=True, eq=False)
class ProfileResult:
    """Everything a profile measured.

    Attributes:
        processes: The processes whose stacks were sampled.
        tracks: Every process that recorded its phases.
        rollouts: Worker to the durations of its rollouts during the profile, in seconds.
        notes: What is missing, and why.
    """

    run: RunView
    verdict: RunVerdict
    seconds: float
    taken_at: float
    processes: Sequence[ProcessProfile] = ()
    tracks: Sequence[Track] = ()
    last: LastArrivals | None = None
    comparison: Comparison | None = None
    rollouts: Mapping[str, Sequence[float]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def judged(self) -> list[tuple[WorkerView, WorkerVerdict]]:
        """Return every worker with its verdict, the slowest per step first."""
        return sorted(judged_workers(self.run, self.verdict), key=lambda pair: -(step_seconds(pair[0]) or 0.0))


def step_seconds(worker: WorkerView) -> float | None:
    """Return the wall time of one environment step inside the worker's rollouts, None if unknown."""
    if worker.mean_rollout_seconds is None or not worker.rollout_steps:
        return None
    return worker.mean_rollout_seconds / worker.rollout_steps


def chosen_workers(run: RunView, verdict: RunVerdict) -> list[str]:
    """Return the workers to sample: all of a few; of many, the stalled ones, the slowest and a typical one."""
    live = [worker for worker in run.workers if worker.pid is not None]
    if len(live) <= FEW_WORKERS:
        return [worker.worker for worker in live]
    state = {item.worker: item.state for item in verdict.workers}
    stalled = [worker.worker for worker in live if state.get(worker.worker) == "stalled"]
    moving = [worker for worker in live if worker.worker not in stalled]
    moving.sort(
        key=lambda w: (state.get(w.worker) == "slow", step_seconds(w) or 0.0, w.latency_seconds.get("p95", 0.0))
    )
    middle = moving[(len(moving) - 1) // 2 :][:1]
    return list(dict.fromkeys([*stalled[:2], *(worker.worker for worker in (*moving[-1:], *middle))]))


def compare(run: RunView, processes: Sequence[ProcessProfile]) -> Comparison | None:
    """Compare the slowest sampled worker with the fastest by time per step; None if none is `SLOWER_RATIO` slower."""
    by_name = {process.name: process for process in processes if process.stacks}
    timed = [w for w in run.workers if f"worker {w.worker}" in by_name and step_seconds(w) and w.steps_per_second]
    if len(timed) < 2:
        return None
    timed.sort(key=lambda worker: step_seconds(worker) or 0.0)
    typical, slow = timed[0], timed[-1]
    if (step_seconds(slow) or 0.0) < SLOWER_RATIO * (step_seconds(typical) or 0.0):
        return None
    differences = stacks.differences(
        by_name[f"worker {slow.worker}"].stacks,
        by_name[f"worker {typical.worker}"].stacks,
        (slow.steps_per_second or 0.0) / 1000,
        (typical.steps_per_second or 0.0) / 1000,
    )
    return Comparison(slow.worker, typical.worker, differences[:MOST_PLACES]) if differences else None


def rollouts_of(tracks: Sequence[Track]) -> dict[str, list[float]]:
    """Return worker -> durations, in seconds, of the rollouts that ended during the profile."""
    return {t.worker: [e.seconds for e in t.of(timeline.ROLLOUT)] for t in tracks if t.worker != DRIVER}


def quantile(values: Sequence[float], ratio: float) -> float | None:
    """Return a quantile of `values`, None without any."""
    if len(values) < 2:
        return values[0] if values else None
    return statistics.quantiles(values, n=100, method="inclusive")[min(98, round(ratio * 100) - 1)]
