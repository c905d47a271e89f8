"""What a step cost each worker in successive windows, and whether a difference is more than the noise between them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raymon.health.thresholds import Thresholds
from raymon.views import RunView, WorkerView

Floats = NDArray[np.float64]

LEAST_WINDOW_SECONDS: Final = 8.0
"""Rates are taken over eight seconds: steady enough to read, quick enough to name a fault within fifteen."""
WINDOW_EXPORTS: Final = 1.5
"""Where Ray exports less often, over two exports; a third would name a fault one export later."""
FEW: Final = 16
"""Up to this many workers, each is compared with exactly the others; with more, leaving one out changes no median."""
_FEWEST_CENTRED: Final = 3
_QUANTILE_WEIGHTS: Final = {"p50": 0.725, "p95": 0.235, "p99": 0.04}
"""Share of the rollouts that each quantile represents."""


@dataclass(frozen=True, slots=True)
class Windows:
    """The logarithm of each worker's time per step relative to the fleet's median, newest window first.

    Attributes:
        table: One row per window, one column per worker; NaN where not known; `[K, W]`.
        expected: Standard deviation of a window that the latencies of rollouts suggest; None where unknown.
        squares: Per worker, the squared deviations of its earlier windows from their mean; `[W]`.
        degrees: Per worker, the degrees of freedom of these; `[W]`.
        of_batches: Whether a window holds whole batches of a language model, few of them.
    """

    table: Floats
    expected: float | None
    squares: Floats
    degrees: Floats
    of_batches: bool = False

    def exceeds(self, column: int, excess: float, least: float, limits: Thresholds) -> bool:
        """Return whether a worker's excess, over one or several windows, is above the limit and above the noise.

        Args:
            column: The worker.
            excess: Logarithm of its time per step now relative to the median of the others.
            least: The excess that is too much.
            limits: The thresholds in force.
        """
        if len(self.table) == 1 and self.of_batches:
            return False  # a window holds one batch or a few, and nothing says yet how much they vary
        if len(self.table) == 1:
            margin = max(math.log(limits.slow_unwatched_factor), 0.0)
            return excess > max(least + margin, limits.noise_deviations * (self.expected or 0.0))
        own = self._relative_to_others(column)
        for count in (1, 2, 4, len(own)):
            recent = own[:count]
            if count > len(own) or not np.isfinite(recent).all():
                break
            mean = float(recent.mean()) + excess - float(own[0])
            noise, factor = self._noise(column, count, limits)
            deviation = noise / math.sqrt(count)
            likely = mean > least + limits.noise_margin * deviation and mean > factor * deviation
            if likely and (self.table.shape[1] < _FEWEST_CENTRED or mean > self._most_of_others(column, count)):
                return True
        return False

    def _noise(self, column: int, count: int, limits: Thresholds) -> tuple[float, float]:
        """Return the standard deviation of one window, and how many of them an excess over `count` windows must be.

        The worker's own windows count too, those before the excess apart from those in it: one that jumps from window
        to window is not slow. The windows in which the excess may have begun mix the time before it with that after it,
        and count to neither. A deviation estimated from few windows, and an excess in few, ask for more; so does a
        large one, since rare long steps make it, whose sums are skewed.
        """
        recent = count if self.of_batches else count - 1
        own_squares, own_degrees = _deviations([self.table[:recent, column], self.table[count + 1 :, column]])
        if self.expected is None:
            prior, expected = limits.noise_prior_windows, limits.noise_prior_ratio
        else:
            prior, expected = limits.noise_latency_windows, self.expected
        squares = float(self.squares.sum() - self.squares[column]) + own_squares + prior * expected**2
        degrees = float(self.degrees.sum() - self.degrees[column]) + own_degrees + prior
        pooled = squares / degrees
        own = (own_squares + limits.noise_own_windows * pooled) / (own_degrees + limits.noise_own_windows)
        noise = math.sqrt(max(pooled, own))
        factor = limits.noise_deviations + limits.noise_deviations_once / count
        return noise, factor * (1.0 + noise) * math.sqrt(1.0 + limits.noise_few_windows / degrees)

    def _relative_to_others(self, column: int) -> Floats:
        """Return the worker's windows relative to the median of the others; with many workers that is the fleet's."""
        own: Floats = self.table[:, column]
        if not _FEWEST_CENTRED <= self.table.shape[1] <= FEW:
            return own
        others = np.delete(self.table, column, axis=1)
        known = np.isfinite(others).any(axis=1)
        relative: Floats = np.full_like(own, math.nan)
        relative[known] = own[known] - np.nanmedian(others[known], axis=1)
        return relative

    def _most_of_others(self, column: int, count: int) -> float:
        """Return the largest excess that any other worker showed over so many successive earlier windows."""
        others = np.delete(self.table[1:], column, axis=1)
        if len(others) < count:
            return 0.0
        means = np.array([others[first : first + count].mean(axis=0) for first in range(len(others) - count + 1)])
        return float(np.nanmax(means)) if np.isfinite(means).any() else 0.0


def window_seconds(report_seconds: float | None) -> float:
    """Return the seconds over which rates are taken, for so many seconds between two exports."""
    return max(LEAST_WINDOW_SECONDS, WINDOW_EXPORTS * (report_seconds or 1.0))


def windows_of(run: RunView, costs: Mapping[str, float], limits: Thresholds) -> Windows:
    """Return the windows of the workers that can be compared.

    Args:
        run: The run, with its earlier windows.
        costs: Worker to its time per step now; the order of the columns.
        limits: The thresholds in force.
    """
    table = np.array(
        [
            [math.log(cost) if (cost := window.get(name)) else math.nan for name in costs]
            for window in (costs, *run.earlier_step_seconds)
        ]
    )
    known = np.isfinite(table).sum(axis=1) >= 2
    table = table[: int(np.argmin(known)) if not known.all() else len(table)]
    few = len(costs) < _FEWEST_CENTRED  # each of two workers would pull the median to itself
    centred: Floats = table - (table[0].mean() if few else np.nanmedian(table, axis=1, keepdims=True))
    squares, degrees = _deviations_of_columns(centred[1:])
    of_batches = any(worker.worker in costs and worker.unit == "token" for worker in run.workers)
    return Windows(centred, _expected_noise(run, costs, limits), squares, degrees, of_batches)


def _deviations_of_columns(table: Floats) -> tuple[Floats, Floats]:
    """Return for each column the squared deviations from its mean, and their degrees of freedom."""
    counts = np.isfinite(table).sum(axis=0)
    means = np.nansum(table, axis=0) / np.maximum(counts, 1)
    return np.nansum((table - means) ** 2, axis=0), np.maximum(counts - 1.0, 0.0)


def _deviations(groups: Sequence[Floats]) -> tuple[float, float]:
    """Return the squared deviations from the mean of each group, and their degrees of freedom."""
    squares = degrees = 0.0
    for group in groups:
        known = group[np.isfinite(group)]
        if len(known) > 1:
            squares += float(((known - known.mean()) ** 2).sum())
            degrees += len(known) - 1
    return squares, degrees


def _expected_noise(run: RunView, names: Mapping[str, float], limits: Thresholds) -> float | None:
    """Return by how much a window varies if its rollouts are as different as their latencies say: the fleet's median.

    Rollouts with a heavy tail are known by it from the start, before any earlier window is. Where costs are per token,
    latencies say how long the responses were, and nothing about the noise.
    """
    seconds = window_seconds(run.report_seconds)
    known = [
        variation / math.sqrt(max(1.0, (worker.rollouts_per_second or 0.0) * seconds))
        for worker in run.workers
        if worker.worker in names and worker.unit != "token" and (variation := _variation(worker)) is not None
    ]
    return min(1.0, max(limits.noise_least_ratio, median(known))) if known else None


def _variation(worker: WorkerView) -> float | None:
    """Return the coefficient of variation of the worker's rollouts, from the quantiles of their latency."""
    pairs = [(worker.latency_seconds.get(name), weight) for name, weight in _QUANTILE_WEIGHTS.items()]
    if not all(value for value, _ in pairs):
        return None
    mean = sum((value or 0.0) * weight for value, weight in pairs)
    return math.sqrt(sum(weight * ((value or 0.0) - mean) ** 2 for value, weight in pairs)) / mean
