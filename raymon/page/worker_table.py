"""The table of workers, worst first: state and reason, rates, latency, progress, failures, restarts, memory."""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

from raymon.catalog import ROLES
from raymon.format import UNKNOWN, count, duration, plain, size
from raymon.health import WORKER_STATES, WorkerVerdict, worker_rank
from raymon.html.age import age_ago
from raymon.html.chart import sparkline
from raymon.html.markup import Child, Html, join, tag
from raymon.html.words import failing, shape, state_badge, word
from raymon.page.choice import ROWS
from raymon.page.context import Context
from raymon.views import WorkerView

Pair = tuple[WorkerView, WorkerVerdict]

SPARKLINES: Final = 60
"""Rows with a sparkline; further rows have the number alone."""
GROWING_BYTES_PER_SECOND: Final = 1e6


class Column(NamedTuple):
    """One column: what a row shows in it and how rows are ordered by it, smallest key first."""

    order: str
    title: str
    css: str
    meaning: str
    cell: Callable[[Context, Pair], Child]
    key: Callable[[Pair], float]


def sorted_workers(context: Context, order: str) -> list[Pair]:
    """Return the workers in an order, equal ones by their number."""
    key = next(column.key for column in COLUMNS if column.order == order)
    return sorted(context.judged_workers(), key=lambda pair: (key(pair), ROLES.index(pair[0].role), _number(pair[0])))


def matches(pair: Pair, state: str, text: str) -> bool:
    """Return whether a worker has the state and every word of the text in its number, node, pid, state or reason.

    A number must match as a whole: `12` finds worker 12 and not worker 120.
    """
    worker, verdict = pair
    if state and verdict.state != state:
        return False
    place = f"node {worker.node or ''} pid {worker.pid or ''}"
    searched = (
        f"worker {worker.worker} {worker.role} {place} {word(verdict.state)} {verdict.reason} {failing(worker)}".lower()
    )
    words = set(searched.split())
    return all(part in words if part.isdigit() else part in searched for part in text.lower().split())


def table(context: Context) -> Html:
    """Return the section with filters, search and as many rows as chosen."""
    choice = context.choice
    pairs = sorted_workers(context, choice.order)
    matching = [pair for pair in pairs if matches(pair, choice.state, choice.q)]
    shown = matching[: choice.row_limit]
    columns = [column for column in COLUMNS if column.order not in _absent(pairs)]
    rows = [_row(context, pair, columns, index) for index, pair in enumerate(shown)]
    if not rows:
        text = "No worker matches; clear the search or the filter." if pairs else "No worker has reported yet."
        rows = [tag("tr", tag("td", text, colspan=len(columns), class_="none"))]
    head = tag("thead", tag("tr", *[_heading(choice.order, column) for column in columns]))
    grid = tag("table", tag("caption", "Workers, worst first", class_="spoken"), head, tag("tbody", *rows))
    total = f"{len(pairs)} in all" if len(matching) == len(pairs) else f"{len(matching)} of {len(pairs)}"
    return tag(
        "section",
        tag("h2", "Workers", tag("small", total)),
        _filters(context, pairs),
        tag("div", grid, class_="scroll", tabindex="0", role="region", aria_label="Table of workers"),
        _more(len(shown), len(matching)),
        class_="panel",
        data_section="workers",
    )


def _absent(pairs: list[Pair]) -> set[str]:
    """Return the columns in which no row would have anything."""
    workers = [worker for worker, _ in pairs]
    empty = {
        "failures": not any(worker.failures_total > 0 or failing(worker) for worker in workers),
        "role": all(worker.role == "env" for worker in workers),
        "tokens": not any(worker.flow.tokens_per_second for worker in workers),
    }
    if not empty["tokens"] and not any(worker.steps_per_second for worker in workers):
        empty.update(steps=True, **{"return": True})
    return {order for order, nothing in empty.items() if nothing}


