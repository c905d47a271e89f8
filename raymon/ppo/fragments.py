"""Converts the steps of a rollout to a fragment for the learner. Runs in the worker (in the driver with `step`).

Letters: T steps, N environments, D observation, H head outputs, K action components, M valid rows (T * N minus the
reset steps).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raymon.ppo.actions import Floats
from raymon.ppo.gae import advantages
from raymon.ppo.normalize import CLIP, Moments, Scaling, moments_of
from raymon.ppo.policy import Policy


class Fragment(NamedTuple):
    """The result of one rollout: its valid rows, flattened, with advantages.

    Attributes:
        version: Version of the sampling policy; the oldest if there were several.
        seconds: Wall time of the rollout.
        observations: `[M, D]`, normalized, as the policy saw them.
        actions: `[M, K]`, before bounds are applied.
        log_probabilities: `[M]`.
        advantages: `[M]`.
        values: `[M]`.
        returns: Undiscounted returns of the episodes that ended in the fragment.
        lengths: Lengths of the same episodes.
        seen: Moments of the observations before normalization; None if they are not normalized.
        rewards_seen: The same for the discounted return.
    """

    worker: int
    version: int
    seconds: float
    observations: Floats
    actions: NDArray[Any]
    log_probabilities: Floats
    advantages: Floats
    values: Floats
    returns: Floats
    lengths: NDArray[np.int32]
    seen: Moments | None = None
    rewards_seen: Moments | None = None

    @property
    def env_steps(self) -> int:
        """M: environment steps, without resets."""
        return len(self.observations)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(field.nbytes for field in self if isinstance(field, np.ndarray))

    def finite(self) -> bool:
        """Return whether every number that the learner would use is finite."""
        used: list[NDArray[Any]] = [self.observations, self.log_probabilities, self.advantages, self.values]
        for seen in (self.seen, self.rewards_seen):
            if seen is not None:
                used += [seen.mean, seen.squares]
        return all(bool(np.isfinite(array).all()) for array in used)


@dataclass(slots=True)
class Steps:
    """The steps of one rollout.

    Attributes:
        observations: `[T + 1, N, D]`, normalized, including the one after the last step.
        heads: `[T, N, H]`, the policy's outputs.
        actions: `[T, N, K]`, before bounds are applied.
        rewards: `[T, N]`, as returned by the environments.
        terminated: `[T, N]`.
        done: `[T, N]`, terminated or truncated.
        counted: `[T, N]`, False in the step after an episode's end, which only resets.
        raw: `[T, N, D]`, observations before normalization; None if they are not normalized.
        discounted: `[T, N]`, running discounted returns; None if rewards are not normalized.
        returns: Returns of the episodes that ended.
        lengths: Lengths of the same episodes.
        log_probabilities: `[T, N]`, if they were computed when the policy acted, because it may have changed since.
    """

    observations: Floats
    heads: Floats
    actions: NDArray[Any]
    rewards: Floats
    terminated: NDArray[np.bool_]
    done: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    raw: Floats | None
    discounted: Floats | None
    returns: Floats
    lengths: NDArray[np.int32]
    log_probabilities: Floats | None = None


class Discounts(NamedTuple):
    """Gamma and lambda."""

    discount: float
    gae_lambda: float


def finish(
    steps: Steps, policy: Policy, discounts: Discounts, scaling: Scaling | None, worker: int, version: int
) -> Fragment:
    """Compute values, advantages and log-probabilities; return the valid rows. `seconds` stays 0."""
    length, count, size = steps.heads.shape
    rewards, rewards_seen = steps.rewards, None
    if steps.discounted is not None:
        rewards_seen = moments_of(steps.discounted[steps.counted][:, None])
        scale = 1.0 if scaling is None else scaling.reward_scale
        rewards = np.clip(rewards * np.float32(scale), -CLIP, CLIP)
    values = policy.values(steps.observations.reshape((length + 1) * count, -1)).reshape(length + 1, count)
    estimates = advantages(rewards, values, steps.terminated, steps.done, *discounts)
    actions = steps.actions.reshape(length * count, -1)
    if steps.log_probabilities is None:
        log_probabilities = policy.log_probability(steps.heads.reshape(-1, size), actions)
    else:
        log_probabilities = steps.log_probabilities.reshape(-1)
    rows = steps.counted.reshape(-1)
    seen = None if steps.raw is None else moments_of(steps.raw[steps.counted])
    observations = steps.observations[:-1].reshape(len(rows), -1)
    return Fragment(
        worker,
        version,
        0.0,
        observations[rows],
        actions[rows],
        log_probabilities[rows],
        estimates.reshape(-1)[rows],
        values[:-1].reshape(-1)[rows],
        steps.returns,
        steps.lengths,
        seen,
        rewards_seen,
    )


def unfinished(steps: Steps, length: int, worker: int, version: int) -> Fragment:
    """Return the first `length` steps of a rollout that stays incomplete; they are counted, not learned from."""
    rows = steps.counted[:length].reshape(-1)
    zeros = np.zeros(int(rows.sum()), np.float32)
    return Fragment(
        worker,
        version,
        0.0,
        steps.observations[:length].reshape(len(rows), -1)[rows],
        steps.actions[:length].reshape(len(rows), -1)[rows],
        zeros,
        zeros,
        zeros,
        np.zeros(0, np.float32),
        np.zeros(0, np.int32),
    )
