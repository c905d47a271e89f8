"""The verdict on each worker of a run: the driver's word first, then its own signs of life, then its peers' speed."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from raymon.catalog import WORK_PHASES
from raymon.health.thresholds import THRESHOLDS, Thresholds
from raymon.health.verdicts import WorkerVerdict
from raymon.health.words import seconds
from raymon.views import RunView, WorkerView

RAY_DEFAULT_REPORT_SECONDS: Final = 10.0
_FEW: Final = 16
"""Up to so many workers each is compared with exactly the others; beyond, leaving one out changes no median."""

_TOLD_RATIO: Final = 0.6
"""Durations of rollouts are told as evidence when their ratio is at least this share of the ratio of the steps."""

Judged = tuple[str, str]
"""State and reason."""


def judge_workers(run: RunView, limits: Thresholds = THRESHOLDS) -> tuple[WorkerVerdict, ...]:
    """Return a verdict for every worker of the run, in the order of `run.workers`."""
    slow = stragglers(run, limits)
    return tuple(WorkerVerdict(worker.worker, *_judge(worker, run, slow, limits)) for worker in run.workers)


def _judge(worker: WorkerView, run: RunView, slow: Mapping[str, str], limits: Thresholds) -> Judged:
    return (
        _lifecycle(worker)
        or _ended(run)
        or _pulse(worker, run, limits)
        or _progress(worker, run, limits)
        or _pace(worker, slow)
    )


def _lifecycle(worker: WorkerView) -> Judged | None:
    times = sum(worker.restarts.values())
    before = f" (replaced {times} times before)" if times else ""
    if worker.lifecycle == "given_up":
        return "given_up", f"the driver gave it up{before}"
    if worker.lifecycle == "restarting":
        return "restarting", f"the driver lost it and is starting a replacement{before}"
    return None


def _ended(run: RunView) -> Judged | None:
    return ("unknown", "the run has ended") if run.state in ("finished", "failed") else None


def _pulse(worker: WorkerView, run: RunView, limits: Thresholds) -> Judged | None:
    beat = worker.heartbeat_age_seconds
    if beat is None:
        if worker.lifecycle == "up":
            return "stalled", "no heartbeat since before this view was opened, although the driver counts on it"
        return "unknown", "only the counters it left are there, no heartbeat"
    newest = run.data_age_seconds or 0.0
    if newest > heartbeat_limit(run, limits):
        return "unknown", f"nothing of this run was reported for {seconds(newest)}"
    exporter = worker.exporter_age_seconds or 0.0
    if exporter > max(limits.stale_seconds, heartbeat_limit(run, limits)):
        return "unknown", f"its node's metrics have not changed for {seconds(exporter)}"
    if exporter > limits.exporter_quiet_seconds + (run.report_seconds or 0.0):
        newest = max(newest, exporter)
    if beat - newest > heartbeat_limit(run, limits):
        if worker.lifecycle is None and not worker.present and beat > limits.dead_seconds:
            return "dead", f"no heartbeat for {seconds(beat)}, and no driver that counts on it"
        return "stalled", f"no heartbeat for {seconds(beat)}: its process is stopped, or dead and not yet noticed"
    return None


def _progress(worker: WorkerView, run: RunView, limits: Thresholds) -> Judged | None:
    if worker.activity == "waiting":
        return None
    age = worker.progress_age_seconds
    stuck = worker.stuck_seconds
    if worker.activity == "starting" or age is None:
        if stuck is not None and stuck > limits.startup_grace_seconds:
            return "stalled", f"alive, but has not finished a first step for {seconds(stuck)}"
        return "starting", "it has not finished a first step yet"
    behind = (worker.heartbeat_age_seconds or 0.0) + (run.report_seconds or 0.0)
    if stuck is not None and stuck - min(behind, stuck / 4.0) > progress_limit(worker, limits):
        doing = f" in phase {worker.activity}" if worker.activity else ""
        return "stalled", f"alive, but stuck{doing}: no step, episode or rollout for {seconds(stuck)}"
    return None


def _pace(worker: WorkerView, slow: Mapping[str, str]) -> Judged:
    if worker.worker in slow:
        return "slow", slow[worker.worker]
    if worker.activity == "waiting":
        return "waiting", "it waits for its next call"
    return "running", f"in phase {worker.activity}" if worker.activity else "it reports progress"


def heartbeat_limit(run: RunView, limits: Thresholds = THRESHOLDS) -> float:
    """Return the silence, in seconds, beyond which a process of the run is stopped or dead.

    Until the interval of Ray's exports is known from two heartbeats, Ray's default is assumed.
    """
    report = run.report_seconds if run.report_seconds is not None else RAY_DEFAULT_REPORT_SECONDS
    return max(limits.heartbeat_stalled_seconds, limits.heartbeat_report_factor * report + 3.0)


def progress_limit(worker: WorkerView, limits: Thresholds = THRESHOLDS) -> float:
    """Return the seconds without progress beyond which a worker that says it samples is stalled.

    Progress is seen at the end of its rollouts, or earlier where it counts steps as it takes them.
    """
    rollout = max(worker.latency_seconds.get("p99", 0.0), worker.mean_rollout_seconds or 0.0)
    usual = [known for known in (rollout, worker.longest_pause_seconds) if known]
    if not usual:  # its first rollout, and nothing tells how long that may take
        return limits.startup_grace_seconds
    return max(limits.progress_stalled_seconds, limits.progress_latency_factor * min(usual))


def step_cost(worker: WorkerView, limits: Thresholds = THRESHOLDS) -> float | None:
    """Return the worker's busy seconds per environment step, None while it cannot be compared.

    Rollouts of different lengths compare through their steps; without steps, a rollout is the unit.
    """
    mean, steps = worker.mean_rollout_seconds, worker.steps_per_second
    if (
        worker.seen_seconds < limits.warmup_seconds
        or _pauses(worker, limits)
        or worker.lifecycle in ("restarting", "given_up")
    ):
        return None
    if worker.step_seconds:
        return worker.step_seconds
    if mean is not None:
        return mean / worker.rollout_steps if worker.rollout_steps else mean
    busy = sum(worker.phase_ratio.get(phase, 0.0) for phase in WORK_PHASES)
    return busy / steps if steps and busy else None


def _pauses(worker: WorkerView, limits: Thresholds) -> bool:
    if worker.stuck_seconds is None or worker.activity == "waiting":
        return False
    still = worker.stuck_seconds - (worker.heartbeat_age_seconds or 0.0)
    usual = [known for known in (worker.latency_seconds.get("p95"), worker.longest_pause_seconds) if known is not None]
    return still > max(limits.pausing_seconds, 2.0 * min(usual, default=0.0))


def stragglers(run: RunView, limits: Thresholds = THRESHOLDS) -> dict[str, str]:
    """Return the workers that are slow beside the others, with the evidence in words.

    A worker stands out when it needs `slow_factor` times the others' median and lies `slow_deviations` robust
    deviations (1.4826 times the others' median absolute deviation, in logarithms) beyond it; too many that stand out
    are a design.
    """
    costs = {worker.worker: cost for worker in run.workers if (cost := step_cost(worker, limits))}
    if len(costs) < 2:
        return {}
    fleet = _centre(list(costs.values()))
    found: dict[str, float] = {}
    for name, cost in costs.items():
        if cost > limits.slow_factor * fleet[0] / 2.0:  # the others' median is at least about half the fleet's
            others = [other for peer, other in costs.items() if peer != name] if len(costs) <= _FEW else []
            typical, spread = _centre(others) if others else fleet
            if cost > typical * max(limits.slow_factor, math.exp(limits.slow_deviations * spread)):
                found[name] = cost / typical
    if len(found) > max(1, int(len(costs) * limits.slow_minority_ratio)):
        return {}
    views = {worker.worker: worker for worker in run.workers if worker.worker in costs}
    peers = tuple(views.values())
    return {name: text for name, ratio in found.items() if (text := _evidence(views[name], peers, ratio, limits))}


def _centre(costs: Sequence[float]) -> tuple[float, float]:
    """Return the median and the robust deviation of the logarithms."""
    typical = median(costs)
    return typical, 1.4826 * median(abs(math.log(cost / typical)) for cost in costs)


def _evidence(slow: WorkerView, workers: Sequence[WorkerView], ratio: float, limits: Thresholds) -> str:
    own = _rollout(slow)
    if own is None:
        return f"{ratio:.1f} times the others' time for a step"
    if own * (1.0 - 1.0 / ratio) < limits.slow_minimum_seconds:
        return ""
    others = [took for w in workers if w is not slow and (took := _rollout(w)) is not None]
    step = slow.step_seconds
    if step and others and own < _TOLD_RATIO * ratio * median(others):  # its first slow rollout has not ended yet
        return f"{ratio:.1f} times the median of the others for a step: {seconds(step)} against {seconds(step / ratio)}"
    beside = f" against {seconds(median(others))}" if others else ""
    tail = f", p95 {seconds(slow.latency_seconds['p95'])}" if "p95" in slow.latency_seconds else ""
    return f"{ratio:.1f} times the median of the others for a step: {seconds(own)} a rollout{beside}{tail}"


def _rollout(worker: WorkerView) -> float | None:
    """Return how long a rollout takes; of few long ones, the running one is in the mean, which none may exceed."""
    mean, longest = worker.mean_rollout_seconds, worker.latency_seconds.get("p99")
    return mean if mean is None or longest is None else min(mean, longest)
