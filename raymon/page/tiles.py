"""The main numbers, each with its change, its last minutes and how it is computed."""

from typing import Final

from raymon.format import UNKNOWN, change, count, duration, plain, share, size, whole
from raymon.html.chart import sparkline
from raymon.html.markup import Child, Html, join, tag
from raymon.html.words import word
from raymon.page.context import Context
from raymon.views import StoreView

CHANGE_SECONDS: Final = 60.0
STEADY_RATIO: Final = 0.01


def tiles(context: Context) -> Html:
    """Return the row of tiles."""
    draw = (_steps, _iteration, _progress, _workers, _return, _lag, _store)
    return tag("section", *[each(context) for each in draw], class_="tiles", aria_label="Main numbers")


def _tile(
    key: str,
    name: str,
    value: str,
    meaning: str,
    *,
    unit: str = "",
    under: Child = None,
    line: Html | None = None,
    css: str = "",
) -> Html:
    return tag(
        "div",
        tag("span", name, class_="name", data_help=meaning, tabindex="0"),
        tag("b", value, join(" ", tag("small", unit)) if unit and value != UNKNOWN else None),
        tag("span", under or ("not reported yet" if value == UNKNOWN else None), class_="under"),
        line,
        class_=f"tile {css}",
        data_tile=key,
    )


def _change(context: Context, series: str, value: float | None) -> Html | None:
    """Return the change against a minute ago, as words and an arrow; None when it is not known."""
    ratio = change(value, context.value_before(series, CHANGE_SECONDS))
    if ratio is None:
        return None
    if abs(ratio) < STEADY_RATIO:
        return tag("span", "steady for 1 min", class_="change")
    arrow, direction = ("▲", "up") if ratio > 0 else ("▼", "down")
    amount = share(abs(ratio)) if abs(ratio) < 10 else f"{count(abs(ratio))} times"
    return tag("span", tag("i", arrow, aria_hidden="true"), f"{direction} {amount} in 1 min", class_="change")


def _sparkline(context: Context, series: str) -> Html:
    return sparkline(context.series(series)[1])


def _steps(context: Context) -> Html:
    run = context.run
    return _tile(
        "steps",
        "Steps per second",
        count(run.steps_per_second),
        "Environment steps of all workers, per second: rate of their step counters over the last seconds.",
        unit="/s",
        under=_change(context, "steps_per_second", run.steps_per_second),
        line=_sparkline(context, "steps_per_second"),
    )


def _iteration(context: Context) -> Html:
    run = context.run
    updates = None if run.updates is None else f"update {whole(run.updates)}"
    return _tile(
        "iteration",
        "Iteration",
        duration(run.iteration_seconds),
        "Mean wall time of the driver's iterations (sample, learn, everything) over the last 10 seconds.",
        under=_change(context, "iteration_seconds", run.iteration_seconds) or updates,
        line=_sparkline(context, "iteration_seconds"),
    )


def _progress(context: Context) -> Html:
    run = context.run
    done, target, speed = run.trained_steps, run.target_steps, run.trained_steps_per_second
    if not target or done is None:
        under: Child = "no target set" if done is not None else None
        bar = None
    else:
        ratio = min(done / target, 1.0)
        left = f", {duration((target - done) / speed)} left" if speed and run.state == "training" and ratio < 1 else ""
        under = f"{share(ratio)} of {count(target)}{left}"
        bar = tag("progress", value=done, max=target, aria_label=f"Trained on {share(ratio)} of the steps")
    return _tile(
        "progress",
        "Trained on",
        count(done),
        "Environment steps the learner has trained on, including resumed ones; time left at the present speed.",
        unit="steps",
        under=under,
        line=bar,
    )


def _workers(context: Context) -> Html:
    run = context.run
    states = run.workers_by_state
    up, expected = run.workers_up, states.get("expected")
    if up is None:
        up = states.get("up")
    if up is None and run.workers:
        up = sum(1 for worker in run.workers if worker.present)
    short = up is not None and expected is not None and up < expected and not context.ended
    parts = [f"{states[state]} {word(state)}" for state in ("restarting", "given_up") if states.get(state)]
    verdicts = [verdict.state for verdict in context.verdict.workers]
    parts += [f"{verdicts.count(state)} {word(state)}" for state in ("stalled", "failing") if state in verdicts]
    restarts = sum(sum(worker.restarts.values()) for worker in run.workers)
    if restarts:
        parts.append(f"{restarts} restart{'s' if restarts != 1 else ''}")
    return _tile(
        "workers",
        "Workers up",
        UNKNOWN if up is None else str(up),
        "Workers that are up, of those the driver expects: as the driver counts them, else from their heartbeats.",
        unit=f"of {expected}" if expected is not None else "",
        under=", ".join(parts) or ("all up" if expected and not short and not context.ended else None),
        css="short" if short else "",
    )


def _return(context: Context) -> Html:
    value = context.run.learning.get("return_mean")
    return _tile(
        "return",
        "Mean return",
        plain(value),
        "Mean undiscounted return of the last 100 episodes of all workers.",
        under=_change(context, "return_mean", value) or ("after the first episode" if value is None else None),
        line=_sparkline(context, "return_mean"),
    )


def _lag(context: Context) -> Html:
    run = context.run
    worst = run.policy_lag_max
    return _tile(
        "lag",
        "Policy lag",
        plain(run.policy_lag_mean),
        "Updates between the policy that sampled and the policy that learns: mean over the last batch.",
        under=None if worst is None else f"at most {plain(worst)} update{'s' if worst != 1 else ''}",
        line=_sparkline(context, "policy_lag_mean"),
    )


def capacity(store: StoreView) -> float | None:
    """Return the size of the object store in bytes; None when it is not known."""
    if store.used_bytes is None or store.available_bytes is None:
        return None
    return store.used_bytes + store.available_bytes


def _store(context: Context) -> Html:
    store = context.run.store
    total = capacity(store)
    used = share(store.used_bytes / total) if total and store.used_bytes is not None else size(store.used_bytes)
    under = [f"{size(store.used_bytes)} of {size(total)}"] if total else []
    if store.spilled_bytes:
        under.append(f"{size(store.spilled_bytes)} spilled")
    if store.refs_held is not None:
        under.append(f"{count(store.refs_held)} references")
    return _tile(
        "store",
        "Object store",
        used,
        "Shared memory of Ray's object store in use, all nodes together; references are the driver's own.",
        under=join(*[tag("span", part) for part in under]) if under else None,
        line=_sparkline(context, "store_used_bytes"),
    )
