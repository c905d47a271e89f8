"""The verdict on each worker: what the driver says first, then its signs of life, then its speed beside the others'."""

from collections.abc import Mapping, Set
from typing import Final, NamedTuple

from raymon.format import duration
from raymon.health.failures import failing_reason, has_succeeded, only_fails
from raymon.health.stragglers import Straggler, stragglers
from raymon.health.thresholds import THRESHOLDS, Thresholds
from raymon.health.verdicts import WorkerVerdict
from raymon.views import RunView, WorkerView

RAY_DEFAULT_REPORT_SECONDS: Final = 10.0


class State(NamedTuple):
    """A worker's state and the reason."""

    state: str
    reason: str


def judge_workers(
    run: RunView, limits: Thresholds = THRESHOLDS, slow_before: Set[str] = frozenset()
) -> tuple[WorkerVerdict, ...]:
    """Return a verdict for every worker of the run, in the order of `run.workers`.

    Workers that were slow before stay so until they are clearly below the limit.
    """
    slow = stragglers(run, limits, slow_before)
    return tuple(WorkerVerdict(worker.worker, *_judge(worker, run, slow, limits)) for worker in run.workers)


def _judge(worker: WorkerView, run: RunView, slow: Mapping[str, Straggler], limits: Thresholds) -> State:
    return (
        _lifecycle(worker)
        or _ended(run)
        or _heartbeat(worker, run, limits)
        or _failing(worker, limits)
        or _progress(worker, run, limits)
        or _first_rollout(worker)
        or _pace(worker, slow)
    )


def _lifecycle(worker: WorkerView) -> State | None:
    times = sum(worker.restarts.values())
    before = f" (replaced {times} times before)" if times else ""
    if worker.lifecycle == "given_up":
        return State("given_up", f"the driver gave up replacing it{before}")
    if worker.lifecycle == "restarting":
        return State("restarting", f"the driver lost it and is starting a replacement{before}")
    return None


def _ended(run: RunView) -> State | None:
    return State("unknown", "the run has ended") if run.state in ("finished", "failed") else None


def _heartbeat(worker: WorkerView, run: RunView, limits: Thresholds) -> State | None:
    beat = worker.heartbeat_age_seconds
    if beat is None:
        if worker.lifecycle == "up":
            return State("stalled", "no heartbeat since this view was opened, although the driver counts on it")
        return State("unknown", "only its counters are left, no heartbeat")
    newest = run.data_age_seconds or 0.0
    if newest > heartbeat_limit(run, limits):
        return State("unknown", f"no process of this run has reported for {duration(newest)}")
    exporter = worker.exporter_age_seconds or 0.0
    if exporter > max(limits.stale_seconds, heartbeat_limit(run, limits)):
        return State("unknown", f"its node's metrics have not changed for {duration(exporter)}")
    if exporter > limits.exporter_quiet_seconds + (run.report_seconds or 0.0):
        newest = max(newest, exporter)
    if beat - newest > heartbeat_limit(run, limits):
        if worker.lifecycle is None and not worker.present and beat > limits.dead_seconds:
            return State("dead", f"no heartbeat for {duration(beat)}, and no driver counts on it")
        return State(
            "stalled", f"no heartbeat for {duration(beat)}: its process is stopped, or dead and not noticed yet"
        )
    return None


def _failing(worker: WorkerView, limits: Thresholds) -> State | None:
    return State("failing", failing_reason(worker)) if only_fails(worker, limits) else None


def _progress(worker: WorkerView, run: RunView, limits: Thresholds) -> State | None:
    if worker.activity == "waiting":
        return None
    age = worker.progress_age_seconds
    stuck = worker.stuck_seconds
    if worker.activity == "starting" or age is None:
        if stuck is not None and stuck > limits.startup_grace_seconds:
            return State("stalled", f"alive, but it has not finished a first step for {duration(stuck)}")
        return State("starting", "it has not finished a first step yet")
    behind = (worker.heartbeat_age_seconds or 0.0) + (run.report_seconds or 0.0)
    if stuck is not None and stuck - min(behind, stuck / 4.0) > progress_limit(worker, limits):
        phase = f" in phase {worker.activity}" if worker.activity else ""
        return State("stalled", f"alive, but stuck{phase}: no step, episode or rollout for {duration(stuck)}")
    return None


def _first_rollout(worker: WorkerView) -> State | None:
    """Return that nothing has succeeded yet: such a worker is not running, whatever it does."""
    if worker.rollouts_total == 0.0 and not has_succeeded(worker):
        return State("starting", "it has not finished a first rollout yet")
    return None


def _pace(worker: WorkerView, slow: Mapping[str, Straggler]) -> State:
    if worker.worker in slow:
        return State("slow", slow[worker.worker].reason)
    if worker.activity == "waiting":
        return State("waiting", "it waits for its next call")
    return State("running", f"in phase {worker.activity}" if worker.activity else "it reports progress")


def heartbeat_limit(run: RunView, limits: Thresholds = THRESHOLDS) -> float:
    """Return the silence, in seconds, beyond which a process of the run is stopped or dead.

    Until two heartbeats have shown the interval of Ray's exports, Ray's default is assumed.
    """
    report = run.report_seconds if run.report_seconds is not None else RAY_DEFAULT_REPORT_SECONDS
    return max(limits.heartbeat_stalled_seconds, limits.heartbeat_report_factor * report + 3.0)


def progress_limit(worker: WorkerView, limits: Thresholds = THRESHOLDS) -> float:
    """Return the seconds without progress beyond which a worker that says it samples is stalled.

    Progress is seen at the end of its rollouts, or earlier where it counts steps as it takes them.
    """
    rollout = max(worker.latency_seconds.get("p99", 0.0), worker.mean_rollout_seconds or 0.0)
    usual = [known for known in (rollout, worker.longest_pause_seconds) if known]
    if not usual:  # its first rollout: nothing shows yet how long one takes
        return limits.startup_grace_seconds
    return max(limits.progress_stalled_seconds, limits.progress_latency_factor * min(usual))
