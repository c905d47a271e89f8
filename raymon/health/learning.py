"""Is it learning? One sentence from the history of the mean return; evidence beside a verdict, never an alarm.

Returns of tasks differ too much for a limit that fits all: what is told is how far the mean has come and when it was
best.
"""

from typing import Final

from raymon.health.words import number, seconds
from raymon.views import RunView

_LEAST_SECONDS: Final = 30.0
_FALLEN_RATIO: Final = 0.5
_NEAR_RATIO: Final = 0.02
"""Shares of what was gained: a loss of half is a fall, within a fiftieth of the best it is as good as there."""


def learning(run: RunView) -> str:
    """Return how the mean return has moved since the view was opened; empty while there is little to compare."""
    history = run.return_history
    if len(history) < 3 or history[-1][0] - history[0][0] < _LEAST_SECONDS:
        return ""
    (began, first), (now, last) = history[0], history[-1]
    best = max(value for _, value in history)
    gained = best - first
    near = best - _NEAR_RATIO * gained
    reached = next(moment for moment, value in history if value >= near)
    age = now - reached
    if gained > 0.0 and best - last > _FALLEN_RATIO * gained:
        return f"The mean return has fallen to {number(last)} from its best, {number(best)}, {seconds(age)} ago."
    if last <= first:
        return f"The mean return, {number(last)}, has not risen for {seconds(age)}."
    rose = f"The mean return rose from {number(first)} to {number(last)}"
    if age < _LEAST_SECONDS:
        return f"{rose} within {seconds(now - began)}."
    if last >= near:
        return f"{rose} within {seconds(reached - began)} and has stayed there for {seconds(age)}."
    return f"{rose} within {seconds(now - began)}; its best, {number(best)}, is {seconds(age)} old."
