"""What limits the speed of a run that works: the phase that takes most of each iteration, and what to change.

A limit is not a fault: every run has one. It is named once its share of the iteration is worth acting on.
"""

from collections.abc import Callable, Iterator
from typing import Final

from raymon.catalog import WORK_PHASES
from raymon.format import count, duration, share
from raymon.health.impact import limit_cost, with_cost
from raymon.health.language_limits import LANGUAGE_LIMITS, Limit, full_buffer, tail, tail_share, without_phases
from raymon.health.shares import busy_ratio, cpu_full, of_language_model, worker_phases
from raymon.health.thresholds import Thresholds
from raymon.health.verdicts import Finding
from raymon.views import RunView, WorkerView


def bottlenecks(run: RunView, limits: Thresholds) -> Iterator[Finding]:
    """Yield what limits the run's speed, by the largest share of the iteration; nothing when nothing stands out."""
    language = of_language_model(run)
    if not any(ratio for phase, ratio in run.phase_ratio.items() if phase != "other"):
        if language:
            yield from (_limiting(run, finding, ratio) for finding, ratio in without_phases(run, limits))
            yield from full_buffer(run)
        else:
            yield from _without_phases(run, limits)
        return
    candidates: list[tuple[float, Callable[[RunView, Thresholds], Finding | None]]] = []
    for phase, (limit, explain) in ({**_PHASES, **LANGUAGE_LIMITS} if language else _PHASES).items():
        ratio = run.phase_ratio.get(phase, 0.0)
        if ratio >= getattr(limits, limit):
            candidates.append((ratio, explain))
    if language and not candidates and tail_share(run) >= limits.tail_bound_ratio:
        candidates.append((tail_share(run), lambda run, _: tail(run)))
    if candidates:
        ratio, explain = max(candidates, key=lambda pair: pair[0])
        finding = explain(run, limits)
        if finding is not None:
            yield _limiting(run, finding, ratio)
    if language:
        yield from full_buffer(run)


def _limiting(run: RunView, finding: Finding, ratio: float) -> Finding:
    """Return a limit that takes a share of each iteration, with what it costs at most."""
    return with_cost(finding, limit_cost(run, tail_share(run) if finding.code == "tail_bound" else ratio))


def _limit(code: str, sentence: str, advice: str) -> Finding:
    return Finding(code, "info", sentence, advice)


def _learner(run: RunView, _: Thresholds) -> Finding:
    waiting = worker_phases(run).get("waiting")
    waits = f"; workers wait {share(waiting)} of the time" if waiting is not None else ""
    return _limit(
        "learner_bound",
        f"The update takes {share(run.phase_ratio['learn'])} of each iteration{waits}.",
        "More workers will not help; try larger minibatches{minibatch}, fewer epochs{epochs}, a smaller "
        "network{hidden} or a GPU{device}.",
    )


def _sampling(run: RunView, limits: Thresholds) -> Finding:
    wait = f"Waiting for samples takes {share(run.phase_ratio['sample'])} of each iteration"
    busy = busy_ratio(worker_phases(run))
    # While the driver learns, its workers may have nothing to do: their work is compared with the time it waits.
    if 0.0 < busy < run.phase_ratio["sample"] * (1.0 - limits.overhead_ratio):
        return _one_awaited(run, wait, limits) or _calls(run, wait, busy)
    return _workers(run, wait, limits)


def _without_phases(run: RunView, limits: Thresholds) -> Iterator[Finding]:
    """Yield what the workers' figures show, and that the driver's loop names no phases."""
    busy = busy_ratio(worker_phases(run))
    if run.driver_heartbeat_age_seconds is not None and busy >= limits.workers_busy_ratio:
        yield _workers(run, f"Workers are busy {share(busy)} of the time", limits)
    if (unnamed := run.phase_ratio.get("other", 0.0)) >= limits.other_ratio:
        sentence = f"Your loop names no phases; {share(unnamed)} of an iteration is unaccounted for."
        yield _limit("no_phases", sentence, "Wrap sampling and learning in `driver.phase(...)`.")


