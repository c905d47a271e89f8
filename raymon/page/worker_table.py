"""The table of workers, worst first: state and reason in words, rates, latency, progress, restarts, memory."""

import math
from collections.abc import Callable
from typing import Final

from raymon.format import UNKNOWN, count, duration, plain, size
from raymon.health import WORKER_STATES, WorkerVerdict, worker_rank
from raymon.html.age import age_ago
from raymon.html.chart import sparkline
from raymon.html.markup import Child, Html, join, tag
from raymon.html.words import shape, state_badge, word
from raymon.page.choice import ROWS
from raymon.page.context import Context
from raymon.views import WorkerView

Judged = tuple[WorkerView, WorkerVerdict]

SPARKS: Final = 60
_COLUMNS: Final = (
    # order, title, class, how it is computed
    ("trouble", "State", "", "The verdict on the worker; worst first: stalled, dead, given up, restarting, slow."),
    ("worker", "Worker", "", "The worker's number in the run; it keeps it when it is restarted."),
    ("steps", "Steps/s", "number", "Environment steps per second, and its course over the chosen span."),
    (
        "p95",
        "Rollout p50 · p95",
        "number",
        "Median and 95th percentile of its rollouts' duration over the last minute.",
    ),
    ("progress", "Progress", "number", "When it last finished a step, an episode or a rollout."),
    ("return", "Return", "number wide", "Mean undiscounted return of its last 100 episodes."),
    ("lag", "Lag", "number wide", "Updates between the learner's policy and the one it samples with."),
    ("restarts", "Restarts", "number", "How often the driver replaced it, with the reasons."),
    ("memory", "Memory", "number", "Resident memory of its process; an arrow when it grows steadily."),
)


def _number(worker: WorkerView) -> tuple[float, str]:
    try:
        return float(int(worker.worker)), worker.worker
    except ValueError:
        return math.inf, worker.worker


def _down(value: float | None) -> float:
    """Return a sort key: the largest first, the unknown last."""
    return math.inf if value is None or not math.isfinite(value) else -value


_KEYS: Final[dict[str, Callable[[Judged], float]]] = {
    "trouble": lambda pair: worker_rank(pair[1].state),
    "worker": lambda pair: _number(pair[0])[0],
    "steps": lambda pair: -_down(pair[0].steps_per_second) if pair[0].steps_per_second is not None else math.inf,
    "p95": lambda pair: _down(pair[0].latency_seconds.get("p95")),
    "progress": lambda pair: _down(pair[0].progress_age_seconds),
    "restarts": lambda pair: -float(sum(pair[0].restarts.values())),
    "memory": lambda pair: _down(pair[0].rss_bytes),
    "lag": lambda pair: _down(pair[0].policy_lag),
    "return": lambda pair: -_down(pair[0].episode_return) if pair[0].episode_return is not None else math.inf,
}


def ranked(context: Context, order: str) -> list[Judged]:
    """Return the workers in an order, ties by their number."""
    return sorted(context.judged(), key=lambda pair: (_KEYS[order](pair), _number(pair[0])))


def matches(pair: Judged, wanted: str, text: str) -> bool:
    """Tell whether a worker has the state and every word of the text in its number, node, pid, state or reason.

    A number must match whole: `12` finds worker 12 and not worker 120.
    """
    worker, verdict = pair
    if wanted and verdict.state != wanted:
        return False
    place = f"node {worker.node or ''} pid {worker.pid or ''}"
    about = f"worker {worker.worker} {place} {word(verdict.state)} {verdict.reason}".lower()
    known = set(about.split())
    return all(part in known if part.isdigit() else part in about for part in text.lower().split())


def table(context: Context) -> Html:
    """Return the section with filters, search and as many rows as chosen."""
    choice = context.choice
    pairs = ranked(context, choice.order)
    found = [pair for pair in pairs if matches(pair, choice.state, choice.q)]
    shown = found[: choice.row_limit]
    rows = [_row(context, pair, drawn=index < SPARKS) for index, pair in enumerate(shown)]
    if not rows:
        text = "No worker matches; clear the search or the filter." if pairs else "No worker has reported yet."
        rows = [tag("tr", tag("td", text, colspan=len(_COLUMNS), class_="none"))]
    head = tag("thead", tag("tr", *[_heading(choice.order, *column) for column in _COLUMNS]))
    grid = tag("table", tag("caption", "Workers, worst first", class_="spoken"), head, tag("tbody", *rows))
    told = f"{len(pairs)} in all" if len(found) == len(pairs) else f"{len(found)} of {len(pairs)}"
    return tag(
        "section",
        tag("h2", "Workers", tag("small", told)),
        _filters(context, pairs),
        tag("div", grid, class_="scroll", tabindex="0", role="region", aria_label="Table of workers"),
        _more(len(shown), len(found)),
        class_="panel",
        data_section="workers",
    )


