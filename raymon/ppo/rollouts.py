"""The arrays of one worker's rollouts, allocated once, and the state between rollouts. Numpy only.

Letters: T steps, N environments, D observation.
"""

import numpy as np
from numpy.typing import NDArray

from raymon.ppo.actions import Floats
from raymon.ppo.fragments import Steps
from raymon.ppo.normalize import Scaling
from raymon.ppo.policy import ModelSpec


def action_array(model: ModelSpec, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Return an empty array for actions `[..., K]` of the smallest type that holds them."""
    whole = (*shape, model.actions.components)
    if model.actions.kind == "box":
        return np.empty(whole, np.float32)
    return np.empty(whole, np.int8 if max(model.actions.sizes) <= 127 else np.int32)


class Rollouts:
    """The rollouts of N environments in lock-step.

    Attributes:
        last_raw: `[N, D]`, the observations the next rollout begins with.
        last_done: `[N]`, whether the next rollout's first step only resets.
    """

    def __init__(self, model: ModelSpec, steps: int, raw: Floats, keep_raw: bool, discount: float | None) -> None:
        count = len(raw)
        self.observations = np.empty((steps + 1, count, model.observation_size), np.float32)
        self.raw = np.empty((steps + 1, count, model.observation_size), np.float32) if keep_raw else None
        self.heads = np.empty((steps, count, model.head_size), np.float32)
        self.actions = action_array(model, (steps, count))
        self.rewards = np.empty((steps, count), np.float32)
        self.terminated = np.empty((steps, count), bool)
        self.done = np.empty((steps, count), bool)
        self.last_raw, self.last_done = raw, np.zeros(count, bool)
        self._discount = discount
        self._return, self._length = np.zeros(count), np.zeros(count, np.int64)
        self._discounted = np.zeros(count)

    def put(self, t: int, raw: Floats, scaling: Scaling | None) -> None:
        """Store the observations before step `t`."""
        if self.raw is not None:
            self.raw[t] = raw
        self.observations[t] = raw if scaling is None else scaling.apply(raw)

    def steps(self, length: int) -> Steps:
        """Return views of the first `length` steps, without the state between rollouts."""
        done = self.done[:length]
        counted = ~np.concatenate([self.last_done[None], done[:-1]])
        raw = None if self.raw is None else self.raw[:length]
        nothing = (np.zeros(0, np.float32), np.zeros(0, np.int32))
        return Steps(
            self.observations[: length + 1],
            self.heads[:length],
            self.actions[:length],
            self.rewards[:length],
            self.terminated[:length],
            done,
            counted,
            raw,
            None,
            *nothing,
        )

    def end(self, length: int) -> Steps:
        """Return the finished rollout's steps with its episodes counted, and prepare the next rollout."""
        steps = self.steps(length)
        steps.returns, steps.lengths = self._episodes(steps)
        if self._discount is not None:
            steps.discounted = np.empty_like(steps.rewards)
            self._discounted = discounted_returns(
                steps.rewards, steps.counted, self._discount, self._discounted, steps.discounted
            )
        self.last_done = steps.done[-1].copy()
        return steps

    def _episodes(self, steps: Steps) -> tuple[Floats, NDArray[np.int32]]:
        returns, lengths = [], []
        sums = np.cumsum(numbers_of(steps.rewards), axis=0, dtype=np.float64)
        counts = np.cumsum(steps.counted, axis=0)
        for t, env in np.argwhere(steps.done):
            returns.append(self._return[env] + sums[t, env])
            lengths.append(self._length[env] + counts[t, env])
            self._return[env], self._length[env] = -sums[t, env], -counts[t, env]
        self._return += sums[-1]
        self._length += counts[-1]
        return np.array(returns, np.float32), np.array(lengths, np.int32)


def numbers_of(rewards: Floats) -> Floats:
    """Return the rewards with 0 for numbers that are not finite."""
    return rewards if np.isfinite(rewards).all() else np.nan_to_num(rewards, nan=0.0, posinf=0.0, neginf=0.0)


def discounted_returns(
    rewards: Floats, counted: NDArray[np.bool_], discount: float, before: NDArray[np.float64], out: Floats
) -> NDArray[np.float64]:
    """Write the running discounted return after each step `[T, ...]` to `out`; return the last one.

    Rewards are divided by its deviation. It restarts with each episode, whose first row is not `counted`. A reward that
    is not finite counts as 0: its fragment is dropped, and later fragments must not suffer.
    Source: Engstrom et al. 2020, "Implementation Matters in Deep Policy Gradients", section 2, point 2.
    """
    running = before
    for t, reward in enumerate(numbers_of(rewards)):
        running = running * (discount * counted[t]) + reward
        out[t] = running
    return running
