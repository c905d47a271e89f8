"""RLlib with a custom environment; raymon is one line of the configuration."""

import argparse

import gymnasium
import numpy as np
from ray.rllib.algorithms.ppo import PPOConfig

import raymon.rllib


class Corridor(gymnasium.Env):
    """Walk to the end of a corridor; every step costs a little."""

    def __init__(self, config: dict) -> None:
        self.length = config.get("length", 8)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):  # noqa: ARG002  # gymnasium's signature
        super().reset(seed=seed)
        self.place, self.taken = 0, 0
        return self._observation(), {}

    def step(self, action):
        self.place = max(0, self.place + (1 if action else -1))
        self.taken += 1
        arrived = self.place >= self.length
        return self._observation(), 1.0 if arrived else -0.1, arrived, self.taken >= 100, {}

    def _observation(self):
        return np.array([min(1.0, self.place / self.length)], np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runners", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--batch", type=int, default=2000)
    options = parser.parse_args()
    config = (
        PPOConfig()
        .environment(Corridor, env_config={"length": 8})
        .env_runners(num_env_runners=options.runners)
        .training(train_batch_size_per_learner=options.batch, minibatch_size=128, num_epochs=4)
        .callbacks(raymon.rllib.Callbacks.named("corridor"))  # the one line
    )
    algorithm = config.build_algo()
    for _ in range(options.iterations):
        result = algorithm.train()
    algorithm.stop()
    print(f"mean return {result['env_runners'].get('episode_return_mean', float('nan')):.2f}")


if __name__ == "__main__":
    main()
