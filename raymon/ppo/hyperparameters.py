"""Hyperparameters of the algorithm and of sampling."""

from dataclasses import dataclass
from typing import Final

MOST_LAYERS: Final = 64
"""Most hidden layers of policy and value network."""


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of PPO and of sampling; `raymon.train.options.Config` adds the options of a run."""

    workers: int = 2
    """Ray actors that sample; 0 samples in this process, without Ray (sampler sync only)."""
    fragment_steps: int = 64
    """Steps of each environment in one fragment."""
    fragments_per_update: int = 0
    """Fragments an async update waits for; 0 means one per worker."""
    wait_for: int = 1
    """Sampler step: environments that must be ready before the policy answers them."""
    max_policy_lag: int = 4
    """Drop fragments whose policy is more than this many updates old (async and step)."""
    seed: int = 1
    """Seed of all random numbers."""
    learning_rate: float = 2.5e-3
    """Step size of Adam."""
    anneal: bool = True
    """Lower step size and clip range linearly to 0 over the run, which keeps a solved task solved."""
    discount: float = 0.99
    """Gamma."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation."""
    epochs: int = 4
    """Passes over each batch."""
    minibatch: int = 1024
    """Samples per gradient step."""
    clip: float = 0.2
    """Clip range of the probability ratio."""
    value_clip: float | None = None
    """Clip range of the value update; none does not clip it."""
    value_coefficient: float = 0.5
    """Weight of the value loss."""
    entropy_coefficient: float = 0.0
    """Weight of the entropy bonus."""
    max_gradient_norm: float = 0.5
    """Scale gradients with a larger norm down to this."""
    target_kl: float | None = None
    """Stop the epochs of an update once the KL divergence exceeds 1.5 times this."""

    @property
    def batch_fragments(self) -> int:
        """Fragments per update."""
        return self.fragments_per_update or max(1, self.workers)
