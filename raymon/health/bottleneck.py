"""What limits the speed of a run that works: which phase the wall time goes into, and what to change about it.

A bottleneck is no fault: something always limits. It is named from a share of the wall on that is worth acting on.
"""

from collections.abc import Callable
from statistics import median
from typing import Final, NamedTuple

from raymon.catalog import WORK_PHASES, WORKER_PHASES
from raymon.health.thresholds import Thresholds
from raymon.health.words import percent, rate, seconds
from raymon.views import RunView, WorkerView


class Finding(NamedTuple):
    """A state of `RUN_STATES` with its sentence and advice."""

    state: str
    sentence: str
    advice: str = ""


def bottleneck(run: RunView, limits: Thresholds) -> Finding | None:
    """Return what limits the run's speed, the largest share of the wall first; None when nothing stands out."""
    found = []
    for phase, (limit, explain) in _PHASES.items():
        share = run.phase_ratio.get(phase, 0.0)
        if share >= getattr(limits, limit):
            found.append((share, explain))
    return max(found, key=lambda pair: pair[0])[1](run, limits) if found else None


def worker_phases(run: RunView) -> dict[str, float]:
    """Return the median over the workers of each phase's share of their wall."""
    known = [worker.phase_ratio for worker in run.workers if worker.phase_ratio]
    return {phase: median(ratio.get(phase, 0.0) for ratio in known) for phase in WORKER_PHASES} if known else {}


def cpu_full(run: RunView, limits: Thresholds) -> bool:
    """Tell whether every node that reports has no CPU left."""
    return bool(run.node_cpu_ratio) and min(run.node_cpu_ratio.values()) > limits.node_cpu_ratio


def _waits(run: RunView) -> str:
    waiting = worker_phases(run).get("waiting")
    return f", workers wait {percent(waiting)} of the time" if waiting is not None else ""


def _learner(run: RunView, _: Thresholds) -> Finding:
    sentence = f"Learner-bound: {percent(run.phase_ratio['learn'])} of the wall is the update{_waits(run)}."
    return Finding(
        "learner_bound",
        sentence,
        "More workers will not help; try larger minibatches{minibatch}, fewer epochs{epochs}, a smaller "
        "network{hidden} or a GPU{device}.",
    )


def _sampling(run: RunView, limits: Thresholds) -> Finding:
    wait = percent(run.phase_ratio["sample"])
    shares = worker_phases(run)
    busy = sum(shares.get(phase, 0.0) for phase in WORK_PHASES)
    full = cpu_full(run, limits)
    more = "every node's CPU is full, so add machines" if full else "add workers{workers} while there are idle cores"
    if busy <= 0.0:
        advice = f"Make a call worth its cost: {_LARGER_CALLS}; or {more}."
        return Finding("sampling_bound", f"Sampling-bound: {wait} of the wall is waiting for samples.", advice)
    top = max(WORK_PHASES, key=lambda phase: shares[phase])
    told = f"{wait} of the wall is waiting for samples, and {percent(shares[top] / busy)} of the workers' busy time is"
    if busy < 1.0 - limits.overhead_ratio:
        return _one_awaited(run, wait, limits) or _calls(run, wait, busy)
    if top == "environment" and shares[top] >= limits.worker_share_ratio * busy:
        advice = (
            "Make the environment faster, step slow ones concurrently{step_threads}, several in each "
            f"worker{{envs_per_worker}}, or {more}."
        )
        return Finding("environment_bound", f"Environment-bound: {told} in the environment.", advice)
    if top == "inference" and shares[top] >= limits.worker_share_ratio * busy:
        advice = "Batch more environments per forward pass{envs_per_worker} or shrink the policy{hidden}."
        return Finding("inference_bound", f"Inference-bound: {told} in the policy.", advice)
    if top == "sending" and shares[top] >= limits.worker_share_ratio * busy:
        return Finding("transfer_bound", f"Transfer-bound: {told} sending fragments.", _SEND)
    sentence = f"Sampling-bound: {wait} of the wall is waiting for samples; no single phase of the workers stands out."
    return Finding("sampling_bound", sentence, f"Use larger calls: {_LARGER_CALLS}; or {more}.")


