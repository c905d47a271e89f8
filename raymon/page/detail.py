"""One worker in full: what it did, how fast, how much memory, its failures and restarts, and where its log is."""

import shlex
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raymon.format import UNKNOWN, count, duration, moment, plain, position, reach, share, size
from raymon.html.age import age_ago
from raymon.html.chart import Format, Line, chart, shares, timeline
from raymon.html.markup import Child, Html, join, tag, with_code
from raymon.html.parts import fact
from raymon.html.words import WORKER_ORDER, failing, shape, state_badge, word
from raymon.live.snapshot import STRIP, Floats
from raymon.page.context import Context
from raymon.page.incident_list import causes_of_death, last_stack
from raymon.views import WorkerView

NOTED_GROWTH_BYTES_PER_SECOND = 1e5


def detail(context: Context, dashboard_url: str = "") -> Html | None:
    """Return the panel of the chosen worker; None when none is chosen."""
    chosen = context.choice.worker
    if not chosen:
        return None
    close = tag("button", "Close", type="button", class_="chip close", data_set="worker=", data_escape=True)
    pair = next((pair for pair in context.judged_workers() if pair[0].worker == chosen), None)
    if pair is None:
        note = tag("p", f"This run has no worker {chosen}.", class_="none")
        return tag("section", close, tag("h2", f"Worker {chosen}"), note, class_="panel detail", data_section="detail")
    worker, verdict = pair
    return tag(
        "section",
        close,
        tag("h2", f"Worker {worker.worker}", state_badge(verdict.state), tag("small", with_code(verdict.reason))),
        _facts(context, worker),
        _timeline(context, worker),
        _charts(context, worker),
        _phases(worker, verdict.state),
        _failures(worker),
        _restarts(context, worker),
        _stack(context, worker),
        _where_to_look(context.run.run, worker, dashboard_url),
        class_="panel detail",
        data_section="detail",
        data_worker=worker.worker,
    )


