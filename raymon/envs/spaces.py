"""Converts supported spaces to the two forms the trainer uses: flat float32 observations, flat actions.

Observations of every space gymnasium can flatten become one row of float32. Actions become `Discrete(n)` or
one-dimensional `MultiDiscrete`, both counted from 0, or one-dimensional float32 `Box`; `split` converts them back to
what the environment expects. Runs once when environments are made; `split` runs once per step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from raymon.envs.env_error import EnvError

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class ObservationForm:
    """The conversion of one environment's observations to rows.

    Attributes:
        space: The flat space of one row, `[D]` float32.
        flatten: Observation to a row; None if the environment's observations are rows already.
    """

    space: spaces.Box
    flatten: Callable[[Any], Any] | None

    def row(self, observation: Any) -> Array:  # noqa: ANN401  # whatever the environment's space holds
        """Return the observation as a row, `[D]` float32, checked against the space."""
        flat = np.asarray(observation if self.flatten is None else self.flatten(observation), dtype=np.float32)
        if flat.shape != self.space.shape:
            raise EnvError(
                f"found an observation of shape {flat.shape}, the observation space says {self.space.shape}; "
                "correct the environment's observation_space"
            )
        return flat


@dataclass(frozen=True, slots=True)
class ActionForm:
    """The conversion of the trainer's actions to actions of the environments.

    Attributes:
        space: The policy's action space: `Discrete`, `MultiDiscrete` `[K]` or float32 `Box` `[A]`, counted from 0.
        split: Actions `[N, ...]` to one action per environment.
    """

    space: spaces.Space[Any]
    split: Callable[[Array], Sequence[Any]]


def observation_form(space: spaces.Space[Any]) -> ObservationForm:
    """Return the flat form of an observation space.

    Raises:
        EnvError: The space has no fixed flat size (graphs, sequences, texts of any length).
    """
    try:
        flat = spaces.flatten_space(space)
    except (NotImplementedError, ValueError) as error:
        raise EnvError(f"found observation space {space}, expected one that gymnasium can flatten: {error}") from error
    if not isinstance(flat, spaces.Box) or len(flat.shape) != 1:
        raise EnvError(f"found observation space {space}, which has no fixed flat size; wrap the environment")
    if flat.dtype != np.float32:
        low, high = np.asarray(flat.low, dtype=np.float32), np.asarray(flat.high, dtype=np.float32)
        flat = spaces.Box(low, high, dtype=np.float32)
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return ObservationForm(flat, None)
    return ObservationForm(flat, lambda observation: spaces.flatten(space, observation))


def action_form(space: spaces.Space[Any]) -> ActionForm:
    """Return the flat form of an action space.

    Raises:
        EnvError: The space is none of Discrete, MultiDiscrete, MultiBinary and Box.
    """
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        if start == 0:
            return ActionForm(spaces.Discrete(int(space.n)), lambda actions: actions.tolist())
        return ActionForm(spaces.Discrete(int(space.n)), lambda actions: (actions + start).tolist())
    if isinstance(space, spaces.MultiDiscrete):
        dtype, shape = space.dtype, space.shape
        offset = np.asarray(space.start).reshape(-1)
        return ActionForm(
            spaces.MultiDiscrete(np.asarray(space.nvec).reshape(-1)),
            lambda actions: list((actions + offset).astype(dtype).reshape(-1, *shape)),
        )
    if isinstance(space, spaces.MultiBinary):
        bits = space.shape
        return ActionForm(
            spaces.MultiDiscrete(np.full(int(np.prod(bits)), 2)),
            lambda actions: list(actions.astype(np.int8).reshape(-1, *bits)),
        )
    if isinstance(space, spaces.Box):
        return _box_action_form(space)
    raise EnvError(
        f"found action space {space}, expected Discrete, MultiDiscrete, MultiBinary or Box; wrap the environment"
    )


def _box_action_form(space: spaces.Box) -> ActionForm:
    low, high = (np.asarray(bound, dtype=np.float32).reshape(-1) for bound in (space.low, space.high))
    dtype, shape = space.dtype, space.shape
    if dtype == np.float32 and len(shape) == 1:
        return ActionForm(spaces.Box(low, high, dtype=np.float32), list)
    return ActionForm(
        spaces.Box(low, high, dtype=np.float32), lambda actions: list(actions.astype(dtype).reshape(-1, *shape))
    )
