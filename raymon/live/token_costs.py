"""In which unit rollout workers of a language model are compared: per token, of all or of the longest of each batch.

A server that decodes one response after the other takes time for each token; one that decodes a batch at once takes
time for each token of its longest response. Which one it is shows: in the right unit workers of equal speed cost the
same, in the wrong one the lengths that they happened to draw spread their costs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import pstdev
from typing import Final

from raymon.views import RunView, WorkerView

STEP: Final = "step"
UNITS: Final = ("response", "longest")
"""The keys of `WorkerView.token_seconds`."""

Costs = Mapping[str, float]
"""Seconds by what they are per: `STEP`, or one of `UNITS`."""


def costs_of(worker: WorkerView) -> Costs:
    """Return what the worker needs per step of an environment or, where tokens are counted, per token."""
    return worker.token_seconds or ({STEP: worker.step_seconds} if worker.step_seconds else {})


def in_one_unit(view: RunView, earlier: Sequence[Mapping[str, Costs]]) -> RunView:
    """Return the view with costs of its workers, and of the windows before, that can be compared."""
    now = {worker.worker: worker.token_seconds for worker in view.workers if worker.token_seconds}
    unit = min(UNITS, key=lambda each: _spread([now, *earlier], each)) if now else STEP

    def cost(costs: Costs) -> float | None:
        return costs.get(unit) or costs.get(STEP)

    workers = tuple(
        replace(worker, step_seconds=cost(worker.token_seconds), unit="token") if worker.token_seconds else worker
        for worker in view.workers
    )
    windows = tuple({name: each for name, costs in window.items() if (each := cost(costs))} for window in earlier)
    return replace(view, workers=workers, earlier_step_seconds=windows)


def _spread(windows: Sequence[Mapping[str, Costs]], unit: str) -> float:
    """Return the standard deviation of the logarithm of the workers' costs, averaged over windows; inf without any."""
    spreads = []
    for window in windows:
        logs = [math.log(cost) for costs in window.values() if (cost := costs.get(unit))]
        if len(logs) > 1:
            spreads.append(pstdev(logs))
    return sum(spreads) / len(spreads) if spreads else math.inf
