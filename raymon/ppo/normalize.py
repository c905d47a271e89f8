"""Running mean and variance shared between actors: each sends what it saw since its last fragment, the driver merges.

Numpy only. The driver sends its totals to the workers with the weights, so that all normalize alike.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raymon.ppo.actions import Floats

Doubles = NDArray[np.float64]
CLIP = 10.0
"""Normalized observations and rewards are clipped to this, as in Stable-Baselines3's VecNormalize."""


class Moments(NamedTuple):
    """Number of rows, and mean and sum of squared deviations per component."""

    rows: float
    mean: Doubles
    squares: Doubles


def moments_of(rows: NDArray[Any]) -> Moments:
    """Return the moments of rows `[M, D]`, which may be empty."""
    if not len(rows):
        return Moments(0.0, np.zeros(rows.shape[1]), np.zeros(rows.shape[1]))
    values = rows.astype(np.float64)
    with np.errstate(invalid="ignore"):  # a fragment with numbers that are not finite is dropped
        mean = values.mean(axis=0)
        return Moments(float(len(rows)), mean, ((values - mean) ** 2).sum(axis=0))


def merge(one: Moments, other: Moments) -> Moments:
    """Combine the moments of two disjoint sets of rows, exactly and in any order.

    Source: Chan, Golub, LeVeque 1983, "Algorithms for Computing the Sample Variance", equation 1.5.
    """
    count = one.rows + other.rows
    if not count:
        return one
    gap = other.mean - one.mean
    mean = one.mean + gap * (other.rows / count)
    squares = one.squares + other.squares + gap**2 * (one.rows * other.rows / count)
    return Moments(count, mean, squares)


def scale_of(moments: Moments) -> Floats:
    """Return 1 / standard deviation per component; 1 before the first row."""
    if moments.rows < 2:
        return np.ones(len(moments.mean), np.float32)
    return np.asarray(1.0 / np.sqrt(moments.squares / moments.rows + 1e-8), np.float32)


class Scaling(NamedTuple):
    """What a worker needs to normalize; sent with the weights.

    Attributes:
        mean: `[D]`, of observations.
        scale: `[D]`, one over their deviation.
        reward_scale: One over the deviation of the discounted return.
    """

    mean: Floats
    scale: Floats
    reward_scale: float

    def apply(self, observations: Floats) -> Floats:
        """Return normalized observations of any leading shape."""
        return np.asarray(np.clip((observations - self.mean) * self.scale, -CLIP, CLIP), np.float32)


@dataclass
class Normalizer:
    """The driver's totals; `observations` and `rewards` are None if they are not normalized."""

    observations: Moments | None = None
    rewards: Moments | None = None
    _size: int = field(default=1)

    @classmethod
    def fresh(cls, size: int, observations: bool, rewards: bool) -> "Normalizer":
        """Return empty totals for what is normalized; D is `size`."""

        def empty(width: int) -> Moments:
            return Moments(0.0, np.zeros(width), np.zeros(width))

        return cls(empty(size) if observations else None, empty(1) if rewards else None, size)

    def add(self, observations: Moments | None, rewards: Moments | None) -> None:
        """Merge the moments of one fragment."""
        if self.observations is not None and observations is not None:
            self.observations = merge(self.observations, observations)
        if self.rewards is not None and rewards is not None:
            self.rewards = merge(self.rewards, rewards)

    def scaling(self) -> Scaling | None:
        """Return what the workers apply; None if nothing is normalized."""
        if self.observations is None and self.rewards is None:
            return None
        seen = self.observations
        mean = np.zeros(self._size, np.float32) if seen is None else seen.mean.astype(np.float32)
        scale = np.ones(self._size, np.float32) if seen is None else scale_of(seen)
        return Scaling(mean, scale, 1.0 if self.rewards is None else float(scale_of(self.rewards)[0]))
