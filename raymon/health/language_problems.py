"""What harms the training of a language model although all processes run: stale weights, no signal, growing buffers."""

from collections.abc import Iterator
from statistics import median

from raymon.format import count, duration, plain, share
from raymon.health.impact import unused_cost, with_cost
from raymon.health.shares import no_signal_ratio, of_language_model
from raymon.health.thresholds import Thresholds
from raymon.health.verdicts import Finding
from raymon.health.worker_verdict import RAY_DEFAULT_REPORT_SECONDS
from raymon.views import RunView


def language_problems(run: RunView, limits: Thresholds) -> Iterator[Finding]:
    """Yield what harms the training of a language model, the worst first; nothing for other runs."""
    if of_language_model(run):
        yield from _stale_weights(run, limits)
        yield from _no_signal(run, limits)
        yield from _growing_buffer(run, limits)


def _stale_weights(run: RunView, limits: Thresholds) -> Iterator[Finding]:
    """Yield that weights do not arrive: by the versions of the rollout workers, or by the synchronizations.

    A trainer that drops what is too stale makes no update any more when all of it is: fewer updates show it then.
    """
    dropped = _stale_drops(run)
    drops = dropped >= limits.dropped_ratio
    limit = limits.stale_dropped_updates if drops else limits.stale_weights_updates
    seen_late = 0.0 if drops else _updates_between_exports(run)
    end = f"; {share(dropped)} of the batches are dropped as stale." if drops else "."
    cost = unused_cost(run, dropped) if drops else None
    lags = {w.worker: w.policy_lag for w in run.workers if w.role == "rollout" and w.policy_lag is not None}
    stale = {name: lag for name, lag in lags.items() if lag > limit + seen_late}
    since, usual = run.flow.updates_since_sync or 0.0, run.flow.updates_between_syncs
    advice = (
        "Check that each synchronization ends and reaches every rollout worker: `raymon profile` shows where it is."
    )
    if stale and len(stale) < len(lags):
        name = max(stale, key=stale.__getitem__)
        others = plain(median(lag for worker, lag in lags.items() if worker not in stale))
        more = f" ({len(stale) - 1} more are as old)" if len(stale) > 1 else ""
        sentence = (
            f"Worker {name} generates with weights {plain(stale[name])} updates old{more}, the others {others}{end}"
        )
        finding = Finding("weights_stale", "warning", sentence, advice, name if len(stale) == 1 else "")
        yield with_cost(finding, cost)
    elif stale:
        old = plain(median(stale.values()))
        sentence = f"The rollout workers generate with weights {old} updates old{end}"
        yield with_cost(Finding("weights_stale", "warning", sentence, advice), cost)
    elif usual and since > max(limit, limits.overdue_sync_factor * usual):
        sentence = f"Weights were not synchronized for {plain(since)} updates (before, for at most {plain(usual)}){end}"
        yield with_cost(Finding("weights_stale", "warning", sentence, advice), cost)


def _updates_between_exports(run: RunView) -> float:
    """Return by how many updates versions of two processes may differ because they are exported at other moments."""
    report = RAY_DEFAULT_REPORT_SECONDS if run.report_seconds is None else run.report_seconds
    return 2.0 * report / run.iteration_seconds if run.iteration_seconds else 0.0


def _stale_drops(run: RunView) -> float:
    """Return the share of what the driver receives that it drops as too stale."""
    return run.dropped_per_second.get("stale", 0.0) / run.received_per_second if run.received_per_second else 0.0


def _no_signal(run: RunView, limits: Thresholds) -> Iterator[Finding]:
    ratio, groups = no_signal_ratio(run.flow), sum(run.flow.groups.values())
    if ratio is None or ratio < limits.no_signal_ratio or groups < limits.no_signal_least_groups:
        return
    sentence = f"{share(ratio)} of the last {count(groups)} groups have equal rewards: they train nothing."
    advice = (
        "If they are all solved, take harder prompts; if none is, easier ones or more responses per "
        "prompt{group_size}. Groups without a signal can be left out{filter_groups}."
    )
    yield with_cost(Finding("no_learning_signal", "warning", sentence, advice), unused_cost(run, ratio))


def _growing_buffer(run: RunView, limits: Thresholds) -> Iterator[Finding]:
    """Yield that a buffer without a limit grows for longer than a passing imbalance explains."""
    flow = run.flow
    age, growth = flow.buffer_oldest_age_seconds, flow.buffer_growth_per_second
    if flow.buffer_capacity or age is None or not growth or growth <= 0.0:
        return
    if age > max(limits.buffer_old_seconds, limits.no_update_factor * (run.iteration_seconds or 0.0)):
        depth, rate = count(flow.buffer_depth), count(growth)
        sentence = (
            f"The buffer holds {depth} samples, {rate} more each second; the oldest was generated {duration(age)} ago."
        )
        advice = (
            "Samples are generated faster than they are trained on: bound the staleness{staleness}, train on more at "
            "once{train_batch}, or use fewer rollout workers{rollout_workers}."
        )
        yield Finding("buffer_overfull", "warning", sentence, advice)
