"""Which workers are slow compared with the others."""

import math
from collections.abc import Sequence
from statistics import median
from typing import Final

from raymon.catalog import WORK_PHASES
from raymon.format import duration
from raymon.health.thresholds import THRESHOLDS, Thresholds
from raymon.views import RunView, WorkerView

_FEW: Final = 16
"""Up to this many workers, each is compared with exactly the others; with more, leaving one out changes no median."""

_SHOWN_RATIO: Final = 0.6
"""Durations of rollouts are shown as evidence when their ratio is at least this share of the ratio of the steps."""


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
    """Return the slow workers and the evidence for each.

    A worker is slow when it needs `slow_factor` times the others' median and lies `slow_deviations` robust deviations
    (1.4826 times the others' median absolute deviation of the logarithms) beyond it. Too many of them are a design.
    """
    costs = {worker.worker: cost for worker in run.workers if (cost := step_cost(worker, limits))}
    if len(costs) < 2:
        return {}
    fleet = _centre(list(costs.values()))
    ratios: dict[str, float] = {}
    for name, cost in costs.items():
        if cost > limits.slow_factor * fleet[0] / 2.0:  # the others' median is at least about half the fleet's
            others = [other for peer, other in costs.items() if peer != name] if len(costs) <= _FEW else []
            typical, spread = _centre(others) if others else fleet
            if cost > typical * max(limits.slow_factor, math.exp(limits.slow_deviations * spread)):
                ratios[name] = cost / typical
    if len(ratios) > max(1, int(len(costs) * limits.slow_minority_ratio)):
        return {}
    views = {worker.worker: worker for worker in run.workers if worker.worker in costs}
    peers = tuple(views.values())
    return {name: text for name, ratio in ratios.items() if (text := _evidence(views[name], peers, ratio, limits))}


def _centre(costs: Sequence[float]) -> tuple[float, float]:
    """Return the median and the robust deviation of the logarithms."""
    typical = median(costs)
    return typical, 1.4826 * median(abs(math.log(cost / typical)) for cost in costs)


def _evidence(slow: WorkerView, workers: Sequence[WorkerView], ratio: float, limits: Thresholds) -> str:
    own = _rollout(slow)
    needs = f"it needs {ratio:.1f} times the median of the others per step"
    if own is None:
        return needs
    if own * (1.0 - 1.0 / ratio) < limits.slow_minimum_seconds:
        return ""
    others = [took for w in workers if w is not slow and (took := _rollout(w)) is not None]
    step = slow.step_seconds
    if step and others and own < _SHOWN_RATIO * ratio * median(others):  # its first slow rollout has not ended yet
        return f"{needs} ({duration(step)} instead of {duration(step / ratio)})"
    instead = f" instead of {duration(median(others))}" if others else ""
    p95 = f", p95 {duration(slow.latency_seconds['p95'])}" if "p95" in slow.latency_seconds else ""
    return f"{needs} (a rollout takes {duration(own)}{instead}{p95})"


def _rollout(worker: WorkerView) -> float | None:
    """Return how long a rollout takes: the mean, which counts the running rollout too, capped at the longest."""
    mean, longest = worker.mean_rollout_seconds, worker.latency_seconds.get("p99")
    return mean if mean is None or longest is None else min(mean, longest)
