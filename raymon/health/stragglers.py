"""Which workers are slow compared with the others."""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Final

from raymon.catalog import WORK_PHASES
from raymon.format import duration, share
from raymon.health.shares import cpu_full, node_of
from raymon.health.thresholds import THRESHOLDS, Thresholds
from raymon.health.windows import FEW, windows_of
from raymon.views import RunView, WorkerView

_CLEAR_FACTOR: Final = 1.5
"""An excess (of logarithms) this many times the limit does not end because the estimate of the noise changes."""
_RARE_EXPORT_SECONDS: Final = 2.0
_SHOWN_RATIO: Final = 0.6
"""Durations of rollouts are shown as evidence when their ratio is at least this share of the ratio of the steps."""


def step_cost(worker: WorkerView, limits: Thresholds = THRESHOLDS) -> float | None:
    """Return the worker's busy seconds per environment step or token, None while it cannot be compared.

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
    if worker.stuck_seconds is None or worker.activity == "waiting" or worker.unit == "token":
        return False  # the time per token is of whole batches: the one that runs changes nothing
    return _stands_still(worker, worker.stuck_seconds, limits)


def _stands_still(worker: WorkerView, seconds: float, limits: Thresholds) -> bool:
    """Return whether so many seconds until now are a pause, as of the worker's last flush."""
    usual = [known for known in (worker.latency_seconds.get("p95"), worker.longest_pause_seconds) if known is not None]
    pause = max(limits.pausing_seconds, 2.0 * min(usual, default=0.0))
    return seconds - (worker.heartbeat_age_seconds or 0.0) > pause


def _may_hang(worker: WorkerView, run: RunView, limits: Thresholds) -> bool:
    """Return whether a worker whose exports are rare may have begun to hang before the last one.

    That it waited in the same interval, perhaps before, hides for how long it has been stuck. Its last step does not.
    """
    rare = (run.report_seconds or 0.0) > _RARE_EXPORT_SECONDS and worker.unit != "token"
    if not rare or worker.activity == "waiting" or worker.progress_age_seconds is None:
        return False
    return _stands_still(worker, worker.progress_age_seconds, limits)


@dataclass(frozen=True, slots=True)
class Straggler:
    """A slow worker: how many times the others' median it needs per step, and the evidence in words."""

    worker: str
    ratio: float
    reason: str


def stragglers(
    run: RunView,
    limits: Thresholds = THRESHOLDS,
    before: Set[str] = frozenset(),
    lately: Set[str] = frozenset(),
) -> Mapping[str, Straggler]:
    """Return the slow workers by name. Workers are compared with those of their role.

    Those that were slow `before` stay so until they are clearly below the limit; those that became so `lately`, and
    are not shown as slow yet, while they are far above it: the noise between windows is not asked about again.
    """
    slow: dict[str, Straggler] = {}
    for role in dict.fromkeys(worker.role for worker in run.workers):
        peers = [worker for worker in run.workers if worker.role == role]
        slow.update(_among(peers, run, limits, before, lately))
    return slow


