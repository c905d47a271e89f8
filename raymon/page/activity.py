"""Where the time goes: an iteration by phase, and what each worker was doing at each moment."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raymon.catalog import LANGUAGE_PHASES, ROLES
from raymon.format import duration, reach, share
from raymon.html.chart import shares, timeline
from raymon.html.markup import Html, join, tag
from raymon.html.parts import panel, worker_button
from raymon.html.words import DRIVER_ORDER, MEANING, ROLE_TITLE, WORKER_ORDER, word
from raymon.live.snapshot import STRIP, Floats
from raymon.page.context import Context
from raymon.page.worker_table import sorted_workers

SHOWN_WORKERS: Final = 24
FEW_WORKERS: Final = 6
"""Up to this many workers have taller timelines."""
MOMENTS: Final = 120
LEAST_SAMPLES: Final = 3
LEAST_RATIO: Final = 0.0005
"""A phase below this share of every moment is not drawn."""
_STACKED: Final = (
    "environment",
    "inference",
    "sending",
    *LANGUAGE_PHASES,
    "waiting",
    "starting",
    "slow",
    "stalled",
    "restarting",
    "dead",
    "given_up",
)


def phases(context: Context) -> Html:
    """Return where the time of the driver's iterations and of the workers goes."""
    run = context.run
    seconds = run.iteration_seconds

    def suffix(phase: str) -> str:
        return "" if seconds is None else f" · {duration(run.phase_ratio[phase] * seconds)}"

    driver = (
        shares(run.phase_ratio, DRIVER_ORDER, "The driver's iteration by phase", suffix)
        if run.phase_ratio
        else tag("p", "No iteration yet, or no driver that reports.", class_="none")
    )
    return panel(
        "Where the time goes",
        f"{duration(seconds)} per iteration" if seconds else "",
        _heading(
            "Driver, last iterations",
            "Share of the driver's wall time by phase over the last seconds; the phases sum to the whole.",
        ),
        driver,
        _over_time(context),
        *_workers(context),
        section="phases",
    )


def _heading(text: str, meaning: str) -> Html:
    return tag("h3", text, tabindex="0", data_help=meaning)


def _workers(context: Context) -> Iterator[Html]:
    """Yield the mean phases of the workers: of all, or of each role where there are several."""
    roles = roles_of(context)
    meaning = "Mean over the workers of each phase's share of their wall time; the rest is Ray and Python."
    drawn = False
    for role in roles:
        if ratios := context.facts.once(("phases", role), partial(_phase_ratio, context, role)):
            title = ROLE_TITLE[role] if len(roles) > 1 else "Workers"
            yield _heading(f"{title}, on average", meaning)
            yield shares(ratios, (*WORKER_ORDER, "other"), f"{title}: their time by phase", lambda _: "")
            drawn = True
    if not drawn:
        yield _heading("Workers, on average", meaning)
        yield tag("p", "No worker has reported its phases yet.", class_="none")


def roles_of(context: Context) -> list[str]:
    """Return the roles that the workers of the run have, in the order of the catalogue."""
    return context.facts.once("roles", lambda: _roles(context))


def _roles(context: Context) -> list[str]:
    present = {worker.role for worker in context.run.workers}
    return [role for role in ROLES if role in present]


def _phase_ratio(context: Context, role: str) -> dict[str, float]:
    workers = [worker for worker in context.run.workers if worker.role == role]
    known = [worker.phase_ratio for worker in workers if worker.present and worker.phase_ratio]
    if not known:
        return {}
    total = dict.fromkeys(WORKER_ORDER, 0.0)
    for ratios in known:
        for phase, ratio in ratios.items():
            if phase in total:
                total[phase] += ratio
    mean = {phase: ratio / len(known) for phase, ratio in total.items()}
    return {**mean, "other": max(0.0, 1.0 - sum(mean.values()))}


def _over_time(context: Context) -> Html | None:
    """Return the driver's phases over the chosen span, stacked."""
    columns = {phase: context.series(f"phase_{phase}")[1] for phase in DRIVER_ORDER}
    known = np.isfinite(columns["other"])
    length = int(known.sum())
    if length < LEAST_SAMPLES:
        return None
    ages = context.series("phase_other")[0][known]
    edges = np.linspace(0, length, min(length, MOMENTS) + 1).astype(int)
    table = np.nan_to_num(np.array([columns[phase][known] for phase in DRIVER_ORDER]))
    means = np.add.reduceat(table, edges[:-1], axis=1) / np.diff(edges)
    ratios = means / np.maximum(means.sum(axis=0), 1.0)
    x = np.linspace(context.blank_ratio(ages) * 1000, 1000, means.shape[1])
    svg = _stacked_areas(x, zip(DRIVER_ORDER, ratios, strict=True), f"The same over the last {_span(context)}")
    return join(tag("div", svg, class_="overtime"), _ends(context))


