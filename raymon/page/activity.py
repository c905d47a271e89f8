"""Where the time goes: an iteration by phase, and what every worker was doing, moment by moment."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raymon.catalog import DRIVER_PHASES, WORKER_PHASES
from raymon.format import duration, reach, share
from raymon.html.chart import shares, timeline
from raymon.html.markup import Html, join, tag
from raymon.html.words import MEANING, word
from raymon.live.snapshot import STRIP
from raymon.page.context import Context
from raymon.page.worker_table import ranked

LANES = 24
MOMENTS = 120
_SHOWN = (
    "environment",
    "inference",
    "sending",
    "waiting",
    "starting",
    "slow",
    "stalled",
    "restarting",
    "dead",
    "given_up",
)


def phases(context: Context) -> Html:
    """Return where the driver's iterations and the workers' time go."""
    run = context.run
    parts = run.phase_ratio
    seconds = run.iteration_seconds

    def told(name: str) -> str:
        return "" if seconds is None else f" · {duration(parts[name] * seconds)}"

    driver = (
        shares(parts, DRIVER_PHASES, "The driver's iteration by phase", told)
        if parts
        else tag("p", "No iteration yet, or no driver that reports.", class_="none")
    )
    fleet = _fleet_shares(context)
    workers = (
        shares(fleet, (*WORKER_PHASES, "other"), "The workers' time by phase", lambda _: "")
        if fleet
        else tag("p", "No worker has told its phases yet.", class_="none")
    )
    return tag(
        "section",
        tag("h2", "Where the time goes", tag("small", f"{duration(seconds)} an iteration" if seconds else "")),
        tag(
            "h3",
            "Driver, last iterations",
            tabindex="0",
            data_help="Share of the driver's wall time by phase over the last seconds; the phases sum to the whole.",
        ),
        driver,
        _over_time(context),
        tag(
            "h3",
            "Workers, on average",
            tabindex="0",
            data_help="Mean over the workers of each phase's share of their wall time; the rest is Ray and Python.",
        ),
        workers,
        class_="panel",
        data_section="phases",
    )


def _fleet_shares(context: Context) -> dict[str, float]:
    told = [worker.phase_ratio for worker in context.run.workers if worker.present and worker.phase_ratio]
    if not told:
        return {}
    mean = {phase: sum(ratios.get(phase, 0.0) for ratios in told) / len(told) for phase in WORKER_PHASES}
    return {**mean, "other": max(0.0, 1.0 - sum(mean.values()))}


def _over_time(context: Context) -> Html | None:
    """Return the driver's phases as columns over the chosen span: a change of shape is seen at once."""
    columns = {phase: context.series(f"phase_{phase}")[1] for phase in DRIVER_PHASES}
    known = np.isfinite(columns["other"])
    length = int(known.sum())
    if length < 3:
        return None
    ages = context.series("phase_other")[0][known]
    edges = np.linspace(0, length, min(length, MOMENTS) + 1).astype(int)
    table = np.nan_to_num(np.array([columns[phase][known] for phase in DRIVER_PHASES]))
    means = np.add.reduceat(table, edges[:-1], axis=1) / np.diff(edges)
    totals = np.maximum(means.sum(axis=0), 1e-9)
    tops = np.vstack([np.zeros(means.shape[1]), np.cumsum(means / np.maximum(totals, 1.0), axis=0)]) * 100
    x = np.linspace(context.blank_ratio(ages) * 1000, 1000, means.shape[1])
    areas = []
    for row, phase in enumerate(DRIVER_PHASES):
        if means[row].max() < 0.0005:
            continue
        there = "L".join(f"{a:.0f} {100 - b:.1f}" for a, b in zip(x, tops[row + 1], strict=True))
        back = "L".join(f"{a:.0f} {100 - b:.1f}" for a, b in zip(x[::-1], tops[row][::-1], strict=True))
        areas.append(tag("path", d=f"M{there}L{back}Z", class_=f"fill-{phase}"))
    label = f"The same over the last {reach(-context.domain[0])}"
    svg = tag("svg", *areas, viewBox="0 0 1000 100", preserveAspectRatio="none", role="img", aria_label=label)
    ends = tag("div", tag("span", f"{reach(-context.domain[0])} ago"), tag("span", "now"), class_="ends")
    return join(tag("div", svg, class_="overtime"), ends)


