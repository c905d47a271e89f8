"""What harms a run that is alive: no updates, a policy torn apart, memory kept, samples thrown away, a straggler."""

from collections.abc import Iterator
from typing import Final

from raymon.health.thresholds import Thresholds
from raymon.health.verdicts import Severity, WorkerVerdict
from raymon.health.words import listing, percent, rate, seconds, size
from raymon.views import RunView

Harm = tuple[str, Severity, str, str]
"""State, severity, sentence, advice (see `raymon.health.advice` for its marks)."""
_SMALLER_STEPS: Final = (
    "Lower the learning rate{learning_rate}, take fewer epochs{epochs}, or bound the step{target_kl}."
)


def harms(run: RunView, workers: tuple[WorkerVerdict, ...], limits: Thresholds) -> Iterator[Harm]:
    """Yield everything that harms the run, the worst first."""
    if _is_starting(run, workers, limits):
        yield "starting", "info", _starting(run, workers), ""
        return
    yield from _no_progress(run, limits)
    yield from _diverging(run, limits)
    yield from _references(run, limits)
    yield from _store(run, limits)
    yield from _memory(run, limits)
    yield from _dropped(run, limits)
    yield from _straggler(run, workers)


def _is_starting(run: RunView, workers: tuple[WorkerVerdict, ...], limits: Thresholds) -> bool:
    young = run.started_seconds_ago is None or run.started_seconds_ago < limits.startup_grace_seconds
    if run.state == "starting":
        return young
    none_yet = bool(workers) and all(worker.state == "starting" for worker in workers)
    return none_yet and young and not run.updates


def _starting(run: RunView, workers: tuple[WorkerVerdict, ...]) -> str:
    expected = run.workers_by_state.get("expected", len(workers))
    ready = sum(worker.state in ("running", "waiting") for worker in workers)
    return f"Starting: {ready} of {expected} workers sample." if expected else "Starting."


def _no_progress(run: RunView, limits: Thresholds) -> Iterator[Harm]:
    age = run.last_update_age_seconds
    if age is None and run.state == "training" and run.updates == 0:
        age = run.started_seconds_ago
        limit = limits.startup_grace_seconds
    else:
        limit = max(limits.no_update_seconds, limits.no_update_factor * (run.iteration_seconds or 0.0))
    lag = (run.driver_heartbeat_age_seconds or 0.0) + (run.report_seconds or 0.0)
    if age is not None and age - min(lag, age / 4.0) > limit:
        usual = f"; an iteration usually takes {seconds(run.iteration_seconds)}" if run.iteration_seconds else ""
        sentence = f"No progress: no policy update for {seconds(age)}{usual}, though the driver is alive."
        yield "no_progress", "critical", sentence, "See where the driver stands: raymon profile."


def _diverging(run: RunView, limits: Thresholds) -> Iterator[Harm]:
    bad = run.learning.get("nonfinite_updates_per_second", 0.0)
    if bad > 0.0:
        count = run.learning.get("nonfinite_updates", 0.0)
        sentence = f"Diverging: {rate(count)} updates had a loss or gradient that is not finite; they were skipped."
        advice = (
            "Lower the learning rate{learning_rate}, clip gradients harder{max_gradient_norm}; look for NaN or huge "
            "rewards and observations."
        )
        yield "diverging", "critical", sentence, advice
    kl = run.learning.get("kl")
    if kl is not None and kl > limits.kl_diverging_nats:
        sentence = f"Diverging: the last update moved the policy by {kl:.2g} nats of KL divergence."
        yield "diverging", "warning", sentence, _SMALLER_STEPS


def _references(run: RunView, limits: Thresholds) -> Iterator[Harm]:
    store = run.store
    age, growth = store.refs_oldest_age_seconds, store.refs_growth_per_second
    old = max(limits.refs_old_seconds, limits.no_update_factor * (run.iteration_seconds or 0.0))
    if age is None or growth is None or age < old or growth < limits.refs_growth_per_second:
        return
    held = f"{store.refs_held or 0:.0f} object references ({size(store.refs_held_bytes or 0.0)})"
    sentence = (
        f"The driver keeps its references: it holds {held}, {rate(growth)} more each second, the oldest for "
        f"{seconds(age)}."
    )
    advice = "ray.get frees nothing: drop the references once the data is trained on (look for a list that only grows)."
    yield "references_kept", "warning", sentence, advice