def _facts(context: Context, worker: WorkerView) -> Html:
    latency = worker.latency_seconds
    progress, heartbeat = context.age(worker.progress_age_seconds), context.age(worker.heartbeat_age_seconds)
    facts: tuple[tuple[str, str, str], ...] = (
        ("Activity", word(worker.activity) if worker.activity else UNKNOWN, "What the worker reported last."),
        *_language(worker),
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
    return tag("dl", *[fact(*each) for each in facts], class_="facts")


def _language(worker: WorkerView) -> list[tuple[str, str, str]]:
    """Return the facts of a worker that has a role in training a language model."""
    if worker.role == "env":
        return []
    facts = [("Role", worker.role, "Workers are compared with those of their role.")]
    flow = worker.flow
    if flow.tokens_per_second:
        tokens = count(flow.tokens_per_second.get("out"))
        cost = duration(worker.step_seconds) if worker.unit == "token" else UNKNOWN
        lengths = " · ".join(count(flow.response_length.get(name)) for name in ("p50", "p95", "p99"))
        facts += [
            ("Tokens per second", tokens, "Tokens of responses, over the last seconds."),
            (
                "Time per token",
                cost,
                "Over the last batches; workers are compared by it, not by the duration of a batch.",
            ),
            ("Waits for a core", share(worker.cpu_wait_ratio), "Share of the generation: others had all the cores."),
            ("Response length", lengths, "Median, 95th and 99th percentile of the last minute, in tokens."),
        ]
    return facts


def _row(context: Context, worker: WorkerView) -> tuple[int | None, NDArray[np.intp], Floats]:
    """Return the worker's row in the history, the columns in the span, and their ages."""
    history = context.history.workers
    ages = np.asarray(history.times, float) - context.now
    kept = np.flatnonzero(ages >= context.domain[0])
    return history.rows.get(worker.worker), kept, ages[kept]


def _timeline(context: Context, worker: WorkerView) -> Html | None:
    row, kept, ages = _row(context, worker)
    if row is None or not len(kept):
        return None
    names = [STRIP[code] for code in context.history.workers.strip[row, kept]]
    bar = timeline(names, f"Worker {worker.worker}, what it was doing", context.blank_ratio(ages))
    ends = tag("div", tag("span", f"{reach(-context.domain[0])} ago"), tag("span", "now"), class_="ends")
    return tag("div", bar, ends, class_="big-lane")


def _charts(context: Context, worker: WorkerView) -> Html:
    row, kept, ages = _row(context, worker)
    history = context.history.workers
    unknown = np.full(len(ages), np.nan)

    def draw(title: str, values: NDArray[np.float32], format_y: Format, meaning: str) -> Html:
        y = unknown if row is None else values[row, kept].astype(float)
        lines = [Line(title, ages, y)]
        return chart(title, lines, domain=context.domain, format_y=format_y, format_x=position, meaning=meaning)

    growth = worker.rss_growth_bytes_per_second or 0.0
    grows = f" It grows by {size(growth)} per second." if growth > NOTED_GROWTH_BYTES_PER_SECOND else ""
    return tag(
        "div",
        draw("Steps per second", history.steps_per_second, count, "Rate of its step counter over the last seconds."),
        draw(
            "Rollout p95",
            history.latency_seconds,
            duration,
            "95th percentile of the duration of its rollouts over the minute before each moment.",
        ),
        draw("Memory", history.rss_bytes, size, f"Resident memory of its process.{grows}"),
        class_="charts",
    )


def _phases(worker: WorkerView, state: str) -> Html | None:
    if not worker.phase_ratio:
        return None
    parts = {phase: worker.phase_ratio.get(phase, 0.0) for phase in WORKER_ORDER}
    rest = max(0.0, 1.0 - sum(parts.values()))
    if state == "stalled" and worker.activity in parts:  # its present phase is counted only when the phase ends
        parts[worker.activity] += rest
    else:
        parts["other"] = rest
    return join(tag("h3", "Its time by phase"), shares(parts, (*WORKER_ORDER, "other"), "Its time", lambda _: ""))


def _failures(worker: WorkerView) -> Html | None:
    if not worker.failures_total:
        return None
    rates = sorted(worker.failures.items(), key=lambda item: -item[1])
    items = [tag("li", shape("failing"), tag("code", name), f" {count(rate)}/s") for name, rate in rates if rate > 0.0]
    done = f", {count(worker.rollouts_total)} succeeded" if worker.rollouts_total is not None else ""
    total = tag("li", f"{count(worker.failures_total)} rollouts failed since its process started{done}.")
    heading = tag("h3", "Failing rollouts" if failing(worker) else "Failed rollouts")
    return join(heading, tag("ul", *items, total, class_="plain"))


def _stack(context: Context, worker: WorkerView) -> Html | None:
    """Return where the worker is while it makes no progress; its frames, to fold out, are of the newest incident."""
    known = last_stack(context, f"worker {worker.worker}")
    place = join(tag("h3", "Where it is"), tag("p", tag("code", worker.where))) if worker.where else None
    if known is None:
        return place
    incident, frames = known
    state = "open" if incident.closed_at is None else "over"
    return join(
        place,
        tag("h3", "Its stack", tag("small", f" incident of {moment(incident.opened_at)}, {state}")),
        tag(
            "details",
            tag("summary", tag("code", frames[0])),
            tag("ol", *[tag("li", tag("code", frame)) for frame in frames]),
            class_="stack",
            data_key="stack",
        ),
    )


def _restarts(context: Context, worker: WorkerView) -> Html | None:
    reasons = {reason: number for reason, number in worker.restarts.items() if number}
    causes = causes_of_death(context, worker.worker)
    if not reasons and not causes:
        return None
    items = [
        tag("li", shape("restarting"), f"{reason}: replaced {number} time{'s' if number != 1 else ''}")
        for reason, number in reasons.items()
    ]
    items += [tag("li", shape("dead"), with_code(cause), _frames(frames)) for cause, frames in causes]
    heading = "Restarts" if not causes else "Why earlier ones ended" if reasons else "Ends and errors"
    return join(tag("h3", heading), tag("ul", *items, class_="plain"))


def _frames(frames: Sequence[str]) -> Html | None:
    """Return the frames of an error, to fold out, innermost first."""
    if not frames:
        return None
    listed = tag("ol", *[tag("li", tag("code", frame)) for frame in frames])
    return tag("details", tag("summary", tag("code", frames[0])), listed, class_="stack", data_key=f"death {frames[0]}")


def _where_to_look(run: str, worker: WorkerView, dashboard_url: str) -> Html | None:
    items: list[Child] = []
    if worker.log_id:
        log = tag("code", f"<Ray session>/logs/worker-{worker.log_id}-*.out")
        items.append(join("Its log on the node: ", log, " (and ", tag("code", ".err"), ")"))
    if dashboard_url:
        actors, logs = _link("actors", f"{dashboard_url}/#/actors"), _link("logs", f"{dashboard_url}/#/logs")
        pid = f" (pid {worker.pid})" if worker.pid else ""
        items.append(join("In the Ray Dashboard: ", actors, " and ", logs, pid))
    if worker.pid:
        command = f"raymon profile --run {shlex.quote(run)} --worker {shlex.quote(worker.worker)}"
        items.append(join("Profile it, function by function: ", tag("code", command)))
    if not items:
        return None
    return join(tag("h3", "Where to look"), tag("ul", *[tag("li", item) for item in items], class_="plain"))


def _link(text: str, url: str) -> Html:
    return tag("a", text, href=url, target="_blank", rel="noopener")
