"""RLlib on BipedalWalker-v3; raymon is one line of the configuration. Needs the extras `rllib` and `box2d`."""

import argparse

from ray.rllib.algorithms.ppo import PPOConfig

import raymon.rllib


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runners", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8000)
    options = parser.parse_args()
    config = (
        PPOConfig()
        .environment("BipedalWalker-v3")
        .env_runners(num_env_runners=options.runners, num_envs_per_env_runner=4)
        .training(train_batch_size_per_learner=options.batch, minibatch_size=512, num_epochs=10, lr=3e-4)
        .callbacks(raymon.rllib.Callbacks.named("bipedal"))  # the one line
    )
    algorithm = config.build_algo()
    for _ in range(options.iterations):
        result = algorithm.train()
        print(f"mean return {result['env_runners'].get('episode_return_mean', float('nan')):.2f}")
    algorithm.stop()


if __name__ == "__main__":
    main()
