"""What a fault or a limit costs: the throughput that the run would have without it, estimated from its own figures.

In synchronous sampling an iteration waits for its slowest worker; in asynchronous sampling each worker adds its own
rate, as long as the learner keeps up.
"""

from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple

from raymon.format import share, whole
from raymon.health.shares import worker_phases
from raymon.health.stragglers import Straggler
from raymon.views import RunView, WorkerView

MOST_LIMIT_RATIO: Final = 0.8


class Cost(NamedTuple):
    """Steps per second with a fault, and the estimate without it."""

    now: float
    without: float

    @property
    def ratio(self) -> float:
        """Return the share of the throughput that is lost, 0 to 1."""
        return max(0.0, 1.0 - self.now / self.without) if self.without > 0.0 else 0.0

    def text(self) -> str:
        """Return the cost in words."""
        if self.ratio < 0.01:
            return "costs less than 1 % of the throughput"
        lost = f"{whole(self.without - self.now)} of {whole(self.without)} steps/s"
        return f"costs {share(self.ratio)} of the throughput ({lost})"


def waits_for_all(run: RunView) -> bool:
    """Return whether the driver waits for every worker, so that the slowest one sets the pace."""
    return run.sampler in ("sync", "step") or (run.sampler is None and run.phase_ratio.get("sample", 0.0) > 0.5)


def straggler_cost(run: RunView, slow: Mapping[str, Straggler]) -> Cost | None:
    """Return what slow workers cost."""
    now = run.steps_per_second
    if not now or not slow:
        return None
    if waits_for_all(run):
        sampling = run.phase_ratio.get("sample")
        if sampling is None:
            return None
        worst = max(item.ratio for item in slow.values())
        return Cost(now, now / max(0.01, 1.0 - sampling * (1.0 - 1.0 / worst)))
    gain = 0.0
    for worker in run.workers:
        if worker.worker in slow and worker.steps_per_second:
            gain += worker.steps_per_second * (slow[worker.worker].ratio - 1.0)
    return Cost(now, now + gain * _taken_up(run))


def absence_cost(run: RunView, absent: Collection[str]) -> Cost | None:
    """Return what workers cost that contribute nothing: stalled, dead, given up, failing or being replaced."""
    now = run.steps_per_second
    if now is None or not absent:
        return None
    if waits_for_all(run) and not run.updates_per_second and run.usual_steps_per_second:
        return Cost(now, max(now, run.usual_steps_per_second))
    others = [worker for worker in run.workers if worker.worker not in absent]
    rates = _rates(others)
    if not rates:
        usual = run.usual_steps_per_second
        return Cost(now, max(now, usual)) if usual else None
    present = sum(rates)
    missing = median(rates) * len(absent)
    if waits_for_all(run) and run.usual_steps_per_second:
        return Cost(min(now, present), max(present, run.usual_steps_per_second))
    return Cost(present, present + missing * _taken_up(run))


def limit_cost(run: RunView, ratio: float) -> Cost | None:
    """Return what a phase costs at most that takes a share of every iteration.

    None above `MOST_LIMIT_RATIO`: without a phase that is nearly everything, something unknown would be the limit.
    """
    now = run.steps_per_second
    return Cost(now, now / (1.0 - ratio)) if now and ratio <= MOST_LIMIT_RATIO else None


def _taken_up(run: RunView) -> float:
    """Return which share of additional samples the learner would take up: little where workers wait for it."""
    waiting = worker_phases(run).get("waiting", 0.0)
    return max(0.0, 1.0 - waiting / 0.5)


def _rates(workers: Sequence[WorkerView]) -> list[float]:
    return [worker.steps_per_second for worker in workers if worker.steps_per_second]