def _filters(context: Context, pairs: list[Judged]) -> Html:
    chosen = context.choice.state
    totals = {state: sum(1 for _, verdict in pairs if verdict.state == state) for state in WORKER_STATES}
    chips = [_chip("", "all", len(pairs), chosen == "")]
    chips += [_chip(s, word(s), totals[s], chosen == s) for s in WORKER_STATES if totals[s] or s == chosen]
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
    return tag(
        "div", tag("div", *chips, class_="chips", role="group", aria_label="Filter by state"), search, class_="tools"
    )


def _chip(state: str, name: str, total: int, pressed: bool) -> Html:
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


def _heading(order: str, name: str, title: str, css: str, meaning: str) -> Html:
    now = order == name
    way, arrow = ("ascending", "↑") if name == "worker" else ("descending", "↓")
    button = tag(
        "button",
        title,
        tag("i", arrow, aria_hidden="true") if now else None,
        type="button",
        data_set=f"order={name}",
        data_help=meaning,
    )
    return tag("th", button, class_=css or None, scope="col", aria_sort=way if now else None)


def _row(context: Context, pair: Judged, drawn: bool) -> Html:
    worker, verdict = pair
    latency = worker.latency_seconds
    restarts = sum(worker.restarts.values())
    reasons = ", ".join(f"{reason} {n}" for reason, n in worker.restarts.items() if n)
    who = tag(
        "button",
        worker.worker,
        type="button",
        class_="link",
        data_set=f"worker={worker.worker}",
        aria_label=f"Worker {worker.worker}, open detail",
    )
    where = " · ".join(part for part in (worker.node, f"pid {worker.pid}" if worker.pid else None) if part)
    memory = join(size(worker.rss_bytes), tag("i", " ↗", title="grows") if _grows(worker) else None)
    cells: tuple[tuple[Child, str], ...] = (
        (join(state_badge(verdict.state), tag("small", verdict.reason)), "why"),
        (join(who, tag("small", where)), "whom"),
        (join(_steps_line(context, worker) if drawn else None, tag("b", count(worker.steps_per_second))), "number"),
        (
            join(duration(latency.get("p50")), " · ", tag("b", duration(latency.get("p95")))) if latency else UNKNOWN,
            "number",
        ),
        (age_ago(context.age(worker.progress_age_seconds)), "number"),
        (plain(worker.episode_return), "number wide"),
        (plain(worker.policy_lag), "number wide"),
        (join(str(restarts), tag("small", reasons) if reasons else None), "number"),
        (memory, "number"),
    )
    classes = f"is-{verdict.state}" + (" open" if context.choice.worker == worker.worker else "")
    drawn_cells = [
        tag("td", body, class_=css, data_name=column[1]) for (body, css), column in zip(cells, _COLUMNS, strict=True)
    ]
    return tag(
        "tr",
        *drawn_cells,
        class_=classes,
        data_key=f"worker-{worker.worker}",
        data_worker=worker.worker,
        data_state=verdict.state,
        data_set=f"worker={worker.worker}",
    )


def _grows(worker: WorkerView) -> bool:
    return (worker.rss_growth_bytes_per_second or 0.0) > 1e6


def _steps_line(context: Context, worker: WorkerView) -> Html | None:
    history, rows = context.workers()
    row = rows.get(worker.worker)
    if row is None or not len(history.times):
        return None
    kept = history.times >= context.now + context.domain[0]
    return sparkline(history.steps_per_second[row, kept].astype(float))


def _more(shown: int, found: int) -> Html | None:
    if found <= shown:
        return None
    button = tag(
        "button", f"Show {min(ROWS, found - shown)} more", type="button", class_="chip", data_set=f"rows={shown + ROWS}"
    )
    return tag("p", tag("span", f"{shown} of {found} shown. ", class_="soft"), button, class_="more")
