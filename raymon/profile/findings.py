"""What a profile found, as plain data: what the report draws and the terminal prints are the same findings."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from raymon.catalog import DRIVER
from raymon.health import RunVerdict, WorkerVerdict, judged_workers
from raymon.profile import stacks, timeline
from raymon.profile.stacks import Difference, Place, Stack
from raymon.profile.timeline import LastArrivals, Track
from raymon.views import RunView, WorkerView

MOST_PLACES: Final = 6
FEW_WORKERS: Final = 4
SLOWER_RATIO: Final = 1.3
"""Workers differ by less without a reason: what one does longer would be noise."""
LEAST_RATIO: Final = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Process:
    """One process that was looked into: `stands`: its threads and their frames at the end, innermost first."""

    name: str
    pid: int
    stacks: Sequence[Stack] = ()
    stands: Sequence[tuple[str, Sequence[str]]] = ()
    problem: str = ""

    def busiest(self) -> list[tuple[Place, float]]:
        """Return the functions that most of the wall time is spent in, waiting for Ray left out."""
        found = list(stacks.working(self.stacks).items())[:MOST_PLACES]
        return [(place, share) for place, share in found if share >= LEAST_RATIO]

    def waiting_ratio(self) -> float:
        """Return the share of the wall time in which the process waited for Ray."""
        whole = stacks.samples_of(self.stacks) or 1
        return min(1.0, sum(stack.samples for stack in self.stacks if stacks.waits(stack)) / whole)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """The slowest worker beside a usual one: seconds a thousand environment steps, where it spends more."""

    slow: str
    usual: str
    differences: Sequence[Difference]


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """Everything a profile found.

    Attributes:
        processes: Those whose stacks were sampled.
        tracks: Every process that noted its phases.
        rollouts: Worker to the durations of its rollouts during the profile, in seconds.
        notes: What could not be had, and why.
    """

    run: RunView
    verdict: RunVerdict
    seconds: float
    taken_at: float
    processes: Sequence[Process] = ()
    tracks: Sequence[Track] = ()
    last: LastArrivals | None = None
    comparison: Comparison | None = None
    rollouts: Mapping[str, Sequence[float]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def judged(self) -> list[tuple[WorkerView, WorkerVerdict]]:
        """Return every worker with its verdict, the slowest per step first."""
        return sorted(judged_workers(self.run, self.verdict), key=lambda pair: -(step_seconds(pair[0]) or 0.0))


def step_seconds(worker: WorkerView) -> float | None:
    """Return the wall time a worker's rollouts take for one environment step; None where that is not known."""
    if worker.mean_rollout_seconds is None or not worker.rollout_steps:
        return None
    return worker.mean_rollout_seconds / worker.rollout_steps


def chosen_workers(run: RunView, verdict: RunVerdict) -> list[str]:
    """Return the workers worth sampling: of many those that are stalled, the slowest, and a usual one beside it."""
    there = [worker for worker in run.workers if worker.pid is not None]
    if len(there) <= FEW_WORKERS:
        return [worker.worker for worker in there]
    state = {item.worker: item.state for item in verdict.workers}
    stuck = [worker.worker for worker in there if state.get(worker.worker) == "stalled"]
    going = [worker for worker in there if worker.worker not in stuck]
    going.sort(key=lambda w: (state.get(w.worker) == "slow", step_seconds(w) or 0.0, w.latency_seconds.get("p95", 0.0)))
    middle = going[(len(going) - 1) // 2 :][:1]
    return list(dict.fromkeys([*stuck[:2], *(worker.worker for worker in (*going[-1:], *middle))]))


def compare(run: RunView, processes: Sequence[Process]) -> Comparison | None:
    """Set the slowest sampled worker beside the fastest, by what a thousand steps cost; None where none is slower."""
    by_name = {process.name: process for process in processes if process.stacks}
    timed = [w for w in run.workers if f"worker {w.worker}" in by_name and step_seconds(w) and w.steps_per_second]
    if len(timed) < 2:
        return None
    timed.sort(key=lambda worker: step_seconds(worker) or 0.0)
    usual, slow = timed[0], timed[-1]
    if (step_seconds(slow) or 0.0) < SLOWER_RATIO * (step_seconds(usual) or 0.0):
        return None
    found = stacks.differences(
        by_name[f"worker {slow.worker}"].stacks,
        by_name[f"worker {usual.worker}"].stacks,
        (slow.steps_per_second or 0.0) / 1000,
        (usual.steps_per_second or 0.0) / 1000,
    )
    return Comparison(slow.worker, usual.worker, found[:MOST_PLACES]) if found else None


def rollouts_of(tracks: Sequence[Track]) -> dict[str, list[float]]:
    """Return the durations of each worker's rollouts that ended during the profile."""
    return {t.worker: [e.seconds for e in t.of(timeline.ROLLOUT)] for t in tracks if t.worker != DRIVER}


def quantile(values: Sequence[float], ratio: float) -> float | None:
    """Return a quantile of some values; None of none."""
    if len(values) < 2:
        return values[0] if values else None
    return statistics.quantiles(values, n=100, method="inclusive")[min(98, round(ratio * 100) - 1)]
