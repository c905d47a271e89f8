"""Line charts, sparklines, shares and lanes, as HTML and SVG that stretch to the width they are given.

An SVG holds only the lines, stretched without regard to its own proportions; words are HTML around it, so they keep
their size on a phone and on a wall. `readout` gives the pointer something to read at every sample.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from raymon.format import UNKNOWN, share
from raymon.html.markup import Html, join, tag
from raymon.html.words import MEANING, word
from raymon.live.snapshot import Floats

POINTS: Final = 120
"""Samples a line is thinned to: more than a chart has room for costs the viewer's network and shows nothing."""

Format = Callable[[float | None], str]


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One line: `x` and `y` are `[K]`; `y` is NaN where not known, and the line has a gap there.

    Attributes:
        style: Class of the line: `a` the run, `b` the run it is compared with, others are quieter.
    """

    name: str
    x: Floats
    y: Floats
    style: str = "a"


def thinned(x: Floats, y: Floats, points: int = POINTS) -> tuple[Floats, Floats]:
    """Return means over at most `points` equal stretches of x, NaN where a stretch holds no known value."""
    if len(x) <= points:
        return np.asarray(x, float), np.asarray(y, float)
    edges = np.linspace(0, len(x), points + 1).astype(int)
    known = np.isfinite(y)
    total, number = np.add.reduceat(np.where(known, y, 0.0), edges[:-1]), np.add.reduceat(known, edges[:-1])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(x, float)[edges[1:] - 1], np.where(number > 0, total / number, np.nan)


def path(x: Floats, y: Floats, domain: tuple[float, float], limits: tuple[float, float]) -> str:
    """Return the path data of a line in a box of 1000 by 100, with a gap wherever y is not known."""
    left, right = domain
    low, high = limits
    columns = (np.asarray(x, float) - left) / ((right - left) or 1.0) * 1000
    rows = 100 - (np.asarray(y, float) - low) / ((high - low) or 1.0) * 100
    parts, pen_down = [], False
    for column, row in zip(columns, rows, strict=True):
        if not (math.isfinite(row) and math.isfinite(column)):
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{column:.0f} {min(max(row, -5), 105):.1f}")
        pen_down = True
    return "".join(parts)


def limits_of(values: Sequence[Floats], from_zero: bool = True) -> tuple[float, float] | None:
    """Return the vertical range of several series, with some air; None when nothing is known."""
    known = [part[np.isfinite(part)] for part in values]
    every = np.concatenate(known) if known else np.empty(0)
    if not every.size:
        return None
    low, high = float(every.min()), float(every.max())
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if from_zero and high == low:
        return 0.0, 1.0
    if high == low:
        return low - (abs(low) or 1.0) * 0.5, high + (abs(high) or 1.0) * 0.5
    step = _step((high - low) / 5)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def _step(rough: float) -> float:
    """Return the next 1, 2, 2.5 or 5 times a power of ten: limits are numbers people read."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(nice * power for nice in (1.0, 2.0, 2.5, 5.0, 10.0) if nice * power >= rough * 0.999)


def spark(values: Floats, what: str = "") -> Html:
    """Return a small line without axes; the number beside it says the value."""
    x, y = thinned(np.arange(len(values), dtype=float), np.asarray(values, float), 60)
    limits = limits_of([y])
    if limits is None or np.isfinite(y).sum() < 2:
        return tag("span", class_="spark", aria_hidden="true")
    drawn = path(x, y, (float(x[0]), float(x[-1])), limits)
    line = tag("path", d=drawn, class_="line a")
    area = tag("path", d=f"{drawn}L{1000} 100L0 100Z", class_="area a") if np.isfinite(y).all() else None
    svg = tag("svg", area, line, viewBox="0 0 1000 100", preserveAspectRatio="none", aria_hidden="true")
    return tag("span", svg, class_="spark", title=what or None)


def _readout(lines: Sequence[Line], domain: tuple[float, float], form: Format, along: Format) -> str:
    """Return, for the pointer, the position and the words at every sample of the first line that has samples."""
    first = max(lines, key=lambda line: len(line.x))
    left, right = domain
    at, words = [], []
    for position in first.x:
        said = []
        for line in lines:
            if not len(line.x):
                continue
            nearest = int(np.argmin(np.abs(line.x - position)))
            value = float(line.y[nearest])
            if math.isfinite(value):
                said.append(f"{line.name} {form(value)}" if len(lines) > 1 else form(value))
        at.append(round((float(position) - left) / ((right - left) or 1.0) * 1000))
        words.append(f"{', '.join(said) or UNKNOWN} · {along(float(position))}")
    return json.dumps([at, words], ensure_ascii=False)