def _stacked_areas(x: Floats, ratios: Iterable[tuple[str, Floats]], label: str) -> Html:
    """Return areas on top of each other, each of the height of its ratio; x and every ratio are `[K]`."""
    floor = np.zeros(len(x))
    areas = []
    for name, ratio in ratios:
        if ratio.max(initial=0.0) < LEAST_RATIO:
            continue
        top = floor + ratio * 100
        upper = "L".join(f"{a:.0f} {100 - b:.1f}" for a, b in zip(x, top, strict=True))
        lower = "L".join(f"{a:.0f} {100 - b:.1f}" for a, b in zip(x[::-1], floor[::-1], strict=True))
        areas.append(tag("path", d=f"M{upper}L{lower}Z", class_=f"fill-{name}"))
        floor = top
    return tag("svg", *areas, viewBox="0 0 1000 100", preserveAspectRatio="none", role="img", aria_label=label)


def _span(context: Context) -> str:
    return reach(-context.domain[0])


def _ends(context: Context, css: str = "ends") -> Html:
    return tag("div", tag("span", f"{_span(context)} ago"), tag("span", "now"), class_=css)


def activity(context: Context) -> Html:
    """Return one timeline per worker: colour and pattern show what it was doing; time runs to the right."""
    history = context.history.workers
    ages = np.asarray(history.times, float) - context.now
    kept = np.flatnonzero(ages >= context.domain[0])
    title, small = "What each worker was doing", f"last {_span(context)}, newest right"
    meaning = (
        "Each second is given to one phase, so that lengths are in proportion to the time each took; stalled, starting "
        "and lost are verdicts."
    )
    if not len(kept) or not history.rows:
        note = tag("p", "The timelines begin with the first worker that reports.", class_="none")
        return panel(title, small, note, section="activity", meaning=meaning)
    moments = kept if len(kept) <= MOMENTS else kept[np.linspace(0, len(kept) - 1, MOMENTS).astype(int)]
    codes, blank = history.strip[:, moments], context.blank_ratio(ages[moments])
    pairs = sorted_workers(context, "trouble")
    many = len(pairs) > SHOWN_WORKERS
    roles = roles_of(context)
    lanes = []
    for role in roles:
        shown = [pair for pair in pairs[:SHOWN_WORKERS] if pair[0].role == role and pair[0].worker in history.rows]
        if len(roles) > 1 and shown:
            lanes.append(tag("h3", ROLE_TITLE[role]))
        lanes += [
            _lane(worker.worker, verdict.state, codes[history.rows[worker.worker]], f"last {_span(context)}", blank)
            for worker, verdict in shown
        ]
    text = f"The {SHOWN_WORKERS} workers in most trouble of {len(pairs)}; the row on top shows all of them together."
    used = [name for name in _STACKED if (codes == STRIP.index(name)).any()]
    return panel(
        title,
        small,
        _all_workers(codes, blank) if many else None,
        *lanes,
        _ends(context, "ends indented"),
        tag("p", text, class_="soft") if many else None,
        _legend(used),
        css="panel few" if len(lanes) <= FEW_WORKERS else "panel",
        section="activity",
        meaning=meaning,
    )


def _lane(worker: str, state: str, codes: NDArray[np.int8], span: str, blank: float) -> Html:
    bar = timeline([STRIP[code] for code in codes], f"Worker {worker}, {span}", blank)
    return tag("div", worker_button(worker, "who"), bar, class_=f"row is-{state}", data_key=f"lane-{worker}")


def _all_workers(codes: NDArray[np.int8], blank: float) -> Html:
    """Return the share of all workers doing each thing at each moment, stacked; `codes` is `[W, K]`."""
    x = np.linspace(blank * 1000, 1000, max(codes.shape[1], 2))
    ratios = {name: (codes == STRIP.index(name)).mean(axis=0) for name in _STACKED}
    present = [(name, np.broadcast_to(ratio, len(x))) for name, ratio in ratios.items() if ratio.any()]
    spoken = ", ".join(f"{word(name)} {share(float(ratio[-1]))}" for name, ratio in present)
    svg = _stacked_areas(x, present, f"All workers now: {spoken}")
    return tag("div", tag("span", "all", class_="who"), tag("div", svg, class_="overtime tall"), class_="row fleet")


def _legend(names: Sequence[str]) -> Html:
    """Return the legend: only what is drawn."""
    items = [tag("li", tag("i", class_=f"dot on-{name}"), word(name), data_help=MEANING.get(name)) for name in names]
    return tag("ul", *items, class_="legend")
