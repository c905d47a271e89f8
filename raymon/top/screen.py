"""What `raymon top` draws: the verdict, the run in numbers, where the wall time goes, the workers, the worst first.

Everything that came over the network is put in as plain text, never as markup.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raymon.catalog import DRIVER_PHASES
from raymon.format import UNKNOWN, count, duration, plain, share, size
from raymon.health import RunVerdict, judged_workers, worst_first
from raymon.html.warnings import warnings
from raymon.html.words import headline
from raymon.live.snapshot import Snapshot
from raymon.views import RunView

STALE_SECONDS: Final = 5.0
MOST_ROWS: Final = 200
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
    "starting": "cyan",
    "waiting": "dim",
}
_SIGN: Final[Mapping[str, str]] = {"ok": "OK", "info": "--", "warning": "!", "critical": "!!", "unknown": "?"}
_PHASE_STYLE: Final = ("green", "cyan", "blue", "yellow", "magenta", "white", "white", "bright_black")
_BAR: Final = 60


def screen(
    snapshot: Snapshot, view: RunView | None, nothing: str, rows: int | None, now: float | None = None
) -> RenderableType:
    """Return one picture of the snapshot.

    Args:
        snapshot: What was collected last.
        view: The run to show.
        nothing: What to say without a run.
        rows: Height it must fit into; None for no limit.
        now: `time.monotonic()` of the drawing; tests set it.
    """
    elapsed = snapshot.age_seconds(now)
    verdict = snapshot.verdicts.get(view.run) if view else None
    if view is None or verdict is None:
        return Group(
            Text("? Nothing to show", style=_STYLE["unknown"]), Text(nothing), _footer(snapshot, None, elapsed)
        )
    top = [*_warnings(snapshot, elapsed), *_verdict(verdict), Text(), _numbers(view), _phases(view), Text()]
    room = MOST_ROWS if rows is None else max(3, rows - 8 - len(top) - len(snapshot.alerts[:3]))
    alerts = [Text(f"alert {alert.name}: {alert.summary}", style="red") for alert in snapshot.alerts[:3]]
    return Group(*top, _workers(view, verdict, room, elapsed), *alerts, _footer(snapshot, view, elapsed))


def _grown(age: float | None, elapsed: float) -> float | None:
    """Return an age of the snapshot as of now."""
    return None if age is None else age + elapsed


def _warnings(snapshot: Snapshot, elapsed: float) -> Iterator[Text]:
    """Yield what is wrong with this view itself: a failed or a slow collection."""
    for text in warnings(snapshot, elapsed):
        yield Text(f"! {text}", style="bold red")


def _verdict(verdict: RunVerdict) -> Iterator[Text]:
    style = _STYLE[verdict.severity]
    yield Text(f"{_SIGN[verdict.severity]} {headline(verdict.state)}", style=style) + Text(
        f"  {verdict.sentence}", style="not bold"
    )
    if verdict.advice:
        yield Text(f"   {verdict.advice}", style="italic")
    for sentence in verdict.evidence[:4]:
        yield Text(f"   {sentence}", style="dim")


def _numbers(view: RunView) -> Text:
    up, expected = view.workers_by_state.get("up"), view.workers_by_state.get("expected")
    done = None if not view.target_steps or view.trained_steps is None else view.trained_steps / view.target_steps
    parts = {
        "steps/s": count(view.steps_per_second),
        "return": plain(view.learning.get("return_mean")),
        "iteration": duration(view.iteration_seconds),
        "updates": count(view.updates),
        "workers": f"{count(up)} of {count(expected)}" if expected is not None else f"{len(view.workers)}",
        "policy lag": plain(view.policy_lag_mean),
        "store": size(view.store.used_bytes),
        "refs": count(view.store.refs_held),
        "done": share(done),
    }
    line = Text(view.run, style="bold")
    for name, value in parts.items():
        line.append(f"   {name} ", style="dim")
        line.append(value)
    return line


def _phases(view: RunView) -> Text:
    line = Text()
    if not view.phase_ratio:
        return Text("no iteration has ended yet", style="dim")
    for phase, style in zip(DRIVER_PHASES, _PHASE_STYLE, strict=True):
        line.append("█" * round(_BAR * view.phase_ratio.get(phase, 0.0)), style=style)
    for phase, style in zip(DRIVER_PHASES, _PHASE_STYLE, strict=True):
        ratio = view.phase_ratio.get(phase, 0.0)
        if ratio >= 0.005:
            line.append(f"  {phase} ", style=style)
            line.append(share(ratio))
    return line


@@@def _workers(view: RunView, verdict: RunVerdict, room: int) -> Table:
|||def ranked(view: RunView, verdict: RunVerdict) -> list[tuple[WorkerView, WorkerVerdict]]:
    """Return the workers with their verdicts, the worst first."""
    judged = {worker.worker: worker for worker in verdict.workers}
    pairs = [(worker, judged[worker.worker]) for worker in view.workers]
    rank = {state: place for place, state in enumerate(_TROUBLE)}
    return sorted(pairs, key=lambda pair: rank.get(pair[1].state, len(WORKER_STATES)))


def _workers(view: RunView, verdict: RunVerdict, room: int, elapsed: float) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("worker", "state", "steps/s", "p50", "p95", "progress", "restarts", "memory", "lag"):
        table.add_column(name, justify="left" if name in ("worker", "state") else "right", no_wrap=True)
    table.add_column("why", overflow="fold", min_width=24)
    pairs = worst_first(judged_workers(view, verdict))
    for worker, judged in pairs[:room]:
        state = Text(judged.state.replace("_", " "), style=_STYLE.get(judged.state, ""))
        numbers = (
            count(worker.steps_per_second),
            duration(worker.latency_seconds.get("p50")),
            duration(worker.latency_seconds.get("p95")),
            duration(_grown(worker.progress_age_seconds, elapsed)),
            count(sum(worker.restarts.values())),
            size(worker.rss_bytes),
            plain(worker.policy_lag),
        )
        table.add_row(Text(worker.worker), state, *map(Text, numbers), Text(judged.reason, style="dim"))
    if len(pairs) > room:
        table.add_row(Text("…"), Text(f"{len(pairs) - room} more", style="dim"))
    return table


def _footer(snapshot: Snapshot, view: RunView | None, elapsed: float) -> Text:
    age = _grown(view.data_age_seconds if view else snapshot.data_age_seconds, elapsed)
    stale = age is None or age > STALE_SECONDS
    told = "no data" if age is None else f"data {duration(age)} old"
    line = Text(f"{told}", style="bold red" if stale else "dim")
    line.append(f"   {snapshot.source or UNKNOWN}", style="dim")
    others = [run.run for run in snapshot.runs if view is None or run.run != view.run]
    if others:
        line.append(f"   other runs: {', '.join(others[:4])} (--run)", style="dim")
    return line
