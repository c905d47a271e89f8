"""The learner: PPO's update on one flat tensor of weights. Runs in the driver, on the CPU (one thread) or on CUDA.

If the loss or gradient of a minibatch is not finite, it and the rest of the update are skipped and counted; the
weights stay as they were.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raymon.errors import UserError
from raymon.ppo import losses
from raymon.ppo.actions import Floats
from raymon.ppo.fragments import Fragment
from raymon.ppo.hyperparameters import Hyperparameters
from raymon.ppo.network import Mlp
from raymon.ppo.policy import LOG_STD_RANGE, ModelSpec


class DeviceError(UserError):
    """A device that is not available."""


@dataclass(frozen=True, slots=True)
class Update:
    """Statistics of one update: means over the minibatches of its last epoch.

    Attributes:
        losses: Policy, value, entropy, total.
        explained_variance: `1 - Var[return - value] / Var[return]` of the batch.
        gradient_norm: Norm before clipping.
        nonfinite: Whether a loss or gradient was not finite, which ends the update.
        gradient_steps: Gradient steps taken.
    """

    losses: dict[str, float]
    kl: float
    entropy: float
    clip_ratio: float
    explained_variance: float
    gradient_norm: float
    learning_rate: float
    nonfinite: bool
    gradient_steps: int


@dataclass(slots=True)
class _Sums:
    """Sums over minibatches, kept as tensors so that nothing waits for the device."""

    rows: int = 0
    totals: dict[str, Tensor] = field(default_factory=dict)
    gradient_norms: list[float] = field(default_factory=list)

    def add(self, rows: int, **parts: Tensor) -> None:
        self.rows += rows
        for name, part in parts.items():
            self.totals[name] = self.totals[name] + part.sum() if name in self.totals else part.sum()

    def mean(self, name: str) -> float:
        return float(self.totals[name]) / self.rows if self.rows else float("nan")


class Batch:
    """All rows of one update's fragments, on the learner's device."""

    def __init__(self, fragments: Sequence[Fragment], device: torch.device) -> None:
        def gather(name: str) -> Tensor:
            return torch.from_numpy(np.concatenate([getattr(fragment, name) for fragment in fragments])).to(device)

        self.observations = gather("observations")
        actions = gather("actions")
        self.actions = actions if actions.is_floating_point() else actions.long()
        self.log_probabilities = gather("log_probabilities")
        self.advantages = gather("advantages")
        self.values = gather("values")
        self.targets = self.advantages + self.values

    def __len__(self) -> int:
        return len(self.observations)

    def shuffled(self, order: NDArray[np.int64]) -> dict[str, Tensor]:
        """Return the arrays in another order, gathered once per epoch so that minibatches are slices."""
        index = torch.from_numpy(order).to(self.observations.device)
        return {name: tensor.index_select(0, index) for name, tensor in vars(self).items()}

    def explained_variance(self) -> float:
        """Return the share of the returns' variance that the values explain; 0 for constant returns."""
        variance = float(self.targets.var(correction=0))
        return 1.0 - float(self.advantages.var(correction=0)) / variance if variance > 1e-12 else 0.0