def _filters(context: Context, pairs: list[Pair]) -> Html:
    chosen = context.choice.state
    totals = {state: sum(1 for _, verdict in pairs if verdict.state == state) for state in WORKER_STATES}
    chips = [_chip("", "all", len(pairs), pressed=chosen == "")]
    chips += [
        _chip(state, word(state), totals[state], pressed=chosen == state)
        for state in WORKER_STATES
        if totals[state] or state == chosen
    ]
    search = tag(
        "input",
        type="search",
        data_bind="q",
        value=context.choice.q,
        placeholder="Search worker, node, pid, reason",
        aria_label="Search the workers",
        autocomplete="off",
        spellcheck="false",
    )
    buttons = tag("div", *chips, class_="chips", role="group", aria_label="Filter by state")
    return tag("div", buttons, search, class_="tools")


def _chip(state: str, name: str, total: int, *, pressed: bool) -> Html:
    return tag(
        "button",
        shape(state) if state else None,
        name,
        tag("b", str(total)),
        type="button",
        class_=f"chip is-{state}" if state else "chip",
        data_set=f"state={state}",
        aria_pressed="true" if pressed else "false",
    )


def _heading(order: str, column: Column) -> Html:
    sorted_by = order == column.order
    direction, arrow = ("ascending", "↑") if column.order == "worker" else ("descending", "↓")
    button = tag(
        "button",
        column.title,
        tag("i", arrow, aria_hidden="true") if sorted_by else None,
        type="button",
        data_set=f"order={column.order}",
        data_help=column.meaning,
    )
    return tag("th", button, class_=column.css or None, scope="col", aria_sort=direction if sorted_by else None)


def _row(context: Context, pair: Pair, columns: list[Column], index: int) -> Html:
    worker, verdict = pair
    cells = []
    for column in columns:
        body = column.cell(context, pair)
        if column.order == "steps" and index < SPARKLINES:
            body = join(_steps_sparkline(context, worker), body)
        cells.append(tag("td", body, class_=column.css or f"cell-{column.order}", data_name=column.title))
    return tag(
        "tr",
        *cells,
        class_=f"is-{verdict.state}" + (" open" if context.choice.worker == worker.worker else ""),
        data_key=f"worker-{worker.worker}",
        data_worker=worker.worker,
        data_state=verdict.state,
        data_set=f"worker={worker.worker}",
    )


def _state(_: Context, pair: Pair) -> Child:
    return join(state_badge(pair[1].state), tag("small", pair[1].reason))


def _worker(_: Context, pair: Pair) -> Child:
    worker = pair[0]
    button = tag(
        "button",
        worker.worker,
        type="button",
        class_="link",
        data_set=f"worker={worker.worker}",
        aria_label=f"Worker {worker.worker}, open detail",
    )
    place = " · ".join(part for part in (worker.node, f"pid {worker.pid}" if worker.pid else None) if part)
    return join(button, tag("small", place))


def _latency(_: Context, pair: Pair) -> Child:
    quantiles = pair[0].latency_seconds
    if not quantiles:
        return UNKNOWN
    return join(duration(quantiles.get("p50")), " · ", tag("b", duration(quantiles.get("p95"))))


def _tokens(_: Context, pair: Pair) -> Child:
    worker = pair[0]
    cost = f"{duration(worker.step_seconds)} each" if worker.unit == "token" and worker.step_seconds else None
    return join(tag("b", count(worker.flow.tokens_per_second.get("out"))), tag("small", cost) if cost else None)


def _failures(_: Context, pair: Pair) -> Child:
    worker = pair[0]
    total = count(worker.failures_total)
    rate = sum(worker.failures.values())
    if not worker.failures_total and not rate:
        return "0"
    names = ", ".join(sorted(worker.failures, key=lambda name: -worker.failures[name])[:2])
    now = tag("b", f"{count(rate)}/s", class_="bad") if rate else join(f"{total} so far")
    return join(now, tag("small", names or None))


def _restarts(_: Context, pair: Pair) -> Child:
    restarts = pair[0].restarts
    reasons = ", ".join(f"{reason} {number}" for reason, number in restarts.items() if number)
    return join(str(sum(restarts.values())), tag("small", reasons) if reasons else None)


