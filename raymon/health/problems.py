"""What harms a run that is alive: lost workers, no updates, a diverging policy, memory, dropped samples, stragglers."""

import shlex
from collections.abc import Iterator
from typing import Final

from raymon.format import count, duration, listing, share, size
from raymon.health.empty_rollouts import empty_rollouts
from raymon.health.failing_rollouts import failing_rollouts, has_succeeded, held_up_by_failure, nothing_succeeded
from raymon.health.impact import Cost, absence_cost, standstill_cost, straggler_cost, with_cost
from raymon.health.language_problems import language_problems
from raymon.health.stragglers import stragglers
from raymon.health.thresholds import Thresholds
from raymon.health.unplaced_workers import unplaced_workers
from raymon.health.verdicts import Finding, WorkerVerdict
from raymon.views import RunView

_SMALLER_STEPS: Final = (
    "Lower the learning rate{learning_rate}, take fewer epochs{epochs}, or bound the step{target_kl}."
)


_WHY_IT_ENDED: Final = "Why it ended stands in its detail on the page, in `raymon incidents` and in its log"
_MOST_AWAITED: Final = 4
"""A driver that waits for more workers than this waits for no one in particular."""
_PAUSE_PHASES: Final = ("checkpoint", "log", "other")
"""A driver that evaluates or writes a checkpoint makes no update meanwhile; an evaluation may be in no named phase."""


def problems(run: RunView, workers: tuple[WorkerVerdict, ...], limits: Thresholds) -> Iterator[Finding]:
    """Yield everything that harms the run, worst first; advice contains the marks of `raymon.health.advice`."""
    failing = (*failing_rollouts(run, workers, limits), *empty_rollouts(run, limits))
    no_progress = tuple(_no_progress(run, workers, limits))
    if not failing:
        failing = tuple(held_up_by_failure(run, workers, limits, stands=bool(no_progress)))
    yield from (finding for finding in failing if finding.severity == "critical")
    yield from _lost_workers(run, workers, limits)
    if failing:
        yield from (finding for finding in failing if finding.severity != "critical")
    elif _is_starting(run, workers, limits):
        yield Finding("starting", "info", _starting(run, workers))
        return
    elif not run.last_update_age_seconds:
        yield from nothing_succeeded(run, limits)
    yield from no_progress
    yield from _diverging(run, limits)
    yield from language_problems(run, limits)
    yield from _references(run, limits)
    yield from _store(run, limits)
    yield from _memory(run, limits)
    yield from _dropped(run, limits)
    yield from _straggler(run, workers, limits)


def _lost_workers(run: RunView, workers: tuple[WorkerVerdict, ...], limits: Thresholds) -> Iterator[Finding]:
    by_state: dict[str, list[WorkerVerdict]] = {}
    for worker in workers:
        by_state.setdefault(worker.state, []).append(worker)
    if stalled := by_state.get("stalled"):
        ended = {worker.worker for worker in run.workers if worker.process == "gone"}
        there = [worker.worker for worker in stalled if worker.worker not in ended]
        if there:
            command = f"raymon profile --worker {shlex.quote(there[0])}"
            advice = f"See where it is: `{command}`. A time-out{{worker_timeout}} ends the wait."
        else:
            advice = f"{_WHY_IT_ENDED}. Create its actor again when a call of it fails."
        cost = absence_cost(run, [worker.worker for worker in stalled])
        yield Finding(
            "worker_stalled", "critical", _about(stalled, "stalled", cost), advice, _only(stalled), _ratio(cost)
        )
    if gone := [*by_state.get("given_up", ()), *by_state.get("dead", ())]:
        advice = f"{_WHY_IT_ENDED}; the run continues without it. A limit{{max_restarts}} sets how often to restart."
        cost = absence_cost(run, [worker.worker for worker in gone])
        yield Finding("workers_lost", "critical", _about(gone, "gone", cost), advice, _only(gone), _ratio(cost))
    yield from unplaced_workers(run, workers, limits)
    restarting = by_state.get("restarting", [])
    back = [worker.worker for worker in run.workers if worker.recent_restarts]
    if restarting or run.recent_losses or back:
        reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(run.recent_losses.items()))
        cost = absence_cost(run, [worker.worker for worker in restarting])
        if restarting:
            sentence = _about(restarting, "being replaced", cost)
        elif back:
            who = "The driver" if run.recent_losses else "Ray"
            sentence = f"{who} has just replaced worker{'s' if len(back) > 1 else ''} {listing(back)}."
        else:
            sentence = "The driver has just replaced a worker."
        lost = f" Lost within the last half minute: {reasons}." if reasons else ""
        named = _only(restarting) if restarting else back[0] if len(back) == 1 else ""
        yield Finding("workers_lost", "warning", sentence + lost, f"{_WHY_IT_ENDED}.", named, _ratio(cost))