def pick_device(name: str) -> torch.device:
    """Return the device for `cpu`, `cuda` or `auto`; raises `DeviceError` if CUDA is requested and absent."""
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("found no CUDA device for --device cuda; take --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


class Learner:
    """PPO's learner: weights, gradients and Adam's state, each as one flat tensor."""

    def __init__(self, config: Hyperparameters, spec: ModelSpec, weights: Floats, device: torch.device) -> None:
        self._config, self._spec, self.device = config, spec, device
        torch.set_num_threads(1)  # more threads do not help small matrices, and the workers need the cores
        self._flat = torch.from_numpy(weights.copy()).to(device)
        self._gradient = torch.zeros_like(self._flat)
        self._policy = Mlp(spec, "policy", self._flat, self._gradient)
        self._value = Mlp(spec, "value", self._flat, self._gradient)
        self._free: tuple[Tensor, Tensor] | None = None
        if spec.free_deviation:
            offset, (count,) = spec.layout()["log_std"]
            self._free = (self._flat[offset : offset + count], self._gradient[offset : offset + count])
        parameter = torch.nn.Parameter(self._flat)
        parameter.grad = self._gradient
        self._adam = torch.optim.Adam([parameter], lr=config.learning_rate, eps=1e-5, fused=True)
        self._moments = _adam_state(self._adam, parameter)
        self._rng = np.random.default_rng([config.seed, 2])
        self.poisoned = False
        """Set by an injected fault: the next minibatch's loss is not a number."""

    def gpu(self) -> tuple[float, float] | None:
        """Return utilization (0 to 1) and allocated bytes of the learner's GPU; None on the CPU or when unknown."""
        if self.device.type != "cuda":
            return None
        try:
            busy = torch.cuda.utilization(self.device) / 100
        except Exception:  # noqa: BLE001  # without the driver's management library, training goes on
            return None
        return busy, float(torch.cuda.memory_allocated(self.device))

    def weights(self) -> Floats:
        """Return a copy of the weights as one flat array."""
        weights: Floats = self._flat.cpu().numpy().copy()
        return weights

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the learner's part of a checkpoint: arrays, and the state of the random numbers."""
        arrays = {f"adam_{name}": tensor.cpu().numpy() for name, tensor in self._moments.items()}
        return {"weights": self.weights(), **arrays}, dict(self._rng.bit_generator.state)

    def restore(self, arrays: dict[str, NDArray[Any]], rng: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self._flat.copy_(torch.from_numpy(arrays["weights"]))
        for name, tensor in self._moments.items():
            tensor.copy_(torch.from_numpy(arrays[f"adam_{name}"]))
        self._rng.bit_generator.state = rng

    @torch.no_grad()
    def update(self, fragments: Sequence[Fragment], remaining: float) -> Update:
        """Learn from fragments.

        Args:
            fragments: The batch.
            remaining: Share of the run still to come; anneals step size and clip range.
        """
        config = self._config
        share = max(remaining, 0.0) if config.anneal else 1.0
        rate, clip = config.learning_rate * share, config.clip * share
        self._adam.param_groups[0]["lr"] = rate
        batch = Batch(fragments, self.device)
        parts = max(1, round(len(batch) / config.minibatch))
        bounds = np.linspace(0, len(batch), parts + 1).astype(int)
        sums, steps, finite = _Sums(), 0, True
        for _ in range(config.epochs):
            rows = batch.shuffled(self._rng.permutation(len(batch)))
            sums = _Sums()
            for start, end in itertools.pairwise(bounds):
                piece = {name: tensor[start:end] for name, tensor in rows.items()}
                finite = self._minibatch(piece, clip, sums)
                if not finite:
                    break
                steps += 1
            if not finite or (config.target_kl is not None and sums.mean("kl") > 1.5 * config.target_kl):
                break
        return self._summary(sums, batch, rate, steps, finite)

    def _minibatch(self, rows: dict[str, Tensor], clip: float, sums: _Sums) -> bool:
        """Take one gradient step; return False and change nothing if the loss or gradient is not finite."""
        config = self._config
        count = len(rows["observations"])
        head = self._policy.forward(rows["observations"])
        value = self._value.forward(rows["observations"])[:, 0]
        free = None if self._free is None else self._free[0]
        policy = losses.evaluate(self._spec, head, rows["actions"], free)
        log_ratio = policy.log_probability - rows["log_probabilities"]
        advantage = rows["advantages"]
        if count > 1:
            deviation, mean = torch.std_mean(advantage)
            advantage = (advantage - mean) / (deviation + 1e-8)
        surrogate, slope, ratio = losses.clipped_surrogate(log_ratio, advantage, clip)
        squared, value_slope = losses.value_loss(value, rows["values"], rows["targets"], config.value_clip)
        if self.poisoned:
            self.poisoned = False
            slope = slope * float("nan")
        slope = slope / count
        head_slope = policy.score * slope[:, None]
        if config.entropy_coefficient:
            head_slope -= policy.entropy_slope * (config.entropy_coefficient / count)
        self._policy.backward(head_slope)
        self._value.backward((value_slope * (config.value_coefficient / count))[:, None])
        if self._free is not None:
            self._free_gradient(policy, slope)
        norm = float(torch.linalg.vector_norm(self._gradient))
        loss = float(surrogate.sum() + squared.sum())
        if not (np.isfinite(norm) and np.isfinite(loss)):
            return False
        if norm > config.max_gradient_norm:
            self._gradient.mul_(config.max_gradient_norm / (norm + 1e-6))
        self._adam.step()
        sums.gradient_norms.append(norm)
        kl = ratio - 1.0 - log_ratio
        clipped = ((ratio - 1.0).abs() > clip).to(ratio.dtype)
        sums.add(count, policy=surrogate, value=squared, entropy=policy.entropy, kl=kl, clipped=clipped)
        return True

    def _free_gradient(self, policy: losses.Policies, slope: Tensor) -> None:
        if self._free is None or policy.free_score is None:
            return
        log_std, gradient = self._free
        torch.sum(policy.free_score * slope[:, None], 0, out=gradient)
        low, high = LOG_STD_RANGE
        gradient -= self._config.entropy_coefficient * ((log_std > low) & (log_std < high))

    def _summary(self, sums: _Sums, batch: Batch, rate: float, steps: int, finite: bool) -> Update:
        if not sums.rows:
            nan = float("nan")
            terms = dict.fromkeys(("policy", "value", "entropy", "total"), nan)
            return Update(terms, nan, nan, nan, batch.explained_variance(), nan, rate, not finite, steps)
        policy, value, entropy = sums.mean("policy"), sums.mean("value"), sums.mean("entropy")
        bonus = -self._config.entropy_coefficient * entropy
        total = policy + self._config.value_coefficient * value + bonus
        terms = {"policy": policy, "value": value, "entropy": bonus, "total": total}
        norm = float(np.mean(sums.gradient_norms))
        return Update(
            terms,
            sums.mean("kl"),
            entropy,
            sums.mean("clipped"),
            batch.explained_variance(),
            norm,
            rate,
            not finite,
            steps,
        )


def _adam_state(adam: torch.optim.Adam, parameter: torch.nn.Parameter) -> dict[str, Tensor]:
    """Create Adam's state now, as its first step would, so that it can be saved and restored from the start."""
    state = {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter.data),
        "exp_avg_sq": torch.zeros_like(parameter.data),
    }
    adam.state[parameter] = state
    return state