def activity(context: Context) -> Html:
    """Return the strip: one row per worker, colour and pattern saying what it was doing; time runs to the right."""
    history, rows = context.workers()
    times = np.asarray(history.times, float) - context.now
    left = context.domain[0]
    kept = np.flatnonzero(times >= left)
    head = tag(
        "h2",
        "What each worker was doing",
        tag("small", f"last {reach(-left)}, newest right"),
        tabindex="0",
        data_help="Each second is given to one phase, so that lengths are in proportion to the time each took; "
        "stalled, starting and lost are verdicts.",
    )
    if not len(kept) or not rows:
        note = tag("p", "The strip begins with the first worker that is seen.", class_="none")
        return tag("section", head, note, class_="panel", data_section="strip")
    moments = kept if len(kept) <= MOMENTS else kept[np.linspace(0, len(kept) - 1, MOMENTS).astype(int)]
    codes, blank = history.strip[:, moments], context.blank_ratio(times[moments])
    pairs = ranked(context, "trouble")
    lanes = []
    for worker, verdict in pairs[:LANES]:
        row = rows.get(worker.worker)
        if row is None:
            continue
        names = [STRIP[code] for code in codes[row]]
        name = tag(
            "button",
            worker.worker,
            type="button",
            class_="who",
            data_set=f"worker={worker.worker}",
            aria_label=f"Worker {worker.worker}, open detail",
        )
        row_lane = timeline(names, f"Worker {worker.worker}, last {reach(-left)}", blank)
        lanes.append(tag("div", name, row_lane, class_=f"row is-{verdict.state}", data_key=f"lane-{worker.worker}"))
    summary = _fleet_columns(codes, blank) if len(pairs) > LANES else None
    more = (
        tag(
            "p",
            f"The {LANES} workers in most trouble of {len(pairs)}; the columns above are all of them.",
            class_="soft",
        )
        if len(pairs) > LANES
        else None
    )
    axis = tag("div", tag("span", f"{reach(-left)} ago"), tag("span", "now"), class_="ends indented")
    seen = [name for name in _SHOWN if (codes == STRIP.index(name)).any()]
    return tag("section", head, summary, *lanes, axis, more, _key(seen), class_="panel", data_section="strip")


def _fleet_columns(codes: NDArray[np.int8], blank: float) -> Html:
    """Return all workers together: at each moment, the share of them doing each thing, stacked. `codes` is `[W, K]`."""
    x = np.linspace(blank * 1000, 1000, max(codes.shape[1], 2))
    floor = np.zeros(len(x))
    areas, last = [], []
    for name in _SHOWN:
        ratio = (codes == STRIP.index(name)).mean(axis=0)
        if not ratio.any():
            continue
        ratio = np.broadcast_to(ratio, len(x))
        top = floor + ratio * 100
        there = "L".join(f"{a:.0f} {100 - b:.1f}" for a, b in zip(x, top, strict=True))
        back = "L".join(f"{a:.0f} {100 - b:.1f}" for a, b in zip(x[::-1], floor[::-1], strict=True))
        areas.append(tag("path", d=f"M{there}L{back}Z", class_=f"fill-{name}"))
        last.append(f"{word(name)} {share(float(ratio[-1]))}")
        floor = top
    spoken = f"All workers now: {', '.join(last)}"
    svg = tag("svg", *areas, viewBox="0 0 1000 100", preserveAspectRatio="none", role="img", aria_label=spoken)
    return tag("div", tag("span", "all", class_="who"), tag("div", svg, class_="overtime tall"), class_="row fleet")


def _key(names: Sequence[str]) -> Html:
    """Return the legend of the strip: only what is on it."""
    items = [tag("li", tag("i", class_=f"dot on-{n}"), word(n), data_help=MEANING.get(n)) for n in names]
    return tag("ul", *items, class_="legend")
