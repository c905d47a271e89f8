"""Curves of processes over time, as one SVG drawing with a panel for each quantity and one legend."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Final

WIDTH: Final = 760
PANEL_HEIGHT: Final = 190
LEFT: Final = 60.0
RIGHT: Final = 540.0
COLORS: Final = ("#1565c0", "#c2410c", "#15803d", "#7c3aed", "#be185d", "#0f766e", "#a16207", "#475569")
TICKS: Final = 4
MOST_POINTS: Final = 240
"""Of a curve; of a longer one, one point in several is drawn, the last included."""


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: its name in the legend and its points."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, slots=True)
class Panel:
    """One quantity of every process; the lines of all panels are in the same order."""

    title: str
    lines: Sequence[Line]


def drawing(panels: Sequence[Panel], below: str) -> str:
    """Return panels below each other; `below` is the title of their horizontal axis."""
    height = PANEL_HEIGHT * len(panels) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/><g font-size="12">',
    ]
    for at, panel in enumerate(panels):
        parts += _panel(panel, at * PANEL_HEIGHT)
    for at, line in enumerate(panels[0].lines):
        y = 34 + 18 * at
        parts.append(f'<path d="M{RIGHT + 16:.0f} {y}h16" stroke="{_color(at)}" stroke-width="2"/>')
        parts.append(_text(RIGHT + 38, y + 4, line.name, "start"))
    parts.append(_text((LEFT + RIGHT) / 2, height - 10, below))
    return "\n".join([*parts, "</g></svg>", ""])


def _panel(panel: Panel, offset: float) -> list[str]:
    top, bottom = offset + 26.0, offset + PANEL_HEIGHT - 24.0
    right = max((line.x[-1] for line in panel.lines), default=0.0) or 1.0
    values = [value for line in panel.lines for value in line.y]
    step = _step((max([*values, 0.0]) - min([*values, 0.0])) / TICKS)
    low, high = floor(min([*values, 0.0]) / step), ceil(max([*values, step]) / step)

    def y(value: float) -> float:
        return bottom - (value / step - low) / (high - low) * (bottom - top)

    parts = [_text(LEFT, top - 10, panel.title, "start", "#222")]
    for tick in range(low, high + 1):
        parts.append(f'<path d="M{LEFT:.0f} {y(tick * step):.0f}H{RIGHT:.0f}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 8, y(tick * step) + 4, f"{tick * step:g}", "end"))
    for quarter in range(5):
        x = LEFT + quarter / 4 * (RIGHT - LEFT)
        parts.append(_text(x, bottom + 16, f"{right * quarter / 4:,.2f}".rstrip("0").rstrip(".")))
    for at, line in enumerate(panel.lines):
        every = ceil(len(line.x) / MOST_POINTS) or 1
        drawn = list(zip(line.x, line.y, strict=True))[::-1][::every][::-1]
        points = " ".join(f"{LEFT + number / right * (RIGHT - LEFT):.1f},{y(value):.1f}" for number, value in drawn)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{_color(at)}" stroke-width="1.5"/>')
    return parts


def _step(least: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is not below `least`, and 1 for a flat line."""
    if least <= 0.0:
        return 1.0
    power = 10.0 ** floor(log10(least))
    return next((power * factor for factor in (1.0, 2.0, 5.0) if power * factor >= least), 10.0 * power)


def _color(at: int) -> str:
    return COLORS[at % len(COLORS)]


def _text(x: float, y: float, words: str, anchor: str = "middle", color: str = "#555") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{color}">{escape(words)}</text>'
