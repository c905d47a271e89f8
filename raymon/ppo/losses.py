"""PPO's loss and its hand-written gradient with respect to the networks' outputs, on torch tensors.

With two small MLPs, autograd's bookkeeping costs as much as the arithmetic; the formulas are short and the tests
compare them with autograd. Letters: B rows of a minibatch, H head outputs, K action components.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from raymon.ppo.policy import LOG_STD_RANGE, ModelSpec

_HALF_LOG_2PI: Final = 0.9189385332046727


class Policies(NamedTuple):
    """The policy evaluated on a minibatch.

    Attributes:
        log_probability: `[B]`, of the actions taken.
        entropy: `[B]`; of a squashed box, that of the Gaussian before squashing.
        score: `[B, H]`, derivative of the log-probability by the head.
        entropy_slope: `[B, H]`, derivative of the entropy by the head.
        free_score: `[B, K]`, derivative of the log-probability by the free log-deviation; None when there is none.
    """

    log_probability: Tensor
    entropy: Tensor
    score: Tensor
    entropy_slope: Tensor
    free_score: Tensor | None = None


def categorical(head: Tensor, actions: Tensor, sizes: tuple[int, ...]) -> Policies:
    """Evaluate actions `[B, K]` under independent choices with logits `head` `[B, H]`."""
    parts = [_choice(part, actions[:, k : k + 1]) for k, part in enumerate(torch.split(head, list(sizes), dim=1))]
    if len(parts) == 1:
        return parts[0]
    return Policies(
        torch.stack([part.log_probability for part in parts]).sum(0),
        torch.stack([part.entropy for part in parts]).sum(0),
        torch.cat([part.score for part in parts], dim=1),
        torch.cat([part.entropy_slope for part in parts], dim=1),
    )


def _choice(logits: Tensor, action: Tensor) -> Policies:
    log_p = torch.log_softmax(logits, dim=1)
    p = log_p.exp()
    entropy = -(p * log_p).sum(dim=1)
    slope = (log_p + entropy[:, None]).mul_(p).neg_()
    score = p.neg_().scatter_add_(1, action, torch.ones_like(logits[:, :1]))
    return Policies(log_p.gather(1, action)[:, 0], entropy, score, slope)


def gaussian(head: Tensor, actions: Tensor, free_log_std: Tensor | None) -> Policies:
    """Evaluate actions `[B, K]`, as drawn before any bound, under independent Gaussians."""
    count = actions.shape[1]
    mean = head[:, :count]
    raw = head[:, count:] if free_log_std is None else free_log_std.expand_as(mean)
    log_std = raw.clamp(*LOG_STD_RANGE)
    inside = (raw == log_std).to(head.dtype)
    inverse = (-log_std).exp()
    scaled = (actions - mean) * inverse
    log_probability = (-0.5 * scaled * scaled - log_std - _HALF_LOG_2PI).sum(dim=1)
    entropy = (log_std + (0.5 + _HALF_LOG_2PI)).sum(dim=1)
    by_mean, by_log_std = scaled * inverse, (scaled * scaled - 1.0) * inside
    if free_log_std is None:
        score = torch.cat([by_mean, by_log_std], dim=1)
        return Policies(log_probability, entropy, score, torch.cat([torch.zeros_like(mean), inside], dim=1))
    return Policies(log_probability, entropy, by_mean, torch.zeros_like(mean), by_log_std)


def evaluate(spec: ModelSpec, head: Tensor, actions: Tensor, free_log_std: Tensor | None) -> Policies:
    """Evaluate actions under the model's kind of policy."""
    if spec.actions.kind == "discrete":
        return categorical(head, actions, spec.actions.sizes)
    return gaussian(head, actions, free_log_std)


def clipped_surrogate(log_ratio: Tensor, advantage: Tensor, clip: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss `[B]`, its derivative by the log-probability `[B]`, and the ratio `[B]`.

    Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms", equation 7.
    """
    ratio = log_ratio.exp()
    free = ratio * advantage
    clipped = ratio.clamp(1.0 - clip, 1.0 + clip) * advantage
    slope = torch.where(free <= clipped, -free, torch.zeros((), dtype=free.dtype, device=free.device))
    return -torch.minimum(free, clipped), slope, ratio


def value_loss(value: Tensor, old: Tensor, target: Tensor, clip: float | None) -> tuple[Tensor, Tensor]:
    """Return half the squared error `[B]`, optionally clipped around the old value, and its derivative `[B]`.

    Source: Huang et al. 2022, "The 37 Implementation Details of PPO", detail 9.
    """
    error = value - target
    if clip is None:
        return 0.5 * error * error, error
    clipped = old + (value - old).clamp(-clip, clip) - target
    free_is_larger = error * error >= clipped * clipped
    inside = (value - old).abs() <= clip
    slope = torch.where(free_is_larger, error, clipped * inside)
    return 0.5 * torch.maximum(error * error, clipped * clipped), slope
