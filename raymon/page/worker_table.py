"""The table of workers, worst first: state and reason, rates, latency, progress, failures, restarts, memory."""

from collections import Counter
from typing import Final

from raymon.catalog import ROLES
from raymon.health import WORKER_STATES
from raymon.html.chart import sparkline
from raymon.html.markup import Html, join, tag, without_code
from raymon.html.parts import panel
from raymon.html.words import failing, shape, word
from raymon.page.choice import ROWS
from raymon.page.context import Context
from raymon.page.worker_columns import COLUMNS, Column, Pair, empty_columns, number
from raymon.views import WorkerView

SPARKLINES: Final = 60
"""Rows with a sparkline; further rows have the number alone."""
BY_NUMBER: Final = "number"
"""The order among workers that are equal in every other one."""


def sorted_workers(context: Context, order: str) -> list[Pair]:
    """Return the workers in an order, equal ones by their number."""
    return context.facts.once(("order", order), lambda: _sorted(context, order))


def _sorted(context: Context, order: str) -> list[Pair]:
    if order == BY_NUMBER:
        return sorted(context.judged_workers(), key=lambda pair: (ROLES.index(pair[0].role), number(pair[0])))
    key = next(column.key for column in COLUMNS if column.order == order)
    return sorted(sorted_workers(context, BY_NUMBER), key=key)


def state_totals(context: Context) -> Counter[str]:
    """Return how many workers have each state."""
    return context.facts.once("states", lambda: Counter(verdict.state for _, verdict in context.judged_workers()))


def matching_workers(context: Context) -> list[Pair]:
    """Return the workers, in the chosen order, that have the chosen state and every word of the search.

    A word is looked for in a worker's number, node, pid, state and reason. A number must match as a whole: `12` finds
    worker 12 and not worker 120.
    """
    choice = context.choice
    pairs = sorted_workers(context, choice.order)
    if choice.state:
        pairs = [pair for pair in pairs if pair[1].state == choice.state]
    if not (wanted := choice.q.lower().split()):
        return pairs
    texts: dict[str, str] = context.facts.once("texts", dict)
    return [pair for pair in pairs if _matches(_text(pair, texts), wanted)]


def _text(pair: Pair, texts: dict[str, str]) -> str:
    """Return what is searched of a worker, with a space around each word."""
    worker, verdict = pair
    if worker.worker not in texts:
        place = f"node {worker.node or ''} pid {worker.pid or ''}"
        why = without_code(f"{verdict.reason} {failing(worker)}")
        parts = f"worker {worker.worker} {worker.role} {place} {word(verdict.state)} {why}".lower().split()
        texts[worker.worker] = f" {' '.join(parts)} "
    return texts[worker.worker]


def _matches(text: str, wanted: list[str]) -> bool:
    return all((f" {part} " if part.isdigit() else part) in text for part in wanted)


def table(context: Context) -> Html:
    """Return the section with filters, search and as many rows as chosen."""
    choice = context.choice
    pairs = sorted_workers(context, choice.order)
    matching = matching_workers(context)
    shown = matching[: choice.row_limit]
    empty = context.facts.once("empty columns", lambda: empty_columns(pairs))
    columns = [column for column in COLUMNS if column.order not in empty]
    rows = [_row(context, pair, columns, index) for index, pair in enumerate(shown)]
    if not rows:
        text = "No worker matches; clear the search or the filter." if pairs else "No worker has reported yet."
        rows = [tag("tr", tag("td", text, colspan=len(columns), class_="none"))]
    head = tag("thead", tag("tr", *[_heading(choice.order, column) for column in columns]))
    grid = tag("table", tag("caption", "Workers, worst first", class_="spoken"), head, tag("tbody", *rows))
    total = f"{len(pairs)} in all" if len(matching) == len(pairs) else f"{len(matching)} of {len(pairs)}"
    return panel(
        "Workers",
        total,
        _filters(context),
        tag("div", grid, class_="scroll", tabindex="0", role="region", aria_label="Table of workers"),
        _more(len(shown), len(matching)),
        section="workers",
    )


def _filters(context: Context) -> Html:
    chosen, totals = context.choice.state, state_totals(context)
    chips = [_chip("", "all", totals.total(), pressed=chosen == "")]
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


def _steps_sparkline(context: Context, worker: WorkerView) -> Html | None:
    history = context.history.workers
    row = history.rows.get(worker.worker)
    if row is None or not len(history.times):
        return None
    kept = history.times >= context.now + context.domain[0]
    return sparkline(history.steps_per_second[row, kept].astype(float))


def _more(shown: int, matching: int) -> Html | None:
    if matching <= shown:
        return None
    text = f"Show {min(ROWS, matching - shown)} more"
    button = tag("button", text, type="button", class_="chip", data_set=f"rows={shown + ROWS}")
    return tag("p", tag("span", f"{shown} of {matching} shown. ", class_="soft"), button, class_="more")
