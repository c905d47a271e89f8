"""The columns of the table of workers: what each shows of a worker, and how it orders them."""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

from raymon.catalog import ROLES
from raymon.format import UNKNOWN, count, duration, plain, size
from raymon.health import WorkerVerdict, worker_rank
from raymon.html.age import age_ago
from raymon.html.markup import Child, join, tag, with_code
from raymon.html.parts import worker_button
from raymon.html.words import failing, state_badge
from raymon.page.context import Context
from raymon.views import WorkerView

Pair = tuple[WorkerView, WorkerVerdict]

GROWING_BYTES_PER_SECOND: Final = 1e6
"""A worker whose memory grows faster gets an arrow."""


class Column(NamedTuple):
    """One column: what a row shows in it and how rows are ordered by it, smallest key first."""

    order: str
    title: str
    css: str
    meaning: str
    cell: Callable[[Context, Pair], Child]
    key: Callable[[Pair], float]


def empty_columns(pairs: list[Pair]) -> set[str]:
    """Return the columns that would be empty in every row."""
    workers = [worker for worker, _ in pairs]
    empty = {
        "failures": not any(worker.failures_total > 0 or (worker.failures and failing(worker)) for worker in workers),
        "role": all(worker.role == "env" for worker in workers),
        "tokens": not any(worker.flow.tokens_per_second for worker in workers),
    }
    if not empty["tokens"] and not any(worker.steps_per_second for worker in workers):
        empty.update(steps=True, **{"return": True})
    return {order for order, nothing in empty.items() if nothing}


def _state(_: Context, pair: Pair) -> Child:
    return join(state_badge(pair[1].state), tag("small", with_code(pair[1].reason)))


def _worker(_: Context, pair: Pair) -> Child:
    worker = pair[0]
    place = " · ".join(part for part in (worker.node, f"pid {worker.pid}" if worker.pid else None) if part)
    return join(worker_button(worker.worker, "link"), tag("small", place))


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


def number(worker: WorkerView) -> tuple[float, str]:
    """Return the key that orders workers by number, those without one last."""
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
        lambda pair: number(pair[0])[0],
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
