"""The interface of environments that step together, and its two cheap implementations.

All follow gymnasium's next-step autoreset: the step after `terminated` or `truncated` resets that environment; its
action is ignored, its reward is 0 and both flags are False. N is the number of environments, D the size of a flat
observation.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces

from raymon.envs.env_error import EnvError
from raymon.envs.spaces import Array, action_form, observation_form

Step = tuple[Array, Array, Array, Array, dict[str, Any]]


class Vector(Protocol):
    """Many environments stepped together.

    Attributes:
        num_envs: N.
        single_observation_space: Flat Box `[D]` float32.
        single_action_space: `Discrete(n)`, `MultiDiscrete` `[K]` or Box `[A]` float32, counted from 0.
    """

    num_envs: int
    single_observation_space: spaces.Box
    single_action_space: spaces.Space[Any]

    def reset(self, *, seed: int | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode everywhere; return observations `[N, D]` float32."""

    def step(self, actions: Array) -> Step:
        """Take one step everywhere.

        Returns:
            Observations `[N, D]` float32, rewards `[N]` float32, terminated `[N]` bool, truncated `[N]` bool, {}.
            The arrays are the caller's to keep.
        """

    def close(self) -> None:
        """Release all resources; no other call may follow."""


def seeds_for(seed: int, worker: int, num_envs: int) -> list[int]:
    """Return one seed per environment: the same for the same arguments, different between workers and environments."""
    return [int(word) >> 1 for word in np.random.SeedSequence([seed, worker]).generate_state(num_envs, np.uint32)]


class SerialVector:
    """Ordinary environments, stepped one after the other with little overhead."""

    def __init__(self, envs: Sequence[gymnasium.Env[Any, Any]], *, seed: int, worker: int) -> None:
        self._envs = list(envs)
        self._seed, self._worker = seed, worker
        self._observation = observation_form(envs[0].observation_space)
        self._action = action_form(envs[0].action_space)
        self._steps = [env.step for env in self._envs]
        self._done = [False] * len(self._envs)
        self.num_envs = len(self._envs)
        self.single_observation_space = self._observation.space
        self.single_action_space = self._action.space

    def reset(self, *, seed: int | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode everywhere; without a seed, the first reset takes the seed given at construction."""
        seeds = seeds_for(self._seed if seed is None else seed, self._worker, self.num_envs)
        self._done = [False] * self.num_envs
        rows = []
        for number, (env, env_seed) in enumerate(zip(self._envs, seeds, strict=True)):
            try:
                rows.append(self._observation.row(env.reset(seed=env_seed)[0]))
            except Exception as error:
                raise broken(self._worker, number, error) from error
        return np.stack(rows), {}

    def step(self, actions: Array) -> Step:
        """Take one step everywhere; see `Vector.step`."""
        size, flatten = self.num_envs, self._observation.flatten
        observations = np.empty((size, *self.single_observation_space.shape), np.float32)
        rewards: list[Any] = [0.0] * size
        terminations, truncations = [False] * size, [False] * size
        number, done = 0, self._done
        try:
            for number, action in enumerate(self._action.split(actions)):
                if done[number]:
                    observation = self._envs[number].reset()[0]
                else:
                    observation, rewards[number], terminations[number], truncations[number], _ = self._steps[number](
                        action
                    )
                observations[number] = observation if flatten is None else flatten(observation)
        except Exception as error:
            raise broken(self._worker, number, error) from error
        terminated, truncated = np.array(terminations, bool), np.array(truncations, bool)
        self._done = (terminated | truncated).tolist()
        return observations, np.array(rewards, np.float32), terminated, truncated, {}

    def close(self) -> None:
        """Close every environment."""
        for env in self._envs:
            env.close()  # type: ignore[no-untyped-call]  # not annotated in gymnasium


class NativeVector:
    """An environment with its own vectorized form (gymnasium's vector entry point)."""

    def __init__(self, envs: gymnasium.vector.VectorEnv[Any, Any, Any], *, seed: int, worker: int) -> None:
        self._envs = envs
        self._seed, self._worker = seed, worker
        self._observation = observation_form(envs.single_observation_space)
        if self._observation.flatten is not None:
            raise EnvError(
                f"found observations {envs.single_observation_space}, expected vectors; wrap the environment"
            )
        self.num_envs = envs.num_envs
        self.single_observation_space = self._observation.space
        self.single_action_space = action_form(envs.single_action_space).space

    def reset(self, *, seed: int | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode everywhere; without a seed, takes the seed given at construction."""
        first = seeds_for(self._seed if seed is None else seed, self._worker, 1)[0]
        return np.asarray(self._envs.reset(seed=first)[0], np.float32), {}

    def step(self, actions: Array) -> Step:
        """Take one step everywhere; see `Vector.step`."""
        try:
            observations, rewards, terminated, truncated, _ = self._envs.step(actions)
        except Exception as error:
            raise broken(self._worker, None, error) from error
        return np.asarray(observations, np.float32), np.asarray(rewards, np.float32), terminated, truncated, {}

    def close(self) -> None:
        """Close the environments."""
        self._envs.close()


def broken(worker: int, number: int | None, error: Exception) -> EnvError:
    """Return the error for an exception raised inside an environment, with the environment's number."""
    which = "the environments" if number is None else f"environment {number}"
    text = str(error) if isinstance(error, EnvError) else f"{type(error).__name__}: {error}"
    return EnvError(f"{which} of worker {worker} failed: {text}")