def _only(workers: list[WorkerVerdict]) -> str:
    return workers[0].worker if len(workers) == 1 else ""


def _ratio(cost: Cost | None) -> float | None:
    return None if cost is None else cost.ratio


def _about(workers: list[WorkerVerdict], state: str, cost: Cost | None = None) -> str:
    names = [worker.worker for worker in workers]
    one = len(names) == 1
    costs = f"; this {cost.text()}" if cost else ""
    if one:
        return f"Worker {names[0]} is {state}: {workers[0].reason}{costs}."
    return f"Workers {listing(names)} are {state}; worker {names[0]}: {workers[0].reason}{costs}."


def _is_starting(run: RunView, workers: tuple[WorkerVerdict, ...], limits: Thresholds) -> bool:
    young = run.started_seconds_ago is None or run.started_seconds_ago < limits.startup_grace_seconds
    if not run.workers and run.workers_by_state.get("expected"):  # updates without a rollout prove little
        return young
    sampled = any(has_succeeded(worker) for worker in run.workers)
    warm = sampled and (run.started_seconds_ago or 0.0) > limits.warmup_seconds
    if run.state == "starting" and not run.updates:
        return young and not warm  # a loop need not say that it trains, nor count its updates
    idle = {"starting", "waiting", "unknown"}
    states = {worker.state for worker in workers}
    none_yet = states <= idle and not sampled
    return bool(workers) and young and not run.updates and (none_yet or states == {"starting"})


def _starting(run: RunView, workers: tuple[WorkerVerdict, ...]) -> str:
    expected = run.workers_by_state.get("expected", len(workers))
    up = sum(worker.state in ("running", "waiting") for worker in workers)
    ready = up if run.workers_up is None else min(up, run.workers_up)
    return f"The run is starting: {ready} of {expected} workers sample." if expected else "The run is starting."


def _no_progress(run: RunView, workers: tuple[WorkerVerdict, ...], limits: Thresholds) -> Iterator[Finding]:
    age = run.last_update_age_seconds
    if age is None and run.state == "training" and run.updates == 0:
        age, limit = run.started_seconds_ago, limits.startup_grace_seconds
    else:
        limit = _update_limit(run, workers, limits)
    if age is not None and age - (run.driver_heartbeat_age_seconds or 0.0) > limit:  # both as of its last flush
        usual = f" (an iteration normally takes {duration(run.iteration_seconds)})" if run.iteration_seconds else ""
        sentence = f"No policy update for {duration(age)}{usual}; {_driver_place(run)}."
        finding = Finding("no_progress", "critical", sentence, "See where the driver is: `raymon profile`.")
        yield with_cost(finding, standstill_cost(run))


def _driver_place(run: RunView) -> str:
    """Return what the driver is doing: what it waits for, the frame it is in, or its phase."""
    place = f", in `{run.driver_where}`" if run.driver_where else ""
    if waits := driver_waits(run):
        return f"{waits}{place}"
    if place:
        return f"the driver is{place.removeprefix(',')}"
    return f"the driver reports, it is {f'in phase {run.phase}' if run.phase else 'alive'}"


