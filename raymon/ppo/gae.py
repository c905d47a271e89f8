"""Advantages from rewards and values, for gymnasium's next-step autoreset. Numpy only."""

import numpy as np
from numpy.typing import NDArray

from raymon.ppo.actions import Floats


def advantages(
    rewards: Floats,
    values: Floats,
    terminated: NDArray[np.bool_],
    done: NDArray[np.bool_],
    discount: float,
    trace: float,
) -> Floats:
    """Return generalised advantage estimates `[T, N]`.

    A terminated episode has no future return; a truncated one is bootstrapped with the value of its last observation,
    which next-step autoreset delivers as the next row. The row after `done` is the reset step: its action was ignored,
    and its estimate must be masked out of the loss.

    Args:
        rewards: `[T, N]`.
        values: `[T + 1, N]`, of every observation, the one after the last step included.
        terminated: `[T, N]`.
        done: `[T, N]`, terminated or truncated.
        discount: Gamma.
        trace: Lambda.

    Source: Schulman et al. 2016, "High-Dimensional Continuous Control Using GAE", equations 11-16.
    """
    result = np.empty_like(rewards)
    delta = rewards - values[:-1]
    delta += np.float32(discount) * values[1:] * ~terminated
    decay = np.float32(discount * trace) * ~done
    running = np.zeros(rewards.shape[1], np.float32)
    for t in range(len(rewards) - 1, -1, -1):
        running *= decay[t]
        running += delta[t]
        result[t] = running
    return result