def _among(
    workers: Sequence[WorkerView], run: RunView, limits: Thresholds, before: Set[str], lately: Set[str]
) -> Mapping[str, Straggler]:
    """Return the slow ones of some workers that do the same work.

    A worker is slow when its time per step, over one or several windows, exceeds the others' median by a factor, by
    the robust deviation between the others (1.4826 times the median absolute deviation of the logarithms), and by what
    the noise from window to window explains. Too many slow workers are a design.
    """
    unit = "token" if any(worker.unit == "token" for worker in workers) else ""
    costs = {
        worker.worker: cost
        for worker in workers
        if unit in ("", worker.unit) and (cost := step_cost(worker, limits))  # others have ended no batch lately
    }
    if len(costs) < 2:
        return {}
    names = list(costs)
    windows = cache(lambda: windows_of(run, costs, limits))  # of ten thousand workers they take a while
    fleet = _centre(list(costs.values()))
    factor = _factor(len(costs) - 1, cpu_full(run, limits), unit, limits)
    views = {worker.worker: worker for worker in workers if worker.worker in costs}
    ratios: dict[str, float] = {}
    for column, name in enumerate(names):
        if costs[name] <= fleet[0] or (name not in before and _may_hang(views[name], run, limits)):
            continue
        others = [other for peer, other in costs.items() if peer != name] if len(costs) <= FEW else []
        typical, spread = _centre(others) if others else fleet
        if name in before:
            if costs[name] > limits.slow_release_ratio * factor * typical:
                ratios[name] = costs[name] / typical
            continue
        least = max(math.log(factor), limits.slow_deviations * spread)
        excess = math.log(costs[name] / typical)
        if excess >= limits.slow_release_ratio * least and (
            (name in lately and excess > _CLEAR_FACTOR * least and len(windows().table) > 1)
            or windows().exceeds(column, excess, least, limits)
        ):
            ratios[name] = costs[name] / typical
    if len(ratios) > max(1, int(len(costs) * limits.slow_minority_ratio)):
        return {}
    peers, lacking = tuple(views.values()), _lack_cores(ratios, views, costs, run, limits)
    slow = {}
    for name, ratio in ratios.items():
        enough = limits.slow_release_ratio * factor if name in before else factor
        at_fault = lacking.get(name, math.inf) >= enough
        if at_fault and (reason := _evidence(views[name], peers, ratio, limits)):
            slow[name] = Straggler(name, ratio, f"{reason}{_waiting(views[name], limits)}")
    return slow


def _factor(peers: int, full: bool, unit: str, limits: Thresholds) -> float:
    """Return the ratio that is slow: lower where more peers make the comparison certain and cores are free."""
    if full:
        return limits.slow_batch_factor if unit == "token" else limits.slow_factor
    return min(limits.slow_factor, limits.slow_weak_factor + (limits.slow_factor - limits.slow_weak_factor) / peers)


def _lack_cores(
    names: Iterable[str],
    views: Mapping[str, WorkerView],
    costs: Mapping[str, float],
    run: RunView,
    limits: Thresholds,
) -> Mapping[str, float]:
    """Return those that wait for cores of which everything on their node has too few: no fault of their own.

    Each has its cost relative to the others' median, all without the time for which they waited; 0 where it waited so
    long that the rest says nothing.
    """
    working = {name: costs[name] * (1.0 - (view.cpu_wait_ratio or 0.0)) for name, view in views.items()}
    lacking = {}
    for name in names:
        node = node_of(views[name], run)
        waited = views[name].cpu_wait_ratio
        if node and (node.cpu_ratio or 0.0) > limits.contended_cpu_ratio and waited is not None:
            if waited > limits.starved_ratio:
                lacking[name] = 0.0
                continue
            typical = median(cost for other, cost in working.items() if other != name)
            lacking[name] = working[name] / typical if typical else math.inf
    return lacking


def _centre(costs: Sequence[float]) -> tuple[float, float]:
    """Return the median and the robust deviation of the logarithms."""
    typical = median(costs)
    return typical, 1.4826 * median(abs(math.log(cost / typical)) for cost in costs)


def _waiting(slow: WorkerView, limits: Thresholds) -> str:
    """Return that a slow worker waits for a core, in words; empty if it does not."""
    waits = slow.cpu_wait_ratio or 0.0
    return f"; it waits for a CPU core for {share(waits)} of that" if waits > limits.slow_waiting_ratio else ""


def _evidence(slow: WorkerView, workers: Sequence[WorkerView], ratio: float, limits: Thresholds) -> str:
    own = _rollout(slow)
    needs = f"it needs {ratio:.1f} times the median of the others per {slow.unit}"
    if own is None:
        return needs
    if own * (1.0 - 1.0 / ratio) < limits.slow_minimum_seconds:
        return ""
    if slow.unit == "token" and slow.step_seconds:  # the duration of a rollout follows the lengths of the responses
        return f"{needs} ({duration(slow.step_seconds)} instead of {duration(slow.step_seconds / ratio)})"
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
