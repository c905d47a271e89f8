"""Line charts, sparklines, stacked bars and timelines, as HTML and SVG that stretch to the width they are given.

An SVG holds only the lines, stretched without regard to its own proportions; text is HTML around it, so it keeps its
size on a phone and on a wall. `readout` is what the pointer shows at each sample.
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
"""Most samples of a line; more than a chart has pixels would cost bandwidth and show nothing."""
_SPARKLINE_POINTS: Final = 60
_HEADROOM: Final = 0.1
"""Room for the label of a limit, so that the line does not cross it, as a share of the range."""
_LARGEST: Final = 1e300
_SMALLEST: Final = 1e-300

Format = Callable[[float | None], str]


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One line: `x` and `y` are `[K]`; `y` is NaN where it is not known, and the line has a gap there.

    Attributes:
        style: Class of the line: `a` the run, `b` the run it is compared with.
    """

    name: str
    x: Floats
    y: Floats
    style: str = "a"


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """A shaded range around the first line: `x`, `low` and `high` are `[K]`."""

    x: Floats
    low: Floats
    high: Floats


def downsample(x: Floats, y: Floats, points: int = POINTS) -> tuple[Floats, Floats]:
    """Return means over at most `points` stretches of x, NaN where a stretch holds no known value.

    Samples at an unknown x are dropped; values too large to compute with count as unknown.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    known_x = np.isfinite(x)
    x, y = x[known_x], y[known_x]
    y = np.where(np.abs(y) <= _LARGEST, y, np.nan)
    if len(x) <= points:
        return x, y
    edges = np.linspace(0, len(x), points + 1).astype(int)
    known = np.isfinite(y)
    total, number = np.add.reduceat(np.where(known, y, 0.0), edges[:-1]), np.add.reduceat(known, edges[:-1])
    with np.errstate(invalid="ignore", divide="ignore"):
        return x[edges[1:] - 1], np.where(number > 0, total / number, np.nan)


def path(x: Floats, y: Floats, domain: tuple[float, float], limits: tuple[float, float]) -> str:
    """Return the SVG path of a line in a box of 1000 by 100, with a gap wherever y is not known."""
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


def value_range(series: Sequence[Floats], from_zero: bool = True) -> tuple[float, float] | None:
    """Return the ends of the vertical axis, as round numbers; None when nothing is known."""
    known = [part[np.abs(part) <= _LARGEST] for part in series]
    values = np.concatenate(known) if known else np.empty(0)
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    spread = high - low
    if not _SMALLEST < spread < _LARGEST:
        if from_zero and spread < 1.0:
            return 0.0, 1.0
        return (low, high) if spread > 1.0 else (low - (abs(low) or 1.0) * 0.5, high + (abs(high) or 1.0) * 0.5)
    step = _round_step(spread / 5)
    room = _HEADROOM * spread
    top = high + room if high > 0.0 or not from_zero else high
    bottom = low - room if low < 0.0 or not from_zero else low
    return math.floor(bottom / step + 1e-9) * step, math.ceil(top / step - 1e-9) * step


def _round_step(rough: float) -> float:
    """Return the next 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next((nice * power for nice in (1.0, 2.0, 2.5, 5.0) if nice * power >= rough * 0.999), 10.0 * power)


def sparkline(values: Floats, label: str = "", from_zero: bool = True) -> Html:
    """Return a small line without axes; the number next to it gives the value."""
    x, y = downsample(np.arange(len(values), dtype=float), np.asarray(values, float), _SPARKLINE_POINTS)
    limits = value_range([y], from_zero)
    if limits is None or np.isfinite(y).sum() < 2:
        return tag("span", class_="spark", aria_hidden="true")
    outline = path(x, y, (float(x[0]), float(x[-1])), limits)
    line = tag("path", d=outline, class_="line a")
    area = tag("path", d=f"{outline}L1000 100L0 100Z", class_="area a") if np.isfinite(y).all() else None
    svg = tag("svg", area, line, viewBox="0 0 1000 100", preserveAspectRatio="none", aria_hidden="true")
    return tag("span", svg, class_="spark", title=label or None)


