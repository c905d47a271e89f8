"""The policy in plain numpy, as workers run it: two MLPs on one flat float32 array of weights.

For a small MLP numpy takes half the time of torch, and one flat array is the cheapest to send to an actor. The
learner uses the same layout through torch views. Needs numpy only. Letters: D observation, H head outputs, K action
components, M any number of rows.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from raymon.ppo.actions import ActionSpec, Floats, action_spec_from
from raymon.ppo.hyperparameters import MOST_LAYERS

Activation = Literal["tanh", "relu"]
LOG_STD_RANGE: Final = (-10.0, 2.0)
_HALF_LOG_2PI: Final = 0.5 * float(np.log(2.0 * np.pi))


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The architecture of policy and value network.

    Attributes:
        observation_size: D.
        actions: The policy's actions.
        hidden: Sizes of the hidden layers, the same for policy and value.
        activation: Activation between the layers.
        deviation: `free` is one log-deviation per action dimension, `state` lets the network give it; box only.
        initial_log_std: Initial log-deviation.
    """

    observation_size: int
    actions: ActionSpec
    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "tanh"
    deviation: Literal["free", "state"] = "free"
    initial_log_std: float = 0.0

    @property
    def head_size(self) -> int:
        """H: logits, means, or means and log-deviations."""
        if self.actions.kind == "discrete":
            return sum(self.actions.sizes)
        return self.actions.components * (2 if self.deviation == "state" else 1)

    @property
    def free_deviation(self) -> bool:
        """Whether the weights include a free log-deviation."""
        return self.actions.kind == "box" and self.deviation == "free"

    def layout(self) -> dict[str, tuple[int, tuple[int, ...]]]:
        """Return name to offset and shape in the flat array; weights are `[inputs, outputs]`."""
        entries: dict[str, tuple[int, tuple[int, ...]]] = {}
        offset = 0
        for network, outputs in (("policy", self.head_size), ("value", 1)):
            sizes = (self.observation_size, *self.hidden, outputs)
            for index, shape in enumerate(itertools.pairwise(sizes)):
                entries[f"{network}.{index}.weight"] = (offset, shape)
                offset += shape[0] * shape[1]
                entries[f"{network}.{index}.bias"] = (offset, shape[1:])
                offset += shape[1]
        if self.free_deviation:
            entries["log_std"] = (offset, (self.actions.components,))
        return entries

    def size(self) -> int:
        """Return the length of the flat array."""
        return max(offset + math.prod(shape) for offset, shape in self.layout().values())

    def as_json(self) -> dict[str, Any]:
        """Return plain data that `model_spec_from` reads back."""
        return asdict(self)


def model_spec_from(stored: Mapping[str, Any]) -> ModelSpec:
    """Build the spec from what `ModelSpec.as_json` returned; raises `ValueError`, `KeyError` or `TypeError`."""
    if len(stored["hidden"]) > MOST_LAYERS:
        raise ValueError(f"found {len(stored['hidden'])} hidden layers, expected at most {MOST_LAYERS}")
    fields = {**stored, "actions": action_spec_from(stored["actions"]), "hidden": tuple(stored["hidden"])}
    spec = ModelSpec(**fields)
    sizes = (spec.observation_size, *spec.hidden)
    kinds = spec.activation in ("tanh", "relu") and spec.deviation in ("free", "state")
    if not kinds or not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"found the model {str(spec)[:200]}, expected sizes above 0 and known kinds")
    return spec