def chart(
    title: str,
    lines: Sequence[Line],
    *,
    domain: tuple[float, float],
    form: Format,
    along: Format,
    meaning: str,
    from_zero: bool = True,
    band: tuple[Floats, Floats, Floats] | None = None,
    note: str = "",
    named: bool = True,
) -> Html:
    """Return a chart with title, last value, readable limits and a readout under the pointer.

    Args:
        title: What is drawn.
        lines: The lines, the main one first.
        domain: Left and right end of the horizontal axis.
        form: How a value is written.
        along: How a position on the horizontal axis is written.
        meaning: How the value is computed.
        from_zero: Whether the vertical axis contains zero.
        band: x, lower and upper edge of a shaded range around the main line.
        note: What to say when nothing is known.
        named: Whether a legend names the lines, when there are several.
    """
    lines = [Line(line.name, *thinned(line.x, line.y), line.style) for line in lines]
    edges = [] if band is None else [band[1], band[2]]
    limits = limits_of([line.y for line in lines] + edges, from_zero)
    last = next((float(v) for v in reversed(lines[0].y) if math.isfinite(v)), None) if lines else None
    head = tag(
        "figcaption",
        tag("span", title, class_="name", data_help=meaning, tabindex="0"),
        tag("b", form(last)),
    )
    if limits is None:
        return tag("figure", head, tag("p", note or "No value yet.", class_="none"), class_="chart", data_key=title)
    shaded = None
    if band is not None:
        x, low = thinned(band[0], band[1])
        _, high = thinned(band[0], band[2])
        fine = np.isfinite(low) & np.isfinite(high)
        if fine.sum() > 1:
            there = path(x[fine], high[fine], domain, limits)
            back = path(x[fine][::-1], low[fine][::-1], domain, limits).replace("M", "L")
            shaded = tag("path", d=there + back + "Z", class_="band")
    drawn = [tag("path", d=path(line.x, line.y, domain, limits), class_=f"line {line.style}") for line in lines[::-1]]
    svg = tag(
        "svg",
        shaded,
        *drawn,
        viewBox="0 0 1000 100",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{title}, {form(last)} now, between {form(limits[0])} and {form(limits[1])}",
    )
    plot = tag(
        "div",
        svg,
        tag("span", form(limits[1]), class_="high"),
        tag("span", form(limits[0]), class_="low"),
        class_="plot",
        data_readout=_readout(lines, domain, form, along),
    )
    ends = tag("div", tag("span", along(domain[0])), tag("span", along(domain[1])), class_="ends")
    return tag(
        "figure", head, plot, ends, legend(lines) if named and len(lines) > 1 else None, class_="chart", data_key=title
    )


def legend(lines: Sequence[Line]) -> Html:
    """Return the names of the lines, each with a piece of its line."""
    items = [tag("li", tag("i", class_=f"dash {line.style}"), line.name) for line in lines]
    return tag("ul", *items, class_="legend")


def shares(parts: Mapping[str, float], order: Sequence[str], what: str, seconds: Callable[[str], str]) -> Html:
    """Return one bar of a whole and its parts, with the legend in words and percent.

    Args:
        parts: Name to ratio; what is missing to one is left empty.
        order: The order of the parts, which is the order of their colours.
        what: What the whole is, for the screen reader.
        seconds: What else to say about a part, for example its time.
    """
    present = [name for name in order if parts.get(name, 0.0) > 0.0005]
    pieces = []
    for name in present:
        ratio = min(parts[name], 1.0)
        inside = tag("span", share(ratio)) if ratio >= 0.08 else None
        told = f"{word(name).capitalize()}: {share(ratio)}{seconds(name)}. {MEANING.get(name, '')}"
        pieces.append(tag("i", inside, class_=f"part on-{name}", style=f"width:{ratio * 100:.2f}%", data_help=told))
    spoken = ", ".join(f"{word(name)} {share(parts[name])}" for name in present)
    items = [
        tag("li", tag("i", class_=f"dot on-{name}"), word(name), tag("b", share(parts[name]) + seconds(name)))
        for name in present
    ]
    bar = tag("div", *pieces, class_="shares", role="img", aria_label=f"{what}: {spoken}")
    return join(bar, tag("ul", *items, class_="legend"))


def lane(names: Sequence[str], what: str, empty_ratio: float = 0.0) -> Html:
    """Return one row of equal moments, each coloured by its name; runs of one name are one piece.

    Args:
        names: What was going on at each moment.
        what: What the row is, for the screen reader.
        empty_ratio: The share of the row's time that lies before the first moment; left blank.
    """
    before = empty_ratio / max(1.0 - empty_ratio, 0.01) * len(names)
    pieces = [tag("i", class_="on-absent", style=f"flex:{before:.1f}")] if before > 0.5 else []
    totals: dict[str, int] = {}
    start = 0
    for end in range(1, len(names) + 1):
        if end == len(names) or names[end] != names[start]:
            name, length = names[start], end - start
            pieces.append(tag("i", class_=f"on-{name}", style=f"flex:{length}"))
            totals[name] = totals.get(name, 0) + length
            start = end
    most = sorted(totals.items(), key=lambda item: -item[1])
    spoken = ", ".join(f"{word(name)} {share(n / len(names))}" for name, n in most)
    return tag("div", *pieces, class_="lane", role="img", aria_label=f"{what}: {spoken}")