def chart(
    title: str,
    lines: Sequence[Line],
    *,
    domain: tuple[float, float],
    format_y: Format,
    format_x: Format,
    meaning: str,
    from_zero: bool = True,
    band: Band | None = None,
    note: str = "",
    named: bool = True,
) -> Html:
    """Return a chart with its title, last value, limits and a readout under the pointer.

    Args:
        title: What is drawn.
        lines: The lines, the main one first.
        domain: Left and right end of the horizontal axis.
        format_y: Formats a value.
        format_x: Formats a position on the horizontal axis.
        meaning: How the value is computed.
        from_zero: Whether the vertical axis contains zero.
        band: A shaded range around the main line.
        note: Shown when nothing is known.
        named: Whether a legend names the lines, when there are several.
    """
    lines = [Line(line.name, *downsample(line.x, line.y), line.style) for line in lines]
    if band is not None:
        x, low = downsample(band.x, band.low)
        band = Band(x, low, downsample(band.x, band.high)[1])
    limits = value_range([line.y for line in lines] + ([band.low, band.high] if band else []), from_zero)
    if limits is not None and format_y is share and all(np.nanmax(line.y, initial=0.0) <= 1.0 for line in lines):
        limits = limits[0], min(limits[1], 1.0)
    last = next((float(value) for value in reversed(lines[0].y) if math.isfinite(value)), None) if lines else None
    caption = tag(
        "figcaption",
        tag("span", title, class_="name", data_help=meaning, tabindex="0"),
        tag("b", format_y(last)),
    )
    if limits is None:
        return tag("figure", caption, tag("p", note or "No value yet.", class_="none"), class_="chart", data_key=title)
    paths = [tag("path", d=path(line.x, line.y, domain, limits), class_=f"line {line.style}") for line in lines[::-1]]
    svg = tag(
        "svg",
        _band(band, domain, limits) if band else None,
        *paths,
        viewBox="0 0 1000 100",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{title}, {format_y(last)} now, between {format_y(limits[0])} and {format_y(limits[1])}",
    )
    plot = tag(
        "div",
        svg,
        tag("span", format_y(limits[1]), class_="high"),
        tag("span", format_y(limits[0]), class_="low"),
        class_="plot",
        data_readout=_readout(lines, domain, format_y, format_x),
    )
    ends = tag("div", tag("span", format_x(domain[0])), tag("span", format_x(domain[1])), class_="ends")
    names = legend(lines) if named and len(lines) > 1 else None
    return tag("figure", caption, plot, ends, names, class_="chart", data_key=title)


def _band(band: Band, domain: tuple[float, float], limits: tuple[float, float]) -> Html | None:
    known = np.isfinite(band.low) & np.isfinite(band.high)
    if known.sum() < 2:
        return None
    upper = path(band.x[known], band.high[known], domain, limits)
    lower = path(band.x[known][::-1], band.low[known][::-1], domain, limits).replace("M", "L")
    return tag("path", d=f"{upper}{lower}Z", class_="band")


def _readout(lines: Sequence[Line], domain: tuple[float, float], format_y: Format, format_x: Format) -> str:
    """Return, as JSON, positions and texts for the pointer at every sample of the longest line."""
    longest = max(lines, key=lambda line: len(line.x))
    left, right = domain
    positions, texts = [], []
    for x in longest.x:
        values = []
        for line in lines:
            if not len(line.x):
                continue
            value = float(line.y[int(np.argmin(np.abs(line.x - x)))])
            if math.isfinite(value):
                values.append(f"{line.name} {format_y(value)}" if len(lines) > 1 else format_y(value))
        positions.append(round((float(x) - left) / ((right - left) or 1.0) * 1000))
        texts.append(f"{', '.join(values) or UNKNOWN} · {format_x(float(x))}")
    return json.dumps([positions, texts], ensure_ascii=False)


def legend(lines: Sequence[Line]) -> Html:
    """Return the names of the lines, each with a piece of its line."""
    items = [tag("li", tag("i", class_=f"dash {line.style}"), line.name) for line in lines]
    return tag("ul", *items, class_="legend")


def shares(parts: Mapping[str, float], order: Sequence[str], label: str, suffix: Callable[[str], str]) -> Html:
    """Return one bar of a whole and its parts, with a legend in words and percent.

    Args:
        parts: Name to ratio; what is missing to one is left empty.
        order: The order of the parts, which is the order of their colours.
        label: What the whole is, for screen readers.
        suffix: Text after the share of a part, for example its time.
    """
    present = [name for name in order if parts.get(name, 0.0) > 0.0005]
    pieces = []
    for name in present:
        ratio = min(parts[name], 1.0)
        inside = tag("span", share(ratio)) if ratio >= 0.08 else None
        text = f"{word(name).capitalize()}: {share(ratio)}{suffix(name)}. {MEANING.get(name, '')}"
        pieces.append(tag("i", inside, class_=f"part on-{name}", style=f"width:{ratio * 100:.2f}%", data_help=text))
    spoken = ", ".join(f"{word(name)} {share(parts[name])}" for name in present)
    items = [
        tag("li", tag("i", class_=f"dot on-{name}"), word(name), tag("b", share(parts[name]) + suffix(name)))
        for name in present
    ]
    bar = tag("div", *pieces, class_="shares", role="img", aria_label=f"{label}: {spoken}")
    return join(bar, tag("ul", *items, class_="legend"))


def timeline(names: Sequence[str], label: str, empty_ratio: float = 0.0) -> Html:
    """Return one row of equal moments, each coloured by its name; adjacent moments of one name are one piece.

    Args:
        names: What was going on at each moment.
        label: What the row is, for screen readers.
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
    longest_first = sorted(totals.items(), key=lambda item: -item[1])
    spoken = ", ".join(f"{word(name)} {share(length / len(names))}" for name, length in longest_first)
    return tag("div", *pieces, class_="lane", role="img", aria_label=f"{label}: {spoken}")