def _workers(run: RunView, opening: str, limits: Thresholds) -> Finding:
    """Return what the workers' time goes into; `opening` says why the workers are the limit."""
    shares = worker_phases(run)
    busy = busy_ratio(shares)
    full = cpu_full(run, limits)
    more = "add machines, because every node's CPU is full" if full else "add workers{workers} while cores are idle"
    larger = f"Put more work into each call: {_LARGER_CALLS}; or {more}."
    if busy <= 0.0:
        return _limit("sampling_bound", f"{opening}.", larger)
    top = max(WORK_PHASES, key=lambda phase: shares[phase])
    if shares[top] < limits.worker_share_ratio * busy:
        return _limit("sampling_bound", f"{opening}; no single phase of the workers stands out.", larger)
    sentence = f"{opening}; {share(shares[top] / busy)} of the workers' busy time is spent {_DOING[top]}."
    if top == "environment":
        return _limit(
            "environment_bound",
            sentence,
            "Make the environment faster, step slow ones concurrently{step_threads}, run several in each "
            f"worker{{envs_per_worker}}, or {more}.",
        )
    if top == "inference":
        advice = "Batch more environments per forward pass{envs_per_worker} or shrink the policy{hidden}."
        return _limit("inference_bound", sentence, advice)
    return _limit("transfer_bound", sentence, _SEND_LESS)


def _one_awaited(run: RunView, wait: str, limits: Thresholds) -> Finding | None:
    """Return the busy worker that the driver and the idle workers wait for; None when no worker is busy."""

    def idle_for(worker: WorkerView) -> float:
        beat = worker.heartbeat_age_seconds or 0.0
        return 0.0 if worker.activity == "waiting" else (worker.stuck_seconds or 0.0) - beat

    def busy(worker: WorkerView) -> float:
        return busy_ratio(worker.phase_ratio)

    stuck, busiest = max(run.workers, key=idle_for), max(run.workers, key=busy)
    if idle_for(stuck) > limits.pausing_seconds:
        name, cause = stuck.worker, f"has finished nothing for {duration(idle_for(stuck))}"
    elif busy(busiest) > 1.0 - limits.overhead_ratio:
        name, cause = busiest.worker, f"is busy {share(busy(busiest))} of the time"
    else:
        return None
    async_hint = "" if run.sampler == "async" else "; asynchronous sampling{asynchronous} waits for no single worker"
    sentence = f"{wait}; the other workers wait for worker {name}, which {cause}."
    return Finding("sampling_bound", "info", sentence, f"See what it does: `raymon profile`{async_hint}.", name)


def _calls(run: RunView, wait: str, busy: float) -> Finding:
    calls = f" at {count(run.actor_calls_per_second)} calls/s" if run.actor_calls_per_second else ""
    return _limit(
        "overhead_bound",
        f"{wait}{calls}, but the workers are busy only {share(busy)} of the time: the calls themselves cost most.",
        f"Put more work into each call: {_LARGER_CALLS}; sample asynchronously{{asynchronous}}.",
    )


def _inference(run: RunView, _: Thresholds) -> Finding:
    batch = f" in batches of {count(run.inference_batch_size)}" if run.inference_batch_size else ""
    return _limit(
        "inference_bound",
        f"Computing actions in the driver{batch} takes {share(run.phase_ratio['inference'])} of each iteration.",
        "Answer more observations at once{wait_for}, or move the policy into the workers{asynchronous}.",
    )


def _transfer(run: RunView, _: Thresholds) -> Finding:
    moved = sum(run.store.put_bytes_per_second.values())
    speed = f" at {count(moved / 1e6)} MB/s" if moved else ""
    sentence = f"Fetching fragments{speed} takes {share(run.phase_ratio['transfer'])} of each iteration."
    return _limit("transfer_bound", sentence, _SEND_LESS)


def _weights(run: RunView, _: Thresholds) -> Finding:
    each = ""
    if run.updates_per_second and (moved := run.store.put_bytes_per_second.get("weights")):
        each = f" ({count(moved / run.updates_per_second / 1e6)} MB per update)"
    return _limit(
        "weights_bound",
        f"Sending weights to the workers{each} takes {share(run.phase_ratio['weights'])} of each iteration.",
        "Update less often on more samples{fragments_per_update}, or shrink the network{hidden}.",
    )


def _other(run: RunView, _: Thresholds) -> Finding:
    return _limit(
        "overhead_bound",
        f"{share(run.phase_ratio['other'])} of each iteration is outside every named phase of the driver.",
        "Take a flame graph of the driver (`raymon profile`); in your own trainer, wrap that code in a phase.",
    )


_DOING: Final = {"environment": "in the environment", "inference": "in the policy", "sending": "sending fragments"}
_LARGER_CALLS: Final = "more environments in each worker{envs_per_worker}, longer fragments{fragment_steps}"
_SEND_LESS: Final = (
    "Send less: fewer or smaller observations, `float32` or `uint8` instead of `float64`, longer fragments."
)
_PHASES: Final[dict[str, Limit]] = {
    "learn": ("learner_bound_ratio", _learner),
    "sample": ("sampling_bound_ratio", _sampling),
    "inference": ("inference_bound_ratio", _inference),
    "transfer": ("transfer_bound_ratio", _transfer),
    "weights": ("weights_bound_ratio", _weights),
    "other": ("other_ratio", _other),
}
