"""PPO in the style of single-file implementations, with CleanRL's settings, for comparison.

Eight gymnasium environments are stepped one after the other, the policy runs in torch at every step, with autograd and
a shared clip of the gradient. Source of the settings: CleanRL's `ppo.py`.
"""

import time
from collections import deque
from typing import Any, Final

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

SETTINGS: Final = {
    "batch": 1024,
    "minibatch": 256,
    "epochs": 4,
    "rate": 2.5e-4,
    "discount": 0.99,
    "trace": 0.95,
    "clip": 0.2,
    "entropy": 0.01,
}
ENVS: Final = 8
STEPS: Final = 128


def network(inputs: int, outputs: int) -> nn.Sequential:
    """Return an MLP with two hidden layers of 64."""
    return nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


class Rollouts:
    """Samples `STEPS` steps of `ENVS` environments; `[T, N]` arrays."""

    def __init__(self, seed: int) -> None:
        self.envs = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make("CartPole-v1") for _ in range(ENVS)])
        self.observation, _ = self.envs.reset(seed=seed)
        self.done = np.zeros(ENVS, bool)
        self.returns: deque[float] = deque(maxlen=100)
        self.running = np.zeros(ENVS)

    def collect(self, policy: nn.Module, value: nn.Module) -> dict[str, Tensor]:
        """Return observations, actions, log-probabilities, advantages and values of the valid steps, flat."""
        rows: dict[str, list[Any]] = {
            name: [] for name in ("observation", "action", "log_p", "value", "reward", "over", "reset", "terminated")
        }
        for _ in range(STEPS):
            seen = torch.as_tensor(self.observation, dtype=torch.float32)
            with torch.no_grad():
                chosen = torch.distributions.Categorical(logits=policy(seen))
                action, worth = chosen.sample(), value(seen)[:, 0]
            reset = self.done
            self.observation, reward, terminated, truncated, _ = self.envs.step(action.numpy())
            self.done = terminated | truncated
            self.running += reward * ~reset
            self.returns.extend(self.running[self.done])
            self.running[self.done] = 0.0
            step = (seen, action, chosen.log_prob(action), worth, reward, self.done, reset, terminated)
            for name, each in zip(rows, step, strict=True):
                rows[name].append(torch.as_tensor(each))
        rollout = {name: torch.stack(parts) for name, parts in rows.items()}
        with torch.no_grad():
            last = value(torch.as_tensor(self.observation, dtype=torch.float32))[:, 0]
        advantage = _advantages(rollout, last)
        kept = ~rollout["reset"].bool()
        return {
            "advantage": advantage[kept],
            **{name: rollout[name][kept] for name in ("observation", "action", "log_p", "value")},
        }


def _advantages(rollout: dict[str, Tensor], last: Tensor) -> Tensor:
    worth = torch.cat([rollout["value"], last[None]])
    alive, same = ~rollout["terminated"].bool(), ~rollout["over"].bool()
    delta = rollout["reward"].float() + SETTINGS["discount"] * worth[1:] * alive - worth[:-1]
    result, running = torch.zeros_like(delta), torch.zeros(ENVS)
    for t in range(STEPS - 1, -1, -1):
        running = delta[t] + SETTINGS["discount"] * SETTINGS["trace"] * same[t] * running
        result[t] = running
    return result


def train(steps: int, seed: int) -> dict[str, float]:
    """Train; return steps per second, learning included, and the seconds to a mean return of 475 over 100 episodes."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rollouts = Rollouts(seed)
    policy, value = network(4, 2), network(4, 1)
    weights = [*policy.parameters(), *value.parameters()]
    optimiser = torch.optim.Adam(weights, lr=SETTINGS["rate"], eps=1e-5)
    began, solved, done = time.perf_counter(), float("nan"), 0
    while done < steps:
        batch = rollouts.collect(policy, value)
        done += ENVS * STEPS
        for _ in range(int(SETTINGS["epochs"])):
            for chosen in torch.randperm(len(batch["action"])).split(int(SETTINGS["minibatch"])):
                optimiser.zero_grad()
                _loss(policy, value, {name: rows[chosen] for name, rows in batch.items()}).backward()
                nn.utils.clip_grad_norm_(weights, 0.5)
                optimiser.step()
        if solved != solved and len(rollouts.returns) == 100 and sum(rollouts.returns) / 100 >= 475:  # NaN
            solved = time.perf_counter() - began
    return {"rate": done / (time.perf_counter() - began), "solved": solved}


def _loss(policy: nn.Module, value: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    chosen = torch.distributions.Categorical(logits=policy(batch["observation"]))
    ratio = (chosen.log_prob(batch["action"]) - batch["log_p"]).exp()
    advantage = batch["advantage"]
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    clipped = ratio.clamp(1 - SETTINGS["clip"], 1 + SETTINGS["clip"])
    error = value(batch["observation"])[:, 0] - (batch["advantage"] + batch["value"])
    entropy = chosen.entropy().mean()
    gained = torch.min(ratio * advantage, clipped * advantage).mean()
    return -gained + 0.25 * (error * error).mean() - SETTINGS["entropy"] * entropy
