"""Rollouts that end without an environment step: the method hides an exception, or its environment yields nothing."""

from collections.abc import Iterator, Sequence

from raymon.format import count, duration, listing
from raymon.health.thresholds import Thresholds
from raymon.health.verdicts import Finding
from raymon.views import RunView, WorkerView

_PATIENCE_FACTOR = 3.0
_ADVICE = (
    "Look for an `except` in the rollout method, and into the worker's log: raymon names an exception that leaves the "
    "method. If the method has nothing to return until an episode ends, count its steps as they are taken."
)


def returns_nothing(worker: WorkerView, limits: Thresholds) -> bool:
    """Return whether rollouts end, one after the other, and none of the last ones had a step."""
    if worker.empty_seconds is None or worker.empty_rollouts < limits.failures_least_count:
        return False
    if not worker.rollouts_per_second:
        return False
    if not worker.steps_total:
        return worker.empty_seconds >= limits.empty_first_seconds
    return worker.empty_seconds >= max(limits.empty_seconds, _PATIENCE_FACTOR * worker.empty_seconds_before)


def empty_reason(worker: WorkerView) -> str:
    """Return why a worker counts as failing although no rollout raises."""
    since = f"for {duration(worker.empty_seconds)}" if worker.steps_total else "since it started"
    return f"every rollout returns no step {since}, {count(worker.rollouts_per_second or 0.0)} a second"


def empty_rollouts(run: RunView, limits: Thresholds) -> Iterator[Finding]:
    """Yield at most one finding: critical when no worker of the run takes a step, else a warning."""
    empty = [worker for worker in run.workers if returns_nothing(worker, limits)]
    if not empty:
        return
    names = f"worker{'s' if len(empty) > 1 else ''} {listing([worker.worker for worker in empty])}"
    only = empty[0].worker if len(empty) == 1 else ""
    if any(worker.steps_per_second for worker in run.workers):
        sentence = f"Every rollout of {names} returns no step; the other workers sample."
        yield Finding("rollouts_empty", "warning", sentence, _ADVICE, only)
    else:
        rate = count(_rate(empty))
        yield Finding(
            "rollouts_empty", "critical", f"Every rollout of {names} returns no step, {rate} a second.", _ADVICE, only
        )


def _rate(workers: Sequence[WorkerView]) -> float:
    return sum(worker.rollouts_per_second or 0.0 for worker in workers)
