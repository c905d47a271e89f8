"""Rollouts that fail: which workers have only failing ones, and what that means for the run."""

from collections.abc import Iterator, Sequence

from raymon.format import count, duration, listing, share
from raymon.health.empty_rollouts import returns_nothing
from raymon.health.impact import absence_cost, with_cost
from raymon.health.shares import busy_ratio
from raymon.health.thresholds import Thresholds
from raymon.health.verdicts import Finding, Severity, WorkerVerdict
from raymon.views import RunView, WorkerView

_ADVICE = (
    "`ray.get` raises the exception, with its stack, where the result is fetched; `ray.wait` alone hides it. "
    "`raymon watch` keeps its message in the incident."
)

_PAUSE = "The trainer may pause before it replaces the worker{restart_delay}."


def has_succeeded(worker: WorkerView) -> bool:
    """Return whether the worker has finished a rollout, taken a step or, in other roles, worked in a phase."""
    done = worker.rollouts_total or worker.rollouts_per_second or worker.steps_per_second
    return bool(done or (worker.role != "env" and busy_ratio(worker.phase_ratio)))


def failures_per_second(worker: WorkerView) -> float:
    """Return how many of the worker's rollouts fail each second, of every exception class."""
    return sum(worker.failures.values())


def only_fails(worker: WorkerView, limits: Thresholds) -> bool:
    """Return whether the worker's rollouts fail and none has succeeded lately, or since it started."""
    if worker.rollouts_per_second or worker.failures_total < 1.0:
        return False
    if not has_succeeded(worker):
        return True
    return failures_per_second(worker) > 0.0 and worker.failures_total >= limits.failures_least_count


def failing_reason(worker: WorkerView) -> str:
    """Return why a worker counts as failing, with the exception class and the rate."""
    rate = failures_per_second(worker)
    speed = f", {count(rate)} a second" if rate else f", {count(worker.failures_total)} so far"
    since = "" if worker.rollouts_total else "; none has succeeded since it started"
    return f"every rollout fails with {_class_of([worker])}{_raised_in([worker])}{speed}{since}"


def failing_rollouts(run: RunView, workers: Sequence[WorkerVerdict], limits: Thresholds) -> Iterator[Finding]:
    """Yield at most one finding: critical when no rollout of the run succeeds, else a warning above a share."""
    failing_names = {worker.worker for worker in workers if worker.state == "failing"}
    failing_names -= {worker.worker for worker in run.workers if returns_nothing(worker, limits)}
    failing = [worker for worker in run.workers if worker.worker in failing_names]
    failed = sum(failures_per_second(worker) for worker in run.workers)
    succeeded = sum(worker.rollouts_per_second or 0.0 for worker in run.workers)
    if failing and not succeeded:
        rate = f", {count(failed)} a second" if failed else f", {count(_total(failing))} so far"
        sentence = f"Every rollout of {_workers(failing)} fails with {_class_of(failing)}{_raised_in(failing)}{rate}."
        yield Finding("rollouts_failing", "critical", sentence, _ADVICE, _only(failing))
    elif failing:
        error = f"{_class_of(failing)}{_raised_in(failing)}"
        sentence = f"Every rollout of {_workers(failing)} fails with {error}; the other workers sample."
        finding = Finding("rollouts_failing", "warning", sentence, _ADVICE, _only(failing))
        yield with_cost(finding, absence_cost(run, [worker.worker for worker in failing]))
    elif failed > limits.failing_ratio * (failed + succeeded) and _total(run.workers) >= limits.failures_least_count:
        bad = [worker for worker in run.workers if failures_per_second(worker)]
        ratio = share(failed / (failed + succeeded))
        sentence = (
            f"{ratio} of the rollouts fail ({count(failed)} a second) with {_class_of(bad)}{_raised_in(bad)}, in "
        )
        sentence += f"{_workers(bad)}."
        yield Finding("rollouts_failing", "warning", sentence, _ADVICE, _only(bad))


def held_up_by_failure(
    run: RunView, workers: Sequence[WorkerVerdict], limits: Thresholds, *, stands: bool
) -> Iterator[Finding]:
    """Yield that the last rollout of a worker failed and none has followed, while the run `stands` or waits."""
    idle = {worker.worker for worker in workers if worker.state in ("waiting", "restarting")}
    if any(worker.state in ("stalled", "failing") for worker in workers):
        return
    failed = [
        worker
        for worker in run.workers
        if worker.worker in idle and worker.failures_since_success and (stands or _is_awaited(worker, run, limits))
    ]
    if failed:
        error = f"{_class_of(failed)}{_raised_in(failed)}"
        sentence = f"The last rollout of {_workers(failed)} failed with {error}, and none has followed."
        severity: Severity = "critical" if stands else "warning"
        yield Finding("rollouts_failing", severity, sentence, f"{_ADVICE} {_PAUSE}", _only(failed))


def _is_awaited(worker: WorkerView, run: RunView, limits: Thresholds) -> bool:
    """Return whether the driver has waited for an idle worker, or for samples while it was idle, for some seconds."""
    least = limits.suspect_seconds + (run.report_seconds or 0.0)
    if worker.worker in run.driver_waits_for and (run.driver_silent_seconds or 0.0) > least:
        return True
    since_update = worker.progress_age_seconds if run.last_update_age_seconds is None else run.last_update_age_seconds
    return run.phase == "sample" and min(worker.progress_age_seconds or 0.0, since_update or 0.0) > least


def nothing_succeeded(run: RunView, limits: Thresholds) -> Iterator[Finding]:
    """Yield that no worker has finished anything although all had the time to."""
    if not run.workers or run.updates or any(has_succeeded(worker) for worker in run.workers):
        return
    age = max(run.started_seconds_ago or 0.0, *(worker.seen_seconds for worker in run.workers))
    if age > limits.startup_grace_seconds:
        sentence = f"No rollout has succeeded since the run started {duration(age)} ago."
        advice = "See where the driver and the workers are: `raymon profile`."
        yield Finding("no_progress", "critical", sentence, advice)


def _total(workers: Sequence[WorkerView]) -> float:
    return sum(worker.failures_total for worker in workers)


def _class_of(workers: Sequence[WorkerView]) -> str:
    """Return the exception class that most failures have; further ones are counted."""
    rates: dict[str, float] = {}
    for worker in workers:
        for name, rate in worker.failures.items():
            rates[name] = rates.get(name, 0.0) + rate
    rates = {name: rate for name, rate in rates.items() if rate} or rates
    if not rates:
        return "an exception"
    top = max(rates, key=lambda name: (rates[name], name))
    return top if len(rates) == 1 else f"{top} and {len(rates) - 1} other class{'es' if len(rates) > 2 else ''}"


def _raised_in(workers: Sequence[WorkerView]) -> str:
    """Return where the user's code raised, of the first worker for which it is known."""
    where = next((worker.failed_where for worker in workers if worker.failed_where), "")
    return f" in `{where}`" if where else ""


def _workers(workers: Sequence[WorkerView]) -> str:
    return f"worker{'s' if len(workers) > 1 else ''} {listing([worker.worker for worker in workers])}"


def _only(workers: Sequence[WorkerView]) -> str:
    return workers[0].worker if len(workers) == 1 else ""
