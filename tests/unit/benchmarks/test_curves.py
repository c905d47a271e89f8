"""Curves are drawn inside their panel, whatever their values."""

import re
from xml.etree import ElementTree

from benchmarks.curves import LEFT, MOST_POINTS, PANEL_HEIGHT, RIGHT, Line, Panel, drawing


def test_curves_lie_in_their_panels():
    flat, falling = Line("flat", [0.0, 5.0], [0.0, 0.0]), Line("a & b", [1.0, 4.0, 5.0], [0.0, 31.7, -12.0])
    svg = drawing([Panel("memory", [flat, falling]), Panel("threads", [flat, flat])], "minutes")
    lines = [each for each in ElementTree.fromstring(svg).iter() if each.tag.endswith("polyline")]
    assert len(lines) == 4
    for at, line in enumerate(lines):
        for x, y in re.findall(r"([\d.-]+),([\d.-]+)", line.get("points")):
            assert LEFT <= float(x) <= RIGHT
            assert at // 2 * PANEL_HEIGHT < float(y) < (at // 2 + 1) * PANEL_HEIGHT


def test_long_curves_are_thinned_and_end_where_they_end():
    values = [float(value) for value in range(10 * MOST_POINTS + 1)]
    svg = drawing([Panel("memory", [Line("all", values, values)])], "minutes")
    (line,) = [each for each in ElementTree.fromstring(svg).iter() if each.tag.endswith("polyline")]
    points = line.get("points").split()
    assert len(points) <= MOST_POINTS + 1
    assert points[-1].startswith(f"{RIGHT:.1f},")
