"""Compares raymon with RLlib, Stable-Baselines3 and a single-file PPO on CartPole-v1, with the same hyperparameters.

    python -m benchmarks.versus                 # all, three seeds each, in alternating runs
    python -m benchmarks.versus --only sb3 --rounds 1 --steps 50000

Each trainer runs in its own process. Rates include learning, but not start-up.
"""

import argparse
import json
import subprocess
import sys
import time

from benchmarks import single_file
from benchmarks.training import machine, median, steady_rate, train

RLLIB = {
    "batch": 4096,
    "minibatch": 256,
    "epochs": 6,
    "rate": 1e-3,
    "discount": 0.99,
    "trace": 0.95,
    "clip": 0.2,
}
"""Two runners with 8 environments each: 256 steps of each environment an update."""
SB3 = {"batch": 256, "minibatch": 256, "epochs": 20, "rate": 1e-3, "discount": 0.98, "trace": 0.8, "clip": 0.2}
"""Stable-Baselines3's own tuned settings for CartPole-v1 (RL Zoo), without annealing: 8 environments, 32 steps."""


def rllib(steps: int, seed: int) -> dict[str, float]:
    """Train RLlib's PPO with separate networks, as in raymon."""
    import ray
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    model = DefaultModelConfig(fcnet_hiddens=[64, 64], fcnet_activation="tanh", vf_share_layers=False)
    config = (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=2, num_envs_per_env_runner=8)
        .training(
            train_batch_size_per_learner=RLLIB["batch"],
            minibatch_size=int(RLLIB["minibatch"]),
            num_epochs=int(RLLIB["epochs"]),
            lr=RLLIB["rate"],
            gamma=RLLIB["discount"],
            lambda_=RLLIB["trace"],
            clip_param=RLLIB["clip"],
            use_kl_loss=False,
            vf_loss_coeff=0.5,
            vf_clip_param=1e9,
            grad_clip=0.5,
        )
        .rl_module(model_config=model)
        .debugging(seed=seed)
    )
    algorithm = config.build_algo()
    algorithm.train()
    began, done, solved = time.perf_counter(), 0, float("nan")
    while done < steps:
        result = algorithm.train()
        done += RLLIB["batch"]
        if solved != solved and result["env_runners"].get("episode_return_mean", 0.0) >= 475:  # NaN
            solved = time.perf_counter() - began
    seconds = time.perf_counter() - began
    ray.shutdown()
    return {"rate": done / seconds, "solved": solved}


def stable_baselines(steps: int, seed: int) -> dict[str, float]:
    """Train Stable-Baselines3's PPO in one process with a DummyVecEnv."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)
    began = time.perf_counter()

    class Watch(BaseCallback):
        solved = float("nan")

        def _on_step(self) -> bool:
            episodes = self.model.ep_info_buffer or ()
            if self.solved != self.solved and len(episodes) == 100:  # NaN
                mean = sum(episode["r"] for episode in episodes) / 100
                self.solved = time.perf_counter() - began if mean >= 475 else self.solved
            return True

    watch = Watch()
    model = PPO(
        "MlpPolicy",
        make_vec_env("CartPole-v1", 8),
        n_steps=32,
        batch_size=int(SB3["minibatch"]),
        n_epochs=int(SB3["epochs"]),
        learning_rate=SB3["rate"],
        gamma=SB3["discount"],
        gae_lambda=SB3["trace"],
        clip_range=SB3["clip"],
        ent_coef=0.0,
        seed=seed,
        device="cpu",
    )
    model.learn(steps, callback=watch)
    return {"rate": model.num_timesteps / (time.perf_counter() - began), "solved": watch.solved}


def raymon(steps: int, seed: int, like: dict[str, float], **more: int) -> dict[str, float]:
    """Train raymon with the other trainer's settings: the same batch, minibatches, epochs and step size."""
    settings = {
        "total-env-steps": steps,
        "seed": seed,
        "minibatch": int(like["minibatch"]),
        "epochs": int(like["epochs"]),
        "learning-rate": like["rate"],
        "discount": like["discount"],
        "gae-lambda": like["trace"],
        "clip": like["clip"],
        "entropy-coefficient": like.get("entropy", 0.0),
        "anneal": False,
        **more,
    }
    run, _ = train(settings)
    solved = next((row["time_seconds"] for row in run["rows"] if (row["return_mean"] or 0) >= 475), float("nan"))
    return {"rate": steady_rate(run), "solved": solved}


TRAINERS = {
    "rllib": rllib,
    "sb3": stable_baselines,
    "single-file": single_file.train,
    "raymon-rllib": lambda steps, seed: raymon(steps, seed, RLLIB, workers=2, **{"envs-per-worker": 32}),
    "raymon-sb3": lambda steps, seed: raymon(
        steps, seed, SB3, workers=2, **{"envs-per-worker": 4, "fragment-steps": 32}
    ),
    "raymon-single-file": lambda steps, seed: raymon(
        steps, seed, single_file.SETTINGS, workers=2, **{"envs-per-worker": 4, "fragment-steps": 128}
    ),
}


OTHERS = ("rllib", "sb3", "single-file")


def in_a_process(name: str, steps: int, seed: int) -> dict[str, float]:
    """Run one trainer in a fresh interpreter."""
    command = [sys.executable, "-m", "benchmarks.versus", "--one", name, "--steps", str(steps), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(other: str, steps: int, rounds: int) -> None:
    """Run a pair in alternating order and print rates, ratio and seconds to 475."""
    results: dict[str, list[dict[str, float]]] = {other: [], f"raymon-{other}": []}
    for seed in range(1, rounds + 1):
        for name in sorted(results, reverse=bool(seed % 2)):
            results[name].append(in_a_process(name, steps, seed))
    for name, runs in results.items():
        rates, solved = ([run[key] for run in runs] for key in ("rate", "solved"))
        print(f"| {name} | {median(rates):,.0f} | {', '.join(f'{value:.1f}' for value in solved)} |")
    pairs = zip(results[f"raymon-{other}"], results[other], strict=True)
    print(f"| ratio | {median([ours['rate'] / theirs['rate'] for ours, theirs in pairs]):.2f} | |", flush=True)


def main() -> None:
    """Compare and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=OTHERS, help="compare with one of them")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs")
    parser.add_argument("--steps", type=int, default=200_000, help="environment steps per run")
    parser.add_argument("--one", choices=TRAINERS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(TRAINERS[args.one](args.steps, args.seed)))
        return
    print(machine(), "\n\n| trainer | env steps/s | seconds to 475 by seed |\n|---|---|---|")
    for other in [args.only] if args.only else OTHERS:
        compare(other, args.steps, args.rounds)


if __name__ == "__main__":
    main()