def driver_waits(run: RunView) -> str:
    """Return which workers the driver waits for and how long, as a clause; empty if unknown or none."""
    names = run.driver_waits_for
    if not names or run.driver_silent_seconds is None or len(names) > _MOST_AWAITED:
        return ""
    workers = f"worker{'s' if len(names) > 1 else ''} {listing(names)}"
    return f"the driver has waited {duration(run.driver_silent_seconds)} for {workers}"


def _update_limit(run: RunView, workers: tuple[WorkerVerdict, ...], limits: Thresholds) -> float:
    """Return the seconds without an update beyond which the run makes no progress."""
    usual = max(limits.no_update_factor * (run.iteration_seconds or 0.0), limits.update_gap_factor * _gap(run))
    if run.phase in _PAUSE_PHASES:
        return max(limits.pause_patience_seconds, usual)
    least = limits.no_update_seconds
    if (run.watched_seconds or 0.0) > limits.learned_seconds and (run.report_seconds or 9.0) < 2.0:
        least = limits.no_update_least_seconds
    elif (run.report_seconds or 0.0) > 2.0:  # the workers' own exports may come later, and say who is to blame
        least += 2.0 * (run.report_seconds or 0.0)
    if any(worker.state == "suspect" for worker in workers):  # it may be the cause, and is about to be named
        least += limits.no_update_least_seconds
    return max(least + _rollout_seconds(run, workers), usual)


def _rollout_seconds(run: RunView, workers: tuple[WorkerVerdict, ...]) -> float:
    """Return how long rollouts of the workers that sample now usually take; an update may have to wait for one."""
    running = {worker.worker for worker in workers if worker.state == "running"}
    views = [view for view in run.workers if view.worker in running]
    return max((view.latency_seconds.get("p99") or view.mean_rollout_seconds or 0.0 for view in views), default=0.0)


def _gap(run: RunView) -> float:
    return run.longest_update_gap_seconds or 0.0


def _diverging(run: RunView, limits: Thresholds) -> Iterator[Finding]:
    if run.learning.get("nonfinite_updates_per_second", 0.0) > 0.0:
        number = count(run.learning.get("nonfinite_updates", 0.0))
        sentence = f"{number} updates had a loss or gradient that is not finite"
        sentence += " and were skipped." if run.engine == "own" else "."
        advice = (
            "Lower the learning rate{learning_rate}, clip gradients harder{max_gradient_norm}; look for NaN or huge "
            "rewards and observations."
        )
        if run.engine != "own":
            advice += " A trainer that applied them has lost its weights: resume from a checkpoint of before."
        yield Finding("loss_not_finite", "critical", sentence, advice)
    kl = run.learning.get("kl")
    if kl is not None and kl > limits.kl_diverging_nats:
        sentence = f"The last update moved the policy by {kl:.2g} nats of KL divergence."
        yield Finding("diverging", "warning", sentence, _SMALLER_STEPS)


def _references(run: RunView, limits: Thresholds) -> Iterator[Finding]:
    store = run.store
    age, growth = store.refs_oldest_age_seconds, store.refs_growth_per_second
    old = max(limits.refs_old_seconds, limits.no_update_factor * (run.iteration_seconds or 0.0))
    if age is None or growth is None or age < old or growth < limits.refs_growth_per_second:
        return
    references = f"{store.refs_held or 0:.0f} object references ({size(store.refs_held_bytes or 0.0)})"
    sentence = f"The driver holds {references}, {count(growth)} more each second; the oldest is {duration(age)} old."
    advice = "`ray.get` frees nothing: drop references once their data is trained on (look for a list that only grows)."
    yield Finding("references_kept", "warning", sentence, advice)


