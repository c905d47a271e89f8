"""What a fault or a limit costs: the throughput that the run would have without it, estimated from its own figures.

In synchronous sampling an iteration waits for its slowest worker; in asynchronous sampling each worker adds its own
rate, as long as the learner keeps up. A trainer that does not say which it is shows it: where a slow worker finishes as
many rollouts as the others, they wait for it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist, median
from typing import Final, NamedTuple

from raymon.format import share, whole
from raymon.health.shares import SAMPLING_ROLES, throughput, usual_throughput, worker_phases
from raymon.health.stragglers import Straggler
from raymon.health.verdicts import Finding
from raymon.views import RunView, WorkerView

_SAMPLERS: Final = ("sync", "step", "async")
MOST_LIMIT_RATIO: Final = 0.8
_SAME_TIME_RATIO: Final = 0.9
LEAST_RATIO: Final = 0.01
_DEVIATIONS_P95: Final = NormalDist().inv_cdf(0.95)


class Cost(NamedTuple):
    """Throughput with a fault, and the estimate without it; in steps or tokens a second, as `unit` says."""

    now: float
    without: float
    unit: str = "steps"

    @property
    def ratio(self) -> float:
        """Return the share of the throughput that is lost, 0 to 1."""
        return max(0.0, 1.0 - self.now / self.without) if self.without > 0.0 else 0.0

    def text(self) -> str:
        """Return the cost in words."""
        if self.ratio < LEAST_RATIO:
            return "costs less than 1 % of the throughput"
        lost = f"{whole(self.without - self.now)} of {whole(self.without)} {self.unit}/s"
        return f"costs {share(self.ratio)} of the throughput ({lost})"


def waits_for_all(run: RunView) -> bool:
    """Return whether the driver waits for every worker, so that the slowest one sets the pace."""
    return run.sampler in ("sync", "step") or (run.sampler is None and (_sampling_ratio(run) or 0.0) > 0.5)


def straggler_cost(run: RunView, slow: Mapping[str, Straggler]) -> Cost | None:
    """Return what slow workers cost."""
    now, unit = throughput(run)
    if not now or not slow:
        return None
    if run.sampler not in _SAMPLERS and _in_step(run, slow):
        return Cost(now, now / max(0.01, 1.0 - _waited(run, slow)), unit)
    if waits_for_all(run):
        sampling = _sampling_ratio(run)
        if sampling is None:
            return None
        worst = max(item.ratio for item in slow.values())
        saved = sampling * (1.0 - 1.0 / worst)
        if (shorter := _shorter(run, slow)) is not None:
            saved = min(saved, shorter)
        return Cost(now, now / max(0.01, 1.0 - saved), unit)
    gain, typical = 0.0, _rates([worker for worker in run.workers if worker.worker not in slow])
    for worker in run.workers:
        if worker.worker in slow and (own := throughput(worker)[0]):
            # the idle time between calls is the same for all, so that rates differ less than times per step
            missing = max(0.0, median(typical) - own) if typical else math.inf
            gain += min(own * (slow[worker.worker].ratio - 1.0), missing)
    return Cost(now, _with_gain(run, now, gain), unit)


def _in_step(run: RunView, slow: Mapping[str, Straggler]) -> bool:
    """Return whether slow workers finish about as many rollouts as the others, which then wait for them."""
    rates = {worker.worker: rate for worker in run.workers if (rate := worker.rollouts_per_second)}
    others = [rate for name, rate in rates.items() if name not in slow]
    own = [rates[name] * 2.0 / (1.0 + 1.0 / item.ratio) for name, item in slow.items() if name in rates]
    return bool(others) and bool(own) and min(own) > median(others)


def _shorter(run: RunView, slow: Mapping[str, Straggler]) -> float | None:
    """Return the share of the time by which rollouts of slow workers outlast the longest of the others.

    The longest of several rollouts takes longer than the median, by how much the others' quantiles tell. None while
    durations are not known.
    """
    others = [
        worker.latency_seconds
        for worker in run.workers
        if worker.worker not in slow and {"p50", "p95"} <= worker.latency_seconds.keys()
    ]
    own = [
        (worker.rollouts_per_second, worker.mean_rollout_seconds)
        for worker in run.workers
        if worker.worker in slow and worker.rollouts_per_second and worker.mean_rollout_seconds
    ]
    if not others or not own:
        return None
    middle = median(each["p50"] for each in others)
    deviation = (median(each["p95"] for each in others) - middle) / _DEVIATIONS_P95
    longest = middle + deviation * NormalDist().inv_cdf((len(others) - 0.375) / (len(others) + 0.25))  # Blom's formula
    longest = max(longest, *(each["p50"] for each in others))
    return max(0.0, *(rate * (seconds - longest) for rate, seconds in own))


def _waited(run: RunView, slow: Mapping[str, Straggler]) -> float:
    """Return which share of the time the other workers wait for the slowest."""
    waits = {worker.worker: worker.phase_ratio.get("waiting", 0.0) for worker in run.workers if worker.phase_ratio}
    others = [share for name, share in waits.items() if name not in slow]
    own = [share for name, share in waits.items() if name in slow]
    return max(0.0, median(others) - min(own)) if others and own else 0.0


def absence_cost(run: RunView, absent: Collection[str]) -> Cost | None:
    """Return what workers cost that contribute nothing: stalled, dead, given up, failing or being replaced.

    None as long as the rates do not show it yet.
    """
    cost = _absence_cost(run, absent)
    return cost if cost is not None and cost.ratio >= LEAST_RATIO else None


def _absence_cost(run: RunView, absent: Collection[str]) -> Cost | None:
    now, unit = throughput(run)
    absent = {worker.worker for worker in run.workers if worker.worker in absent and worker.role in SAMPLING_ROLES}
    if now is None or not absent:
        return None
    usual = usual_throughput(run)
    if waits_for_all(run) and _stands_still(run, absent):
        return Cost(0.0, usual or now, unit)
    if waits_for_all(run) and not run.updates_per_second and usual:
        return Cost(now, max(now, usual), unit)
    others = [worker for worker in run.workers if worker.worker not in absent]
    rates = _rates(others)
    if not rates:
        return Cost(now, max(now, usual), unit) if usual else None
    present = sum(rates)
    missing = median(rates) * len(absent)
    if waits_for_all(run) and usual:
        return Cost(min(now, present), max(present, usual), unit)
    return Cost(present, _with_gain(run, present, missing), unit)


def _stands_still(run: RunView, absent: Collection[str]) -> bool:
    """Return whether there was no update since a worker hangs; rates show that only after two exports."""
    stuck = [worker.stuck_seconds for worker in run.workers if worker.worker in absent]
    hanging = min((seconds for seconds in stuck if seconds is not None), default=None)
    return hanging is not None and (run.last_update_age_seconds or 0.0) >= _SAME_TIME_RATIO * hanging


def standstill_cost(run: RunView) -> Cost | None:
    """Return what it costs that the whole run stands still: all of its usual throughput; None while that is unknown."""
    usual, (_, unit) = usual_throughput(run), throughput(run)
    return Cost(0.0, usual, unit) if usual else None


def with_cost(finding: Finding, cost: Cost | None) -> Finding:
    """Return the finding with its cost at the end of its first sentence; unchanged where none is known."""
    if cost is None:
        return finding
    sentence, _, rest = finding.sentence.partition(". ")
    sentence = f"{sentence.removesuffix('.')}; this {cost.text()}."
    return replace(finding, sentence=f"{sentence} {rest}".rstrip(), cost_ratio=cost.ratio)


def limit_cost(run: RunView, ratio: float) -> Cost | None:
    """Return what a phase costs at most that takes a share of every iteration.

    None above `MOST_LIMIT_RATIO`: what would limit the run without a phase that takes nearly all its time is unknown.
    """
    now, unit = throughput(run)
    return Cost(now, now / (1.0 - ratio), unit) if now and ratio <= MOST_LIMIT_RATIO else None


def unused_cost(run: RunView, ratio: float) -> Cost | None:
    """Return what it costs that a share of what is generated trains nothing."""
    now, unit = throughput(run)
    return Cost(now * (1.0 - ratio), now, unit) if now else None


def _sampling_ratio(run: RunView) -> float | None:
    """Return the share of the iteration that waits for samples; None while not known."""
    known = [ratio for phase in ("sample", "generate") if (ratio := run.phase_ratio.get(phase)) is not None]
    return sum(known) if known else None


def _with_gain(run: RunView, now: float, gain: float) -> float:
    """Return the throughput with additional samples: as far as the learner, which now waits for samples, can use them.

    Where the driver's phases do not show it, the workers' waiting and the throughput of the last minutes do.
    """
    if any(ratio for phase, ratio in run.phase_ratio.items() if phase != "other"):
        idle = _sampling_ratio(run) or run.phase_ratio.get("other", 0.0)
        return min(now + gain, now / max(0.01, 1.0 - idle))
    return max(now + gain * _taken_up(run), min(now + gain, usual_throughput(run) or 0.0))


def _taken_up(run: RunView) -> float:
    """Return which share of additional samples the learner would take up: little where workers wait for it."""
    waiting = worker_phases(run).get("waiting", 0.0)
    return max(0.0, 1.0 - waiting / 0.5)


def _rates(workers: Sequence[WorkerView]) -> list[float]:
    return [rate for worker in workers if (rate := throughput(worker)[0]) and worker.role in SAMPLING_ROLES]
