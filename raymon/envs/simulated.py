"""`raymon/Simulated-v0`: an environment as slow as a real simulator that needs no further package.

For demonstrations, tests and tuning: a step sleeps for a random time, so throughput has a known ideal (one environment
makes `1 / mean step time` steps a second). It can be learned: the reward is 1 when the action names the largest of the
first `num_actions` entries of the observation, else 0.
"""

import time
from collections.abc import Mapping
from typing import Any, Final, Literal

import gymnasium
import numpy as np
from gymnasium import spaces

from raymon.envs.env_error import EnvError

ID: Final = "raymon/Simulated-v0"
Distribution = Literal["uniform", "constant", "exponential"]
Array = np.ndarray[Any, np.dtype[Any]]


class Simulated(gymnasium.Env[Array, int]):
    """A sleeping environment with random observations.

    Example:
        >>> env = gymnasium.make("raymon/Simulated-v0", low_seconds=0.0, high_seconds=0.001)
        >>> observation, info = env.reset(seed=1)
        >>> observation.shape
        (8,)
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  # gymnasium declares it so

    def __init__(
        self,
        low_seconds: float = 0.010,
        high_seconds: float = 0.050,
        distribution: Distribution = "uniform",
        observation_size: int = 8,
        num_actions: int = 4,
        end_probability: float = 0.01,
        slowdown: Mapping[int, float] | None = None,
        worker: int = 0,
        render_mode: str | None = None,
    ) -> None:
        """Check and keep the parameters.

        Args:
            low_seconds: Shortest step (`uniform`); the floor of the other distributions.
            high_seconds: Longest step (`uniform`); `constant` takes the middle, `exponential` has its mean there.
            distribution: How the duration of a step is drawn.
            observation_size: Entries of an observation, at least `num_actions`.
            num_actions: Number of discrete actions.
            end_probability: Chance that a step ends the episode.
            slowdown: Worker number to the factor by which its steps are slower, for example `{1: 5.0}`.
            worker: The worker of this environment; set by `make_vector`.
            render_mode: Only None.
        """
        if not 0.0 <= low_seconds <= high_seconds:
            raise EnvError(
                f"{ID}: found low_seconds={low_seconds}, high_seconds={high_seconds}; expected 0 <= low <= high"
            )
        if distribution not in ("uniform", "constant", "exponential"):
            raise EnvError(f"{ID}: found distribution={distribution!r}; expected uniform, constant or exponential")
        if not 1 <= num_actions <= observation_size:
            raise EnvError(f"{ID}: found num_actions={num_actions}; expected 1 to observation_size={observation_size}")
        self.observation_space = spaces.Box(-np.inf, np.inf, (observation_size,), np.float32)
        self.action_space = spaces.Discrete(num_actions)
        self.render_mode = render_mode
        self._low, self._high, self._distribution = low_seconds, high_seconds, distribution
        self._end_probability = end_probability
        try:
            factors = {int(key): float(value) for key, value in (slowdown or {}).items()}
        except (AttributeError, TypeError, ValueError) as error:
            message = f'{ID}: found slowdown={slowdown!r}, expected worker number to factor, such as {{"1": 5.0}}'
            raise EnvError(message) from error
        self._factor = factors.get(worker, 1.0)
        self._num_actions = num_actions
        self._observation: Array = np.zeros(observation_size, np.float32)

    def _duration(self) -> float:
        middle = (self._low + self._high) / 2
        if self._distribution == "constant":
            return middle
        if self._distribution == "exponential":
            return self._low + float(self.np_random.exponential(middle - self._low))
        return float(self.np_random.uniform(self._low, self._high))

    def _observe(self) -> Array:
        self._observation = self.np_random.standard_normal(self._observation.shape[0], dtype=np.float32)
        return self._observation

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode, without delay."""
        super().reset(seed=seed, options=options)
        return self._observe(), {}

    def step(self, action: int) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Sleep for a random time and return a step."""
        seconds = self._duration() * self._factor
        if seconds > 0.0:
            time.sleep(seconds)
        reward = float(int(action) == int(np.argmax(self._observation[: self._num_actions])))
        terminated = bool(self.np_random.random() < self._end_probability)
        return self._observe(), reward, terminated, False, {}


def register() -> None:
    """Register the environment with gymnasium; importing `raymon.envs` does so."""
    if ID not in gymnasium.registry:
        gymnasium.register(ID, entry_point="raymon.envs.simulated:Simulated", kwargs={"worker": 0})
