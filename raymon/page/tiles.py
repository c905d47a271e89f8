"""The numbers one looks at first, each with its change, its last minutes and how it is computed."""

from raymon.format import UNKNOWN, change, count, duration, plain, share, size, whole
from raymon.html.chart import sparkline
from raymon.html.markup import Child, Html, join, tag
from raymon.html.words import word
from raymon.page.context import Context
from raymon.views import StoreView

BACK_SECONDS = 60.0


def tiles(context: Context) -> Html:
    """Return the row of tiles."""
    drawn = (_steps, _iteration, _progress, _workers, _return, _lag, _store)
    return tag("section", *[draw(context) for draw in drawn], class_="tiles", aria_label="Main numbers")


def _tile(
    name: str,
    value: str,
    meaning: str,
    *,
    unit: str = "",
    under: Child = None,
    line: Html | None = None,
    key: str = "",
    mark: str = "",
) -> Html:
    return tag(
        "div",
        tag("span", name, class_="name", data_help=meaning, tabindex="0"),
        tag("b", value, join(" ", tag("small", unit)) if unit and value != UNKNOWN else None),
        tag("span", under or ("not reported yet" if value == UNKNOWN else None), class_="under"),
        line,
        class_=f"tile {mark}",
        data_tile=key or name,
    )


def _changed(context: Context, name: str, now: float | None) -> Html | None:
    """Return the change against a minute ago, in words and with an arrow; nothing when it cannot be told."""
    ratio = change(now, context.before(name, BACK_SECONDS))
    if ratio is None:
        return None
    if abs(ratio) < 0.01:
        return tag("span", "steady for 1 min", class_="change")
    arrow = "▲" if ratio > 0 else "▼"
    told = share(abs(ratio)) if abs(ratio) < 10 else f"{abs(ratio):.0f} times"
    way = "up" if ratio > 0 else "down"
    return tag("span", tag("i", arrow, aria_hidden="true"), f"{way} {told} in 1 min", class_="change")


def _line(context: Context, name: str) -> Html:
    return sparkline(context.series(name)[1])


def _steps(context: Context) -> Html:
    run = context.run
    return _tile(
        "Steps per second",
        count(run.steps_per_second),
        "Environment steps taken by all workers, per second: rate of their step counters over the last seconds.",
        unit="/s",
        under=_changed(context, "steps_per_second", run.steps_per_second),
        line=_line(context, "steps_per_second"),
        key="steps",
    )


def _iteration(context: Context) -> Html:
    run = context.run
    updates = None if run.updates is None else f"update {whole(run.updates)}"
    return _tile(
        "Iteration",
        duration(run.iteration_seconds),
        "Mean wall time of the driver's iterations (collect, learn, everything) over the last 10 seconds.",
        under=_changed(context, "iteration_seconds", run.iteration_seconds) or updates,
        line=_line(context, "iteration_seconds"),
        key="iteration",
    )


def _progress(context: Context) -> Html:
    run = context.run
    done, target, speed = run.trained_steps, run.target_steps, run.trained_steps_per_second
    if not target or done is None:
        under: Child = "no end set" if done is not None else None
        bar = None
    else:
        ratio = min(done / target, 1.0)
        left = f", {duration((target - done) / speed)} left" if speed and run.state == "training" and ratio < 1 else ""
        under = f"{share(ratio)} of {count(target)}{left}"
        bar = tag("progress", value=done, max=target, aria_label=f"Trained on {share(ratio)} of the steps")
    return _tile(
        "Trained on",
        count(done),
        "Environment steps the learner has trained on, resumed ones included; time left at the present speed.",
        unit="steps",
        under=under,
        line=bar,
        key="progress",
    )


def _workers(context: Context) -> Html:
    run = context.run
    states = run.workers_by_state
    up, expected = states.get("up"), states.get("expected")
    seen = sum(1 for worker in run.workers if worker.present)
    parts = [f"{states[state]} {word(state)}" for state in ("restarting", "given_up") if states.get(state)]
    restarts = sum(sum(worker.restarts.values()) for worker in run.workers)
    if restarts:
        parts.append(f"{restarts} restart{'s' if restarts != 1 else ''}")
    short = up is not None and expected is not None and up < expected
    value = f"{up if up is not None else seen}" if run.workers or up is not None else UNKNOWN
    return _tile(
        "Workers up",
        value,
        "Workers the driver sees up, of those it expects; without a driver, the workers whose metrics are there.",
        unit=f"of {expected}" if expected is not None else "",
        under=", ".join(parts) or ("all there" if not short and expected else None),
        key="workers",
        mark="short" if short else "",
    )


def _return(context: Context) -> Html:
    value = context.run.learning.get("return_mean")
    return _tile(
        "Mean return",
        plain(value),
        "Mean undiscounted return of the last 100 episodes of all workers.",
        under=_changed(context, "return_mean", value) or ("after the first episode" if value is None else None),
        line=_line(context, "return_mean"),
        key="return",
    )


def _lag(context: Context) -> Html:
    run = context.run
    worst = run.policy_lag_max
    under = None if worst is None else f"at most {plain(worst)} update{'s' if worst != 1 else ''}"
    return _tile(
        "Policy lag",
        plain(run.policy_lag_mean),
        "Updates between the policy that sampled and the policy that learns: mean over the last batch.",
        under=under,
        line=_line(context, "policy_lag_mean"),
        key="lag",
    )


def capacity(store: StoreView) -> float | None:
    """Return the size of the object store in bytes, or None when it is not known."""
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
        under.append(f"{count(store.refs_held)} refs held")
    return _tile(
        "Object store",
        used,
        "Shared memory of Ray's object store in use, all nodes together; references are the driver's own.",
        under=join(*[tag("span", part) for part in under]) if under else None,
        line=_line(context, "store_used_bytes"),
        key="store",
    )