def initial_weights(spec: ModelSpec, rng: np.random.Generator) -> Floats:
    """Return orthogonal weights: gain sqrt(2) inside, 0.01 for the policy's head, 1 for the value's; biases 0.

    Source: Andrychowicz et al. 2021, "What Matters in On-Policy Reinforcement Learning", section 3.2.
    """
    flat = np.zeros(spec.size(), dtype=np.float32)
    last = len(spec.hidden)
    for name, (offset, shape) in spec.layout().items():
        if name == "log_std":
            flat[offset : offset + shape[0]] = spec.initial_log_std
        elif name.endswith("weight"):
            network, index, _ = name.split(".")
            gain = 2.0**0.5 if int(index) < last else (0.01 if network == "policy" else 1.0)
            flat[offset : offset + shape[0] * shape[1]] = gain * _orthogonal(shape, rng).reshape(-1)
    if spec.deviation == "state" and spec.actions.kind == "box":
        offset, shape = spec.layout()[f"policy.{last}.bias"]
        flat[offset + shape[0] // 2 : offset + shape[0]] = spec.initial_log_std
    return flat


def _orthogonal(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    rows, columns = shape
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diag(r))
    return np.asarray(q if rows >= columns else q.T, dtype=np.float32)


class Policy:
    """Both networks on views of one flat array, which `load` overwrites in place."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self._flat = np.zeros(spec.size(), dtype=np.float32)
        views = {
            name: self._flat[offset : offset + math.prod(shape)].reshape(shape)
            for name, (offset, shape) in spec.layout().items()
        }
        layers = range(len(spec.hidden) + 1)
        self._policy = [(views[f"policy.{i}.weight"], views[f"policy.{i}.bias"]) for i in layers]
        self._value = [(views[f"value.{i}.weight"], views[f"value.{i}.bias"]) for i in layers]
        self._log_std = views.get("log_std")
        self._buffers: dict[int, list[Floats]] = {}

    def load(self, flat: Floats) -> None:
        """Copy the weights, an array of the layout's length."""
        self._flat[:] = flat

    def head(self, observations: Floats, out: Floats) -> Floats:
        """Return the policy's outputs `[M, H]` for observations `[M, D]`, written to `out`."""
        return self._forward(self._policy, observations, out)

    def values(self, observations: Floats) -> Floats:
        """Return the values `[M]` of observations `[M, D]`."""
        return self._forward(self._value, observations, np.empty((len(observations), 1), np.float32))[:, 0]

    def _forward(self, layers: list[tuple[Floats, Floats]], inputs: Floats, out: Floats) -> Floats:
        rows = len(inputs)
        if rows not in self._buffers:
            self._buffers[rows] = [np.empty((rows, size), np.float32) for size in self.spec.hidden]
        activity = inputs
        for (weight, bias), buffer in zip(layers[:-1], self._buffers[rows], strict=True):
            np.matmul(activity, weight, out=buffer)
            np.add(buffer, bias, out=buffer)
            np.tanh(buffer, out=buffer) if self.spec.activation == "tanh" else np.maximum(buffer, 0.0, out=buffer)
            activity = buffer
        weight, bias = layers[-1]
        np.matmul(activity, weight, out=out)
        out += bias
        return out

    def noise(self, rng: np.random.Generator, rows: tuple[int, ...]) -> Floats:
        """Draw all random numbers for actions of shape `rows` at once: Gumbel for choices, normal for a box."""
        if self.spec.actions.kind == "discrete":
            drawn = rng.standard_exponential((*rows, self.spec.head_size), dtype=np.float32)
            np.maximum(drawn, np.float32(1e-30), out=drawn)
            return np.negative(np.log(drawn, out=drawn), out=drawn)
        return rng.standard_normal((*rows, self.spec.actions.components), dtype=np.float32)

    def choose(self, head: Floats, noise: Floats) -> NDArray[Any]:
        """Sample actions `[M, K]`: choices by the Gumbel-max trick, box actions before any bound is applied."""
        if self.spec.actions.kind == "discrete":
            return self._largest(head + noise)
        mean, log_std = self._gaussian(head)
        return mean + np.exp(log_std) * noise

    def mode(self, head: Floats) -> NDArray[Any]:
        """Return the most likely actions `[M, K]`."""
        return self._largest(head) if self.spec.actions.kind == "discrete" else self._gaussian(head)[0]

    def log_probability(self, head: Floats, actions: NDArray[Any]) -> Floats:
        """Return the log-probability `[M]` of actions `[M, K]`; of a box, the density before any bound is applied."""
        if self.spec.actions.kind == "box":
            mean, log_std = self._gaussian(head)
            scaled = (actions - mean) * np.exp(-log_std)
            return np.asarray((-0.5 * scaled * scaled - log_std - np.float32(_HALF_LOG_2PI)).sum(axis=1), np.float32)
        total = np.zeros(len(head), np.float32)
        rows = np.arange(len(head))
        for part, component in zip(self._parts(head), range(actions.shape[1]), strict=True):
            shifted = part - part.max(axis=1, keepdims=True)
            total += shifted[rows, actions[:, component]] - np.log(np.exp(shifted).sum(axis=1))
        return total

    def _gaussian(self, head: Floats) -> tuple[Floats, Floats]:
        count = self.spec.actions.components
        raw = self._log_std if self._log_std is not None else head[:, count:]
        return head[:, :count], np.clip(raw, *LOG_STD_RANGE)

    def _parts(self, head: Floats) -> list[Floats]:
        sizes = self.spec.actions.sizes
        return [head] if len(sizes) == 1 else np.split(head, np.cumsum(sizes)[:-1], axis=1)

    def _largest(self, scores: Floats) -> NDArray[Any]:
        smallest: type = np.int8 if max(self.spec.actions.sizes) <= 127 else np.int32
        return np.stack([part.argmax(axis=1) for part in self._parts(scores)], axis=1).astype(smallest)
