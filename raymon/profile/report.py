"""The report of a profile: one HTML file in the style of the status page, without requests to any network."""

from pathlib import Path
from typing import Final

from raymon.format import UNKNOWN, count, duration, moment, share, size
from raymon.health import WorkerVerdict
from raymon.html.chart import shares
from raymon.html.markup import Child, Html, join, tag, with_code
from raymon.html.parts import document, panel, scrolling, verdict_box
from raymon.html.words import DRIVER_ORDER, WORKER_ORDER, headline, state_badge, word
from raymon.profile import flame, stacks, timeline
from raymon.profile.result import Comparison, ProcessProfile, ProfileResult, quantile, step_seconds
from raymon.profile.timeline import PhaseSpan, Track
from raymon.views import WorkerView

MOST_LANES: Final = 24
MOST_DRAWN: Final = 400
MOST_THREADS: Final = 6
_HERE: Final = Path(__file__).parent


def report(result: ProfileResult) -> str:
    """Return the report as one HTML document."""
    body = tag(
        "div",
        _top(result),
        _verdict(result),
        _held_up(result),
        _workers(result),
        _driver(result),
        _timeline(result),
        *[_process(process) for process in result.processes],
        _foot(result),
        class_="page",
    )
    title = f"{headline(result.verdict.state)} · profile of {result.run.run} · raymon"
    css, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("report.css", "flame.js"))
    return document(title, body, css, script)


def _top(result: ProfileResult) -> Html:
    run = result.run
    about = " · ".join(part for part in (run.algorithm, run.sampler, run.environment, run.engine) if part)
    profiled = f"profiled for {duration(result.seconds)}, {moment(result.taken_at)}"
    text = tag("span", about, tag("small", profiled), class_="about")
    return tag(
        "header",
        tag("span", tag("b", "raymon profile"), class_="brand"),
        tag("span", run.run, class_="run"),
        text,
        class_="top",
    )


def _verdict(result: ProfileResult) -> Html:
    verdict = result.verdict
    evidence = [tag("li", tag("span", with_code(text))) for text in verdict.evidence]
    return verdict_box(verdict.state, verdict.severity, verdict.sentence, verdict.advice, evidence)


def _held_up(result: ProfileResult) -> Html | None:
    """Return the worker that the others wait for, and the functions in which the slowest worker spends more time."""
    parts: list[Child] = []
    if result.last is not None:
        parts.append(tag("p", last_sentence(result), class_="sentence"))
    if result.comparison is not None:
        parts.append(_comparison(result.comparison))
    return panel("Stragglers", "", *parts) if parts else None


def last_sentence(result: ProfileResult) -> str:
    """Return a sentence about the worker that arrives last, empty without one."""
    last = result.last
    if last is None:
        return ""
    return (
        f"Worker {last.worker} was the last to deliver in {share(last.ratio)} of {last.iterations} iterations, "
        f"{duration(last.seconds)} after the second to last."
    )


def _comparison(result: Comparison) -> Html:
    rows = []
    for item in result.differences:
        numbers = (duration(item.seconds), duration(item.baseline), f"+{duration(item.seconds - item.baseline)}")
        cells = [tag("td", number, class_="number") for number in numbers]
        rows.append(tag("tr", tag("td", tag("code", str(item.place))), *cells))
    head = tag(
        "tr",
        tag("th", "Time in the function itself, per 1,000 environment steps"),
        tag("th", f"worker {result.slow}", class_="number"),
        tag("th", f"worker {result.typical}", class_="number"),
        tag("th", "more", class_="number"),
    )
    title = f"Where worker {result.slow} spends more time than worker {result.typical}"
    return join(tag("h3", title), scrolling(head, rows))


def _workers(result: ProfileResult) -> Html:
    titles = ("Worker", "State", "Steps/s", "Step time", "Rollouts", "p50", "p95", "Longest", "Time by phase", "Memory")
    head = tag("tr", *[tag("th", title, class_=None if i in (0, 1, 8) else "number") for i, title in enumerate(titles)])
    rows = [_worker(result, *pair) for pair in result.judged()[: 4 * MOST_LANES]]
    hidden = len(result.run.workers) - len(rows)
    note = tag("p", f"{hidden} faster workers are not shown.", class_="soft") if hidden > 0 else None
    small = "slowest per environment step first; rollouts during the profile"
    return panel("Workers", small, scrolling(head, rows), note)


def _worker(result: ProfileResult, worker: WorkerView, verdict: WorkerVerdict) -> Html:
    took = result.rollouts.get(worker.worker, ())
    ratios = {phase: worker.phase_ratio.get(phase, 0.0) for phase in WORKER_ORDER}
    ratios["other"] = max(0.0, 1.0 - sum(ratios.values()))
    bar = (
        shares(ratios, (*WORKER_ORDER, "other"), f"Worker {worker.worker}", lambda _: "")
        if worker.phase_ratio
        else UNKNOWN
    )
    numbers = (
        count(worker.steps_per_second),
        duration(step_seconds(worker)),
        str(len(took)) if took else UNKNOWN,
        duration(quantile(took, 0.5)),
        duration(quantile(took, 0.95)),
        duration(max(took, default=None)),
    )
    return tag(
        "tr",
        tag("td", worker.worker),
        tag("td", state_badge(verdict.state), tag("small", with_code(verdict.reason)), class_="why"),
        *[tag("td", number, class_="number") for number in numbers],
        tag("td", bar),
        tag("td", size(worker.rss_bytes), class_="number"),
        class_=f"is-{verdict.state}",
    )