def _store(run: RunView, limits: Thresholds) -> Iterator[Finding]:
    store = run.store
    references = f"; the driver's own references hold {size(store.refs_held_bytes)}" if store.refs_held_bytes else ""
    advice = "Release references earlier, send smaller fragments, or give Ray a larger store{object_store}."
    if store.spilled_bytes is not None and store.spilled_bytes > limits.spilled_bytes:
        sentence = f"The object store has spilled {size(store.spilled_bytes)} to disk{references}."
        yield Finding("object_store", "warning", sentence, advice)
    elif store.used_bytes and store.available_bytes is not None:
        ratio = store.used_bytes / (store.used_bytes + max(0.0, store.available_bytes))
        if ratio > limits.store_used_ratio:
            sentence = f"The object store is {share(ratio)} full ({size(store.used_bytes)}){references}."
            yield Finding("object_store", "warning", sentence, advice)


def _memory(run: RunView, limits: Thresholds) -> Iterator[Finding]:
    growing = [
        (worker.rss_growth_bytes_per_second, worker)
        for worker in run.workers
        if worker.seen_seconds > limits.memory_settle_seconds
        and (worker.rss_growth_bytes_per_second or 0.0) > limits.memory_growth_bytes_per_second
    ]
    if growing:
        growth, worst = max(growing, key=lambda pair: pair[0] or 0.0)
        more = f"; {len(growing) - 1} more workers grow too" if len(growing) > 1 else ""
        sentence = (
            f"The memory of worker {worst.worker} grows by {size(growth)}/s and is {size(worst.rss_bytes)}{more}."
        )
        advice = "Look for what its environment keeps from episode to episode."
        yield Finding("memory_growth", "warning", sentence, advice, worst.worker)
    growth, settled = run.driver_rss_growth_bytes_per_second or 0.0, limits.memory_settle_seconds
    if growth > limits.memory_growth_bytes_per_second and (run.started_seconds_ago or 0.0) > settled:
        sentence = f"The driver's memory grows by {size(growth)}/s and is {size(run.driver_rss_bytes)}."
        advice = "Look for what its loop keeps from iteration to iteration."
        yield Finding("memory_growth", "warning", sentence, advice)


def _dropped(run: RunView, limits: Thresholds) -> Iterator[Finding]:
    rates = {reason: value for reason, value in run.dropped_per_second.items() if reason != "shutdown" and value > 0.0}
    received = run.received_per_second
    if not rates or not received or sum(rates.values()) < limits.dropped_ratio * received:
        return
    reason = max(rates, key=rates.__getitem__)
    sentence = f"{share(sum(rates.values()) / received)} of the fragments are dropped, mostly as {reason}."
    advice = {
        "stale": (
            "Use fewer workers{workers} or shorter fragments{fragment_steps}, train on more at once"
            "{fragments_per_update}, or tolerate more lag{max_policy_lag}."
        ),
        "invalid": "Check what the environment sends: wrong shapes or numbers that are not finite.",
    }.get(reason, "See which workers were lost, and why.")
    yield Finding("samples_dropped", "warning", sentence, advice)


def _straggler(run: RunView, workers: tuple[WorkerVerdict, ...], limits: Thresholds) -> Iterator[Finding]:
    slow = [worker for worker in workers if worker.state == "slow"]
    if not slow:
        return
    names = {worker.worker for worker in slow}
    slow_workers = stragglers(run, limits, names)
    cost = straggler_cost(run, {name: item for name, item in slow_workers.items() if name in names})
    if any(worker.unit == "token" and worker.worker in names for worker in run.workers):
        advice = "Check its node and its engine: other programs, thermal limits, a smaller cache for keys and values."
    elif run.sampler == "async":
        advice = "Check its node and its environment; asynchronous sampling{asynchronous} does not wait for it."
    else:
        advice = "Check its node and its environment. Asynchronous sampling{asynchronous} would not wait for it."
    yield Finding("straggler_bound", "warning", _about(slow, "slow", cost), advice, _only(slow), _ratio(cost))
