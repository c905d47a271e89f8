"""One worker in full: what it did, how fast, how much memory, what became of it, and where its log is."""

import shlex

import numpy as np
from numpy.typing import NDArray

from raymon.catalog import WORKER_PHASES
from raymon.format import UNKNOWN, count, duration, plain, position, reach, share, size
from raymon.html.age import age_ago
from raymon.html.chart import Line, chart, shares, timeline
from raymon.html.markup import Child, Html, join, tag
from raymon.html.words import shape, state_badge, word
from raymon.live.snapshot import STRIP, Floats
from raymon.page.context import Context
from raymon.views import WorkerView


def detail(context: Context, dashboard_url: str = "") -> Html | None:
    """Return the panel of the chosen worker; None when none is chosen."""
    wanted = context.choice.worker
    if not wanted:
        return None
    close = tag("button", "Close", type="button", class_="chip close", data_set="worker=", data_escape=True)
    pair = next((pair for pair in context.judged() if pair[0].worker == wanted), None)
    if pair is None:
        gone = tag("p", f"No worker {wanted} in this run.", class_="none")
        return tag("section", close, tag("h2", f"Worker {wanted}"), gone, class_="panel detail", data_section="detail")
    worker, verdict = pair
    return tag(
        "section",
        close,
        tag("h2", f"Worker {worker.worker}", state_badge(verdict.state), tag("small", verdict.reason)),
        _facts(context, worker),
        _lane(context, worker),
        _charts(context, worker),
        _phases(worker, verdict.state),
        _history_of_losses(worker),
        _where_to_look(context.run.run, worker, dashboard_url),
        class_="panel detail",
        data_section="detail",
        data_worker=worker.worker,
    )


def _facts(context: Context, worker: WorkerView) -> Html:
    latency = worker.latency_seconds
    progress, heartbeat = context.age(worker.progress_age_seconds), context.age(worker.heartbeat_age_seconds)
    facts: tuple[tuple[str, str, str], ...] = (
        ("Doing now", word(worker.activity) if worker.activity else UNKNOWN, "What the worker itself said last."),
        ("Steps per second", count(worker.steps_per_second), "Rate of its step counter over the last seconds."),
        (
            "Rollouts per second",
            plain(worker.rollouts_per_second),
            "Rate of its rollout counter over the last seconds.",
        ),
        ("Rollout p50", duration(latency.get("p50")), "Median duration of its rollouts over the last minute."),
        ("Rollout p95", duration(latency.get("p95")), "95th percentile of the same."),
        ("Rollout p99", duration(latency.get("p99")), "99th percentile of the same."),
        ("Last progress", age_ago(progress), "Since it last finished a step, an episode or a rollout."),
        ("Last heartbeat", age_ago(heartbeat), "Since its process last handed its metrics to Ray."),
        ("Mean return", plain(worker.episode_return), "Undiscounted, over its last 100 episodes."),
        ("Policy version", plain(worker.policy_version), "The version it samples with."),
        ("Policy lag", plain(worker.policy_lag), "Updates behind the learner."),
        ("CPU", share(worker.cpu_ratio), "CPU seconds its process uses per second; 100 % is one core."),
        ("Memory", size(worker.rss_bytes), "Resident memory of its process."),
        ("Process", str(worker.pid or UNKNOWN), "Process id on its node."),
        ("Node", worker.node or UNKNOWN, "Address of the node it runs on."),
    )
    return tag("dl", *[_fact(*fact) for fact in facts], class_="facts")


def _fact(name: str, value: str, meaning: str) -> Html:
    return tag("div", tag("dt", name, data_help=meaning, tabindex="0"), tag("dd", value))


def _row(context: Context, worker: WorkerView) -> tuple[int | None, NDArray[np.intp], Floats]:
    """Return the worker's row in the history, which columns are in the span, and their ages."""
    history, rows = context.workers()
    ages = np.asarray(history.times, float) - context.now
    kept = np.flatnonzero(ages >= context.domain[0])
    return rows.get(worker.worker), kept, ages[kept]