def _memory(_: Context, pair: Pair) -> Child:
    grows = (pair[0].rss_growth_bytes_per_second or 0.0) > GROWING_BYTES_PER_SECOND
    return join(size(pair[0].rss_bytes), tag("i", " ↗", title="grows") if grows else None)


def _steps_sparkline(context: Context, worker: WorkerView) -> Html | None:
    history, rows = context.worker_history()
    row = rows.get(worker.worker)
    if row is None or not len(history.times):
        return None
    kept = history.times >= context.now + context.domain[0]
    return sparkline(history.steps_per_second[row, kept].astype(float))


def _number(worker: WorkerView) -> tuple[float, str]:
    try:
        return float(int(worker.worker)), worker.worker
    except ValueError:
        return math.inf, worker.worker


def _largest_first(value: float | None) -> float:
    return math.inf if value is None or not math.isfinite(value) else -value


def _smallest_first(value: float | None) -> float:
    return math.inf if value is None or not math.isfinite(value) else value


COLUMNS: Final = (
    Column(
        "trouble",
        "State",
        "why",
        "The verdict on the worker; worst first: stalled, dead, given up, failing, restarting, slow.",
        _state,
        lambda pair: worker_rank(pair[1].state),
    ),
    Column(
        "worker",
        "Worker",
        "whom",
        "The worker's number in the run; a replacement keeps it.",
        _worker,
        lambda pair: _number(pair[0])[0],
    ),
    Column(
        "role",
        "Role",
        "role",
        "What its process does; workers are compared with those of their role.",
        lambda _, pair: pair[0].role,
        lambda pair: ROLES.index(pair[0].role),
    ),
    Column(
        "tokens",
        "Tokens/s",
        "number",
        "Tokens of responses per second, and the time per token of its last batches.",
        _tokens,
        lambda pair: _smallest_first(pair[0].flow.tokens_per_second.get("out")),
    ),
    Column(
        "steps",
        "Steps/s",
        "number",
        "Environment steps per second, and their course over the chosen span.",
        lambda _, pair: tag("b", count(pair[0].steps_per_second)),
        lambda pair: _smallest_first(pair[0].steps_per_second),
    ),
    Column(
        "p95",
        "Rollout p50 · p95",
        "number",
        "Median and 95th percentile of the duration of its rollouts over the last minute.",
        _latency,
        lambda pair: _largest_first(pair[0].latency_seconds.get("p95")),
    ),
    Column(
        "progress",
        "Progress",
        "number",
        "When it last finished a step, an episode or a rollout.",
        lambda context, pair: age_ago(context.age(pair[0].progress_age_seconds)),
        lambda pair: _largest_first(pair[0].progress_age_seconds),
    ),
    Column(
        "failures",
        "Failures",
        "number",
        "Rollouts that raise an exception, per second, and the class of the exception.",
        _failures,
        lambda pair: -sum(pair[0].failures.values()),
    ),
    Column(
        "return",
        "Return",
        "number wide",
        "Mean undiscounted return of its last 100 episodes.",
        lambda _, pair: plain(pair[0].episode_return),
        lambda pair: _smallest_first(pair[0].episode_return),
    ),
    Column(
        "lag",
        "Lag",
        "number wide",
        "Updates between the learner's policy and the one it samples with.",
        lambda _, pair: plain(pair[0].policy_lag),
        lambda pair: _largest_first(pair[0].policy_lag),
    ),
    Column(
        "restarts",
        "Restarts",
        "number",
        "How often the driver replaced it, and why.",
        _restarts,
        lambda pair: -float(sum(pair[0].restarts.values())),
    ),
    Column(
        "memory",
        "Memory",
        "number",
        "Resident memory of its process; an arrow when it grows steadily.",
        _memory,
        lambda pair: _largest_first(pair[0].rss_bytes),
    ),
)


def _more(shown: int, matching: int) -> Html | None:
    if matching <= shown:
        return None
    text = f"Show {min(ROWS, matching - shown)} more"
    button = tag("button", text, type="button", class_="chip", data_set=f"rows={shown + ROWS}")
    return tag("p", tag("span", f"{shown} of {matching} shown. ", class_="soft"), button, class_="more")
