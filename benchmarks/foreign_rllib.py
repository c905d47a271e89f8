"""A trainer on RLlib, instrumented in one line, for the benchmark of hangs.

python -m benchmarks.foreign_rllib ADDRESS RUN CASE FOLDER
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import ray
from ray.rllib.algorithms.ppo import PPOConfig

import raymon.rllib
from benchmarks.hang_cases import CASES, Place


class Env(gym.Env[Any, Any]):
    """An environment whose step takes some milliseconds; that of the first runner hangs once the fault is due."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config: Any) -> None:  # noqa: ANN401  # RLlib's context
        self._number, self._folder = config.worker_index, Path(config["folder"])
        chosen = next((each for each in CASES if each.name == config["case"]), None)
        self._function = None if chosen is None else chosen.function
        if self._number:
            (self._folder / f"pid-{self._number}").write_text(str(os.getpid()))
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        del seed, options
        self._steps = 0
        return np.zeros(4, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:  # noqa: ANN401  # any action
        """Take a step."""
        del action
        time.sleep(0.02 if self._function is None else 0.003)
        self._steps += 1
        if self._number == 1 and self._function is not None and (self._folder / "fault").exists():
            self._function(Place(self._folder))
        return np.zeros(4, np.float32), 1.0, self._steps >= 50, False, {}


def main() -> None:
    """Train until killed."""
    address, run, case, folder = sys.argv[1:]
    ray.init(address, log_to_driver=False)
    config = (
        PPOConfig()
        .environment(Env, env_config={"case": case, "folder": folder})
        .env_runners(num_env_runners=2, num_cpus_per_env_runner=0, rollout_fragment_length=100)
        .training(train_batch_size=200, minibatch_size=100, num_epochs=1)
        .callbacks(raymon.rllib.Callbacks.named(run))
    )
    algorithm = config.build_algo()
    while True:
        algorithm.train()
        print(algorithm.iteration, flush=True)
        pids = [Path(folder, f"pid-{number}") for number in (1, 2)]
        if all(path.exists() for path in pids):
            Path(folder, "pids").write_text(" ".join(path.read_text() for path in pids))


if __name__ == "__main__":
    main()