def _lane(context: Context, worker: WorkerView) -> Html | None:
    row, kept, ages = _row(context, worker)
    if row is None or not len(kept):
        return None
    names = [STRIP[code] for code in context.history.workers.strip[row, kept]]
    drawn = timeline(names, f"Worker {worker.worker}, what it was doing", context.blank_ratio(ages))
    ends = tag("div", tag("span", f"{reach(-context.domain[0])} ago"), tag("span", "now"), class_="ends")
    return tag("div", drawn, ends, class_="big-lane")


def _charts(context: Context, worker: WorkerView) -> Html:
    row, kept, ages = _row(context, worker)
    history = context.history.workers
    none = np.full(len(ages), np.nan)
    steps = none if row is None else history.steps_per_second[row, kept].astype(float)
    memory = none if row is None else history.rss_bytes[row, kept].astype(float)
    latency = none if row is None else history.latency_seconds[row, kept].astype(float)
    growth = worker.rss_growth_bytes_per_second
    grows = f" It grows by {size(growth)} a second." if growth and growth > 1e5 else ""
    drawn = [
        chart(
            "Steps per second",
            [Line("steps/s", ages, steps)],
            domain=context.domain,
            format_y=count,
            format_x=position,
            meaning="Rate of its step counter over the last seconds.",
        ),
        chart(
            "Rollout p95",
            [Line("p95", ages, latency)],
            domain=context.domain,
            format_y=duration,
            format_x=position,
            meaning="95th percentile of its rollouts' duration over the minute before each moment.",
        ),
        chart(
            "Memory",
            [Line("memory", ages, memory)],
            domain=context.domain,
            format_y=size,
            format_x=position,
            meaning=f"Resident memory of its process.{grows}",
        ),
    ]
    return tag("div", *drawn, class_="charts")


def _phases(worker: WorkerView, state: str) -> Html | None:
    if not worker.phase_ratio:
        return None
    told = {phase: worker.phase_ratio.get(phase, 0.0) for phase in WORKER_PHASES}
    if state == "stalled" and worker.activity in told:  # phases that are told at the end of a rollout are not told yet
        told[worker.activity] += max(0.0, 1.0 - sum(told.values()))
    parts = {**told, "other": max(0.0, 1.0 - sum(told.values()))}
    return join(tag("h3", "Its time by phase"), shares(parts, (*WORKER_PHASES, "other"), "Its time", lambda _: ""))


def _history_of_losses(worker: WorkerView) -> Html | None:
    lost = {reason: number for reason, number in worker.restarts.items() if number}
    if not lost:
        return None
    items = [
        tag("li", shape("restarting"), f"{reason}: replaced {n} time{'s' if n != 1 else ''}")
        for reason, n in lost.items()
    ]
    return join(tag("h3", "Restarts"), tag("ul", *items, class_="plain"))


def _where_to_look(run: str, worker: WorkerView, dashboard_url: str) -> Html:
    items: list[Child] = []
    if worker.log_id:
        name = f"worker-{worker.log_id}-*.out"
        items.append(
            join(
                "Its log on the node: ",
                tag("code", f"<Ray session>/logs/{name}"),
                " (and ",
                tag("code", ".err"),
                ")",
            )
        )
    if dashboard_url:
        link = tag(
            "a", "actors in the Ray Dashboard", href=f"{dashboard_url}/#/actors", target="_blank", rel="noopener"
        )
        logs = tag("a", "logs", href=f"{dashboard_url}/#/logs", target="_blank", rel="noopener")
        items.append(
            join("Look it up among the ", link, " or in its ", logs, f" (pid {worker.pid})" if worker.pid else "")
        )
    if worker.pid:
        command = f"raymon profile --run {shlex.quote(run)} --worker {worker.worker}"
        items.append(join("What it does now, function by function, and where it stands: ", tag("code", command)))
    return (
        join(tag("h3", "Where to look"), tag("ul", *[tag("li", item) for item in items], class_="plain"))
        if items
        else join()
    )
