"""What `raymon top` draws: the verdict, the run in numbers, where the time goes, nodes in trouble, workers worst first.

Text that came over the network is inserted as plain text, never as markup.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raymon.catalog import ROLES
from raymon.format import UNKNOWN, count, duration, plain, share, size
from raymon.health import RunVerdict, WorkerVerdict, judged_workers, worst_first
from raymon.health.shares import no_signal_ratio, of_language_model, tail_ratio, throughput
from raymon.html.markup import clean
from raymon.html.warnings import warnings
from raymon.html.words import DRIVER_ORDER, failing, headline, node_trouble, word
from raymon.live.snapshot import FiringAlert, Snapshot
from raymon.top.prose import Prose
from raymon.views import RunView, WorkerView

STALE_SECONDS: Final = 5.0
MOST_ROWS: Final = 200
SHOWN_ALERTS: Final = 3
SHOWN_FINDINGS: Final = 4
SHOWN_NODES: Final = 4
_FIXED_ROWS: Final = 8
"""Rows for wrapped sentences, the head of the table and the foot."""
_COLUMNS: Final = ("worker", "state", "steps/s", "p50", "p95", "progress", "restarts", "memory", "lag")
_BAR_WIDTH: Final = 60
_STYLE: Final[Mapping[str, str]] = {
    "ok": "bold green",
    "info": "bold cyan",
    "warning": "bold yellow",
    "critical": "bold red",
    "unknown": "bold magenta",
    "dead": "red",
    "given_up": "red",
    "stalled": "red",
    "failing": "red",
    "restarting": "yellow",
    "slow": "yellow",
    "suspect": "yellow",
    "starting": "cyan",
    "waiting": "dim",
}
_SIGN: Final[Mapping[str, str]] = {"ok": "OK", "info": "--", "warning": "!", "critical": "!!", "unknown": "?"}
_PHASE_STYLE: Final[Mapping[str, str]] = {
    "sample": "green",
    "inference": "cyan",
    "transfer": "blue",
    "weights": "yellow",
    "learn": "magenta",
    "checkpoint": "white",
    "log": "white",
    "generate": "green",
    "reward": "cyan",
    "reference": "blue",
    "advantage": "white",
    "train": "magenta",
    "weight_sync": "yellow",
    "other": "bright_black",
}
"""Colour of each phase of the driver."""


def screen(
    snapshot: Snapshot, view: RunView | None, nothing: str, rows: int | None, now: float | None = None
) -> RenderableType:
    """Return the screen for a snapshot.

    Args:
        snapshot: The last snapshot of the collector.
        view: The run to show; None if there is none.
        nothing: The text to show without a run.
        rows: The height it must fit into; None for no limit.
        now: `time.monotonic()` of the drawing; tests set it.
    """
    elapsed = snapshot.age_seconds(now)
    verdict = snapshot.verdicts.get(view.run) if view else None
    foot = _foot(snapshot, view, elapsed)
    if view is None or verdict is None:
        return Group(Text("? Nothing to show", style=_STYLE["unknown"]), Prose(nothing), foot)
    top: list[RenderableType] = [
        *(_text(f"! {text}", "bold red") for text in warnings(snapshot, elapsed)),
        *_verdict(verdict),
        Text(),
        _numbers(view),
        _phases(view),
        *_flow(view),
        *_nodes(view, elapsed),
        Text(),
    ]
    alerts = [alert for alert in snapshot.alerts if alert.run in ("", view.run)][:SHOWN_ALERTS]
    room = MOST_ROWS if rows is None else max(3, rows - _FIXED_ROWS - len(top) - len(alerts))
    return Group(*top, _workers(view, verdict, room, elapsed), *map(_alert, alerts), foot)


def _text(text: str, style: str = "") -> Text:
    return Text(clean(text), style=style)


def _alert(alert: FiringAlert) -> Prose:
    return Prose(f"alert {alert.name}: {alert.summary}", "red")


def _verdict(verdict: RunVerdict) -> Iterator[Prose]:
    head = Text(f"{_SIGN[verdict.severity]} {headline(verdict.state)}", style=_STYLE[verdict.severity])
    yield Prose(f"  {verdict.sentence}", "not bold", before=head)
    if verdict.advice:
        yield Prose(f"   {verdict.advice}", "italic")
    for finding in verdict.findings[1 : SHOWN_FINDINGS + 1]:
        yield Prose(f"   {finding.sentence}", "dim")


def _numbers(view: RunView) -> Text:
    rate, unit = throughput(view)
    up = view.workers_up if view.workers_up is not None else view.workers_by_state.get("up")
    expected = view.workers_by_state.get("expected")
    done = None if not view.target_steps or view.trained_steps is None else view.trained_steps / view.target_steps
    parts = {
        f"{unit}/s": count(rate),
        "return": plain(view.learning.get("return_mean")),
        "iteration": duration(view.iteration_seconds),
        "updates": count(view.updates),
        "workers": f"{count(up)} of {count(expected)}" if expected else f"{len(view.workers)}",
        "policy lag": plain(view.policy_lag_mean),
        "store": size(view.store.used_bytes),
        **({"refs": count(view.store.refs_held)} if view.store.refs_held is not None else {}),
        "done": share(done),
    }
    line = _text(view.run, "bold")
    for name, value in parts.items():
        line.append(f"   {name} ", style="dim")
        line.append(value)
    return line


def _phases(view: RunView) -> Text:
    line = Text()
    if not view.phase_ratio:
        return Text("No iteration has ended yet.", style="dim")
    for phase in DRIVER_ORDER:
        line.append("█" * round(_BAR_WIDTH * view.phase_ratio.get(phase, 0.0)), style=_PHASE_STYLE[phase])
    for phase in DRIVER_ORDER:
        ratio = view.phase_ratio.get(phase, 0.0)
        if ratio >= 0.005:
            line.append(f"  {word(phase)} ", style=_PHASE_STYLE[phase])
            line.append(share(ratio))
    return line


def _flow(view: RunView) -> Iterator[Text]:
    """Yield a line on the language model that is trained, if one is."""
    flow = view.flow
    ended = sum(flow.responses_per_second.values())
    depth, capacity = flow.buffer_depth, flow.buffer_capacity
    lengths = [count(flow.response_length.get(name)) for name in ("p50", "p99")] if flow.response_length else []
    parts = {
        "tokens in": f"{count(flow.tokens_per_second['in'])}/s" if flow.tokens_per_second.get("in") else "",
        "response p50·p99": "·".join(lengths),
        "truncated": share(flow.responses_per_second.get("truncated", 0.0) / ended) if ended else "",
        "tail": share(tail_ratio(flow)),
        "no signal": share(no_signal_ratio(flow)),
        "buffer": "" if depth is None else f"{count(depth)}{f' of {count(capacity)}' if capacity else ''}",
        "weight sync": duration(flow.weight_sync_seconds),
        "staleness": plain(view.policy_lag_max),
        "first token": duration(flow.first_token_seconds),
        "cache": share(flow.cache_used_ratio),
    }
    known = {name: value for name, value in parts.items() if value not in ("", UNKNOWN)}
    if of_language_model(view) and known:
        line = Text("language model", style="dim")
        for name, value in known.items():
            line.append(f"   {name} ", style="dim")
            line.append(value)
        yield line


def _nodes(view: RunView, elapsed: float) -> Iterator[Text]:
    """Yield a line for each node in trouble."""
    troubled = [(node, text) for node in view.nodes if (text := node_trouble(node, elapsed))]
    for node, text in troubled[:SHOWN_NODES]:
        yield _text(f"node {node.address or node.url}: {text}", "yellow")
    if len(troubled) > SHOWN_NODES:
        yield Text(f"{len(troubled) - SHOWN_NODES} more nodes in trouble", style="yellow")


def _workers(view: RunView, verdict: RunVerdict, room: int, elapsed: float) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    language = of_language_model(view)
    for name in ("worker", "role", "state", "tokens/s", *_COLUMNS[2:]) if language else _COLUMNS:
        table.add_column(name, justify="left" if name in ("worker", "role", "state") else "right", no_wrap=True)
    table.add_column("why", overflow="fold", min_width=24)
    pairs = worst_first(sorted(judged_workers(view, verdict), key=lambda pair: ROLES.index(pair[0].role)))
    for pair in pairs[:room]:
        table.add_row(*_row(*pair, elapsed, language))
    if len(pairs) > room:
        table.add_row(Text("…"), Text(f"{len(pairs) - room} more", style="dim"))
    return table


def _row(worker: WorkerView, verdict: WorkerVerdict, elapsed: float, language: bool) -> Iterator[Text | Prose]:
    yield _text(worker.worker)
    if language:
        yield Text(worker.role)
    yield Text(word(verdict.state), style=_STYLE.get(verdict.state, ""))
    if language:
        yield Text(count(worker.flow.tokens_per_second.get("out")))
    progress = worker.progress_age_seconds
    for number in (
        count(worker.steps_per_second),
        duration(worker.latency_seconds.get("p50")),
        duration(worker.latency_seconds.get("p95")),
        duration(None if progress is None else progress + elapsed),
        count(sum(worker.restarts.values())),
        size(worker.rss_bytes),
        plain(worker.policy_lag),
    ):
        yield Text(number)
    note = "" if verdict.state == "failing" else failing(worker)
    yield Prose(verdict.reason, "dim", before=_text(f"{note}; " if note else "", "red"))


def _foot(snapshot: Snapshot, view: RunView | None, elapsed: float) -> Text:
    age = view.data_age_seconds if view else snapshot.data_age_seconds
    age = None if age is None else age + elapsed
    stale = not (view and view.ended) and (age is None or age > STALE_SECONDS)
    line = Text("no data" if age is None else f"data {duration(age)} old", style="bold red" if stale else "dim")
    line.append_text(_text(f"   {snapshot.source or UNKNOWN}", "dim"))
    others = [run.run for run in snapshot.runs if view is None or run.run != view.run]
    if others:
        line.append_text(_text(f"   other runs: {', '.join(others[:4])} (--run)", "dim"))
    return line