def _driver(result: ProfileResult) -> Html | None:
    parts, seconds = result.run.phase_ratio, result.run.iteration_seconds
    if not parts:
        return None

    def label(name: str) -> str:
        return "" if seconds is None else f" · {duration(parts[name] * seconds)}"

    bar = shares(parts, DRIVER_ORDER, "The driver's iteration by phase", label)
    return panel("Where an iteration's time goes", f"{duration(seconds)} per iteration" if seconds else "", bar)


def _timeline(result: ProfileResult) -> Html | None:
    """Return the phases of every process over a few iterations."""
    drawn = [track for track in result.tracks if track.lanes]
    if not drawn:
        return None
    start, end = timeline.window(drawn)
    width = (end - start) or 1.0
    rows = [_track(track, start, width) for track in drawn[:MOST_LANES]]
    seen = {track.word(e) for track in drawn for lane in track.lanes for e in lane} | {
        phase for track in drawn for lane in track.lanes for event in lane for phase in event.parts
    }
    order = ("iteration", *DRIVER_ORDER[:-1], "rollout", *WORKER_ORDER)
    key = [tag("li", tag("i", class_=f"dot on-{name}"), word(name)) for name in dict.fromkeys(order) if name in seen]
    ends = tag("div", tag("span", "0"), tag("span", duration(width)), class_="ends", style="padding-left:86px")
    more = f" The first {MOST_LANES} of {len(drawn)} processes." if len(drawn) > MOST_LANES else ""
    text = (
        f"{duration(width)} from the middle of the profile. Parts of a rollout that were measured as a sum are drawn "
        f"one after the other. timeline.json holds the whole profile, for ui.perfetto.dev.{more}"
    )
    return panel("Timeline", "", *rows, ends, tag("ul", *key, class_="legend"), tag("p", text, class_="figure"))


def _track(track: Track, start: float, width: float) -> Html:
    lanes = []
    for lane in track.lanes[:8]:
        inside = [event for event in lane if event.end > start and event.start < start + width][:MOST_DRAWN]
        lanes.append(tag("div", *[_event(track, event, start, width) for event in inside]))
    return tag("div", tag("span", track.name, class_="who"), tag("div", *lanes, class_="lanes"), class_="track")


def _event(track: Track, event: PhaseSpan, start: float, width: float) -> Html:
    name = track.word(event)
    pieces = [_bar(event.start, event.end, start, width, name, f"{word(name)}: {duration(event.seconds)}", outer=True)]
    at = event.start
    for phase, seconds in event.parts.items():
        text = f"{word(phase)}: {duration(seconds)} as a sum"
        pieces.append(_bar(at, min(at + seconds, event.end), start, width, phase, text, outer=False))
        at += seconds
    return join(*pieces)


def _bar(begin: float, end: float, start: float, width: float, name: str, text: str, outer: bool) -> Html:
    left, right = max(begin - start, 0.0) / width * 100, min(end - start, width) / width * 100
    css = f"on-{name}" if outer else f"on-{name} in"
    return tag("i", class_=css, title=text, style=f"left:{left:.3f}%;width:{max(right - left, 0.0):.3f}%")


def _process(process: ProcessProfile) -> Html:
    title = process.name.capitalize()
    if not process.stacks:
        why = tag("p", process.problem or "No sample was taken.", class_="none")
        return panel(title, f"pid {process.pid}", why)
    waiting = process.waiting_ratio()
    small = f"pid {process.pid}" + (f" · waits for Ray {share(waiting)} of the time" if waiting >= 0.005 else "")
    busiest = [tag("li", tag("b", share(ratio)), tag("code", str(place))) for place, ratio in process.busiest()]
    standing = [
        tag("li", tag("b", thread), tag("code", " ← ".join(frames[:5])))
        for thread, frames in process.standing[:MOST_THREADS]
    ]
    return panel(
        title,
        small,
        tag("h3", "Functions with the most time of their own"),
        tag("ol", *busiest),
        tag("h3", "Flame graph: width is wall time; click to enlarge, Escape to go back"),
        flame.flame(stacks.tree(process.stacks), process.name),
        flame.KEY,
        join(tag("h3", "Position at the end"), tag("ul", *standing, class_="plain")) if standing else None,
    )


def _foot(result: ProfileResult) -> Html:
    notes = [tag("li", text) for text in result.notes]
    text = (
        "Stacks come from py-spy and include waiting time. Phases are recorded by the processes themselves. "
        "Verdict and rates are those of the status page."
    )
    return tag("footer", tag("ul", *notes, class_="plain") if notes else None, tag("p", text, class_="soft"))
