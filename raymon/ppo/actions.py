"""The policy's actions, discrete or Gaussian. Runs in every worker and needs only numpy and gymnasium.

Environments have the plain forms of `raymon.envs`: flat float32 observations; `Discrete`, one-dimensional
`MultiDiscrete` or `Box` actions counted from 0. Letters: N environments, K action components (choices or dimensions).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from raymon.errors import UserError

Floats = NDArray[np.float32]
ActionKind = Literal["discrete", "box"]
Bounds = Literal["clip", "squash"]
_UNBOUNDED: Final = 1e30
_MOST_SIZES: Final = 65_536
"""Most components of an action."""


class SpaceError(UserError):
    """A space the policy cannot handle."""


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """The actions of a policy.

    Attributes:
        kind: `discrete` for one or more choices, `box` for real numbers.
        sizes: Choices per component; 1 for each dimension of a box.
        single: Whether the environment takes one number per action, not a row of K.
        low: Lower bounds of a box; empty when it has none.
        high: Upper bounds of a box.
        bounds: `clip` cuts a Gaussian sample at the bounds, `squash` bends it into them with tanh.
    """

    kind: ActionKind
    sizes: tuple[int, ...]
    single: bool = False
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    bounds: Bounds = "clip"

    @property
    def components(self) -> int:
        """K: choices or dimensions per action."""
        return len(self.sizes)

    def to_environment(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Convert the policy's actions `[N, K]` to a batch for the vector environment.

        A bounded box is centred and scaled, so that the policy's -1 and 1 are the bounds; `clip` then cuts what lies
        beyond, while the log-probability stays that of the uncut sample. With `squash` the stored action is the sample
        before tanh: the Jacobian depends on that alone and cancels in PPO's ratio.
        """
        if self.kind == "discrete":
            return actions[:, 0].astype(np.int64) if self.single else actions.astype(np.int64)
        if not self.low:
            return actions
        low, high = np.asarray(self.low, np.float32), np.asarray(self.high, np.float32)
        inside = np.tanh(actions) if self.bounds == "squash" else np.clip(actions, -1.0, 1.0)
        scaled = low + (inside + 1.0) * np.float32(0.5) * (high - low)
        return np.asarray(np.clip(scaled, low, high), np.float32)


def action_spec(space: spaces.Space[Any], bounds: Bounds = "clip") -> ActionSpec:
    """Describe an action space; raises `SpaceError` for one that PPO cannot handle."""
    if isinstance(space, spaces.Discrete):
        return ActionSpec("discrete", (int(space.n),), single=True)
    if isinstance(space, spaces.MultiDiscrete):
        return ActionSpec("discrete", tuple(int(n) for n in space.nvec.reshape(-1)))
    if isinstance(space, spaces.Box):
        low, high = space.low.reshape(-1), space.high.reshape(-1)
        bounded = bool((np.abs(low) < _UNBOUNDED).all() and (np.abs(high) < _UNBOUNDED).all())
        if bounds == "squash" and not bounded:
            raise SpaceError(f"found the unbounded action space {space}, nothing to squash into; use --bounds clip")
        ends = (tuple(map(float, low)), tuple(map(float, high))) if bounded else ((), ())
        return ActionSpec("box", (1,) * low.size, False, *ends, bounds=bounds)
    raise SpaceError(f"found the action space {space}; expected Discrete, MultiDiscrete or Box: wrap the environment")


def action_spec_from(stored: Mapping[str, Any]) -> ActionSpec:
    """Build the spec from what `dataclasses.asdict` returned; raises `ValueError`, `KeyError` or `TypeError`."""
    if any(len(stored[key]) > _MOST_SIZES for key in ("sizes", "low", "high")):
        raise ValueError(f"found actions of more than {_MOST_SIZES} components")
    sizes, low, high = (tuple(stored[key]) for key in ("sizes", "low", "high"))
    kinds = stored["kind"] in ("discrete", "box") and stored["bounds"] in ("clip", "squash")
    positive = all(type(size) is int and size > 0 for size in sizes)
    ends = {len(low), len(high)} in ({0}, {len(sizes)}) and all(map(_is_bound, (*low, *high)))
    if not (kinds and sizes and positive and ends):
        raise ValueError(
            f"found the actions {str(dict(stored))[:200]}, expected sizes above 0, finite bounds and known kinds"
        )
    return ActionSpec(stored["kind"], sizes, bool(stored["single"]), low, high, stored["bounds"])


def _is_bound(end: object) -> bool:
    return isinstance(end, (int, float)) and not isinstance(end, bool) and abs(end) < _UNBOUNDED