def _one_awaited(run: RunView, wait: str, limits: Thresholds) -> Finding | None:
    """Return that idle workers and the driver wait for one of them that is busy; None when none of them is."""

    def held(worker: WorkerView) -> float:
        beat = worker.heartbeat_age_seconds or 0.0
        return 0.0 if worker.activity == "waiting" else (worker.stuck_seconds or 0.0) - beat

    def busy(worker: WorkerView) -> float:
        return min(1.0, sum(worker.phase_ratio.get(phase, 0.0) for phase in WORK_PHASES))

    stuck, most = max(run.workers, key=held), max(run.workers, key=busy)
    if held(stuck) > limits.pausing_seconds:
        told = f"worker {stuck.worker}, which has finished nothing for {seconds(held(stuck))}"
    elif busy(most) > 1.0 - limits.overhead_ratio:
        told = f"worker {most.worker}, which is busy {percent(busy(most))} of the time"
    else:
        return None
    sentence = f"Sampling-bound: {wait} of the wall is waiting for samples; the others wait for {told}."
    instead = "" if run.sampler == "async" else "; sampling asynchronously{asynchronous} waits for nobody"
    return Finding("sampling_bound", sentence, f"See what it does: raymon profile{instead}.")


def _calls(run: RunView, wait: str, busy: float) -> Finding:
    calls = f" at {rate(run.actor_calls_per_second)} calls/s" if run.actor_calls_per_second else ""
    sentence = (
        f"Bound by the calls themselves: {wait} of the wall is waiting for samples{calls}, yet the workers are busy "
        f"only {percent(busy)} of the time."
    )
    advice = f"Put more work into a call: {_LARGER_CALLS}; sample asynchronously{{asynchronous}}."
    return Finding("overhead_bound", sentence, advice)


def _inference(run: RunView, _: Thresholds) -> Finding:
    batch = f" in batches of {rate(run.inference_batch_size)}" if run.inference_batch_size else ""
    share = percent(run.phase_ratio["inference"])
    return Finding(
        "inference_bound",
        f"Inference-bound: {share} of the wall is the policy answering observations in the driver{batch}.",
        "Answer more observations at once{wait_for}, or move the policy into the workers{asynchronous}.",
    )


def _transfer(run: RunView, _: Thresholds) -> Finding:
    moved = sum(run.store.put_bytes_per_second.values())
    told = f" at {rate(moved / 1e6)} MB/s" if moved else ""
    share = percent(run.phase_ratio["transfer"])
    return Finding("transfer_bound", f"Transfer-bound: {share} of the wall is fetching fragments{told}.", _SEND)


def _weights(run: RunView, _: Thresholds) -> Finding:
    each = ""
    if run.updates_per_second and (moved := run.store.put_bytes_per_second.get("weights")):
        each = f", {rate(moved / run.updates_per_second / 1e6)} MB an update"
    share = percent(run.phase_ratio["weights"])
    return Finding(
        "weights_bound",
        f"Bound by handing out weights: {share} of the wall{each}.",
        "Update less often on more samples{fragments_per_update}, or shrink the network{hidden}.",
    )


def _other(run: RunView, _: Thresholds) -> Finding:
    share = percent(run.phase_ratio["other"])
    return Finding(
        "overhead_bound",
        f"Bound by the loop itself: {share} of the wall is in no named phase of the driver.",
        "Take a flame graph of the driver; in a trainer of your own, put a phase around what it does there.",
    )


_LARGER_CALLS: Final = "more environments in each worker{envs_per_worker}, longer fragments{fragment_steps}"
_SEND: Final = "Send less: fewer or smaller observations, float32 or uint8 instead of float64, longer fragments."
_PHASES: Final[dict[str, tuple[str, Callable[[RunView, Thresholds], Finding]]]] = {
    "learn": ("learner_bound_ratio", _learner),
    "sample": ("sampling_bound_ratio", _sampling),
    "inference": ("inference_bound_ratio", _inference),
    "transfer": ("transfer_bound_ratio", _transfer),
    "weights": ("weights_bound_ratio", _weights),
    "other": ("other_ratio", _other),
}