def _store(run: RunView, limits: Thresholds) -> Iterator[Harm]:
    store = run.store
    held = f"; the driver's own references hold {size(store.refs_held_bytes)}" if store.refs_held_bytes else ""
    advice = "Release references earlier, send smaller fragments, or give Ray a larger store{object_store}."
    if store.spilled_bytes is not None and store.spilled_bytes > limits.spilled_bytes:
        sentence = f"The object store has spilled {size(store.spilled_bytes)} to disk{held}."
        yield "object_store", "warning", sentence, advice
    elif store.used_bytes and store.available_bytes is not None:
        ratio = store.used_bytes / (store.used_bytes + max(0.0, store.available_bytes))
        if ratio > limits.store_used_ratio:
            sentence = f"The object store is {percent(ratio)} full ({size(store.used_bytes)}){held}."
            yield "object_store", "warning", sentence, advice


def _memory(run: RunView, limits: Thresholds) -> Iterator[Harm]:
    growing = [
        (worker.rss_growth_bytes_per_second, worker)
        for worker in run.workers
        if worker.seen_seconds > limits.memory_settle_seconds
        and (worker.rss_growth_bytes_per_second or 0.0) > limits.memory_growth_bytes_per_second
    ]
    if growing:
        growth, worst = max(growing, key=lambda pair: pair[0] or 0.0)
        more = f"; so do {len(growing) - 1} more" if len(growing) > 1 else ""
        sentence = (
            f"Worker {worst.worker} grows by {size(growth or 0.0)} of memory a second, to "
            f"{size(worst.rss_bytes or 0.0)} now{more}."
        )
        yield "memory_growth", "warning", sentence, "Look for what its environment keeps from episode to episode."
    growth, settled = run.driver_rss_growth_bytes_per_second or 0.0, limits.memory_settle_seconds
    if growth > limits.memory_growth_bytes_per_second and (run.started_seconds_ago or 0.0) > settled:
        sentence = f"The driver grows by {size(growth)} of memory a second, to {size(run.driver_rss_bytes or 0.0)} now."
        yield "memory_growth", "warning", sentence, "Look for what its loop keeps from iteration to iteration."


def _dropped(run: RunView, limits: Thresholds) -> Iterator[Harm]:
    rates = {reason: value for reason, value in run.dropped_per_second.items() if reason != "shutdown" and value > 0.0}
    received = run.received_per_second
    if not rates or not received or sum(rates.values()) < limits.dropped_ratio * received:
        return
    reason = max(rates, key=rates.__getitem__)
    sentence = f"{percent(sum(rates.values()) / received)} of the fragments are thrown away, mostly as {reason}."
    advice = {
        "stale": (
            "Use fewer workers{workers} or shorter fragments{fragment_steps}, train on more at once"
            "{fragments_per_update}, or tolerate more lag{max_policy_lag}."
        ),
        "invalid": "Look at what the environment sends: wrong shapes or numbers that are not finite.",
    }.get(reason, "See the losses of workers.")
    yield "samples_dropped", "warning", sentence, advice


def _straggler(run: RunView, workers: tuple[WorkerVerdict, ...]) -> Iterator[Harm]:
    slow = [worker for worker in workers if worker.state == "slow"]
    if not slow:
        return
    names = [worker.worker for worker in slow]
    whom = f"worker {names[0]} needs" if len(names) == 1 else f"workers {listing(names)} are slow; {names[0]} needs"
    wait = run.phase_ratio.get("sample")
    cost = f"; {percent(wait)} of the wall is waiting for samples" if wait is not None else ""
    advice = (
        "Look at its node and its environment. Sampling asynchronously{asynchronous} keeps one slow worker from "
        "holding the others up."
    )
    if run.sampler == "async":
        advice = "Look at its node and its environment; the others are not held up by it{asynchronous}."
    yield "straggler_bound", "warning", f"Straggler-bound: {whom} {slow[0].reason}{cost}.", advice
