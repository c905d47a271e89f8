"""Whether the run learns: one sentence from the history of the mean return. It never raises an alarm.

Returns of different tasks have no common limit, so the sentence says how far the mean has come and when it was best.
"""

import statistics
from collections.abc import Sequence
from typing import Final

from raymon.format import duration, plain
from raymon.views import RunView

_LEAST_SECONDS: Final = 30.0
_SMOOTH_SECONDS: Final = 10.0
"""A return is the median of those within so long: a single noisy one is neither the best nor a fall."""
_FALLEN_RATIO: Final = 0.5
_NEAR_RATIO: Final = 0.02
"""Shares of the gain: a loss of half is a fall; within a fiftieth of the best counts as the best."""


def learning(run: RunView) -> str:
    """Return how the mean return has moved since the view was opened; empty while there is too little history."""
    history = _smoothed(run.return_history)
    if len(history) < 3 or history[-1][0] - history[0][0] < _LEAST_SECONDS:
        return ""
    (began, first), (now, last) = history[0], history[-1]
    best = max(value for _, value in history)
    gained = best - first
    near = best - _NEAR_RATIO * gained
    reached = next(moment for moment, value in history if value >= near)
    age = now - reached
    if gained > 0.0 and best - last > _FALLEN_RATIO * gained:
        return f"The mean return fell to {plain(last)} from its best, {plain(best)}, {duration(age)} ago."
    if last <= first:
        return f"The mean return, {plain(last)}, has not risen for {duration(age)}."
    rose = f"The mean return rose from {plain(first)} to {plain(last)}"
    if age < _LEAST_SECONDS:
        return f"{rose} within {duration(now - began)}."
    if last >= near:
        return f"{rose} within {duration(reached - began)} and has stayed there for {duration(age)}."
    return f"{rose} within {duration(now - began)}; its best, {plain(best)}, was {duration(age)} ago."


def _smoothed(history: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    smoothed, begin = [], 0
    for end, (now, _) in enumerate(history):
        while history[begin][0] <= now - _SMOOTH_SECONDS:
            begin += 1
        smoothed.append((now, statistics.median(value for _, value in history[begin : end + 1])))
    return smoothed
