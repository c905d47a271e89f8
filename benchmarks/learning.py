"""Trains and evaluates raymon's PPO and writes the comparison with published results in `docs/learning.md`.

Each line of the table is `raymon train` with the options below and `raymon evaluate` of the result, for each seed. The
returns are of 500 episodes with the most likely actions, as in the reference.

    python -m benchmarks.learning                                    # all environments, seeds 1 2 3
    python -m benchmarks.learning --env Pendulum-v1 --seeds 1
    python -m benchmarks.learning --write docs/learning.md
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MARK: Final = "<!-- measured: python -m benchmarks.learning -->"
EPISODES: Final = 500
SOURCE: Final = "https://github.com/DLR-RM/rl-baselines3-zoo/blob/master/benchmark.md"


@dataclass(frozen=True, slots=True)
class Reference:
    """What RL Baselines3 Zoo publishes for its PPO (`SOURCE`): one run, evaluated over 150,000 steps."""

    mean: float
    deviation: float
    env_steps: int
    env: str


@dataclass(frozen=True, slots=True)
class Task:
    """One environment: its training options and the published result."""

    options: tuple[str, ...]
    env_steps: int
    reference: Reference


TASKS: Final = {
    "CartPole-v1": Task((), 500_000, Reference(500.0, 0.0, 100_000, "CartPole-v1")),
    "Acrobot-v1": Task(
        (
            "--envs-per-worker",
            "8",
            "--fragment-steps",
            "256",
            "--learning-rate",
            "3e-4",
            "--minibatch",
            "64",
            "--gae-lambda",
            "0.94",
            "--normalize-observations",
            "--no-anneal",
        ),
        1_000_000,
        Reference(-73.506, 18.201, 1_000_000, "Acrobot-v1"),
    ),
    "LunarLander-v3": Task(
        (
            "--envs-per-worker",
            "8",
            "--fragment-steps",
            "512",
            "--learning-rate",
            "1e-3",
            "--minibatch",
            "256",
            "--discount",
            "0.999",
            "--gae-lambda",
            "0.98",
            "--entropy-coefficient",
            "0.01",
            "--normalize-rewards",
        ),
        1_000_000,
        Reference(242.119, 31.823, 1_000_000, "LunarLander-v2"),
    ),
    "Pendulum-v1": Task(
        (
            "--envs-per-worker",
            "4",
            "--fragment-steps",
            "256",
            "--learning-rate",
            "1e-3",
            "--minibatch",
            "64",
            "--epochs",
            "10",
            "--discount",
            "0.9",
            "--normalize-rewards",
        ),
        300_000,
        Reference(-172.225, 104.159, 100_000, "Pendulum-v1"),
    ),
    "BipedalWalker-v3": Task(
        (
            "--envs-per-worker",
            "16",
            "--fragment-steps",
            "512",
            "--learning-rate",
            "5e-4",
            "--minibatch",
            "512",
            "--epochs",
            "10",
            "--discount",
            "0.999",
            "--clip",
            "0.18",
            "--normalize-observations",
            "--normalize-rewards",
        ),
        5_000_000,
        Reference(287.939, 2.448, 5_000_000, "BipedalWalker-v3"),
    ),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One training run and its evaluation."""

    seed: int
    env_steps: int
    seconds: float
    training_return: float | None
    mean: float
    deviation: float


def train_command(env: str, seed: int, env_steps: int) -> list[str]:
    """Return the arguments of the training run of one line of the table."""
    return ["train", "--env", env, *TASKS[env].options, "--total-env-steps", str(env_steps), "--seed", str(seed)]


def measure(env: str, seed: int, env_steps: int) -> Outcome:
    """Train and evaluate once; raise `CalledProcessError` with the output if either fails."""
    with tempfile.TemporaryDirectory(prefix="rm-", dir="/tmp") as folder:
        place = ["--runs", f"{folder}/runs", "--name", "run", "--ray-temp-dir", f"{folder}/ray"]
        quiet = ["--no-page", "--no-dashboard", "--exit-when-done"]
        _raymon(*train_command(env, seed, env_steps), *place, *quiet)
        summary = json.loads(Path(folder, "runs/run/summary.json").read_text())
        played = json.loads(_raymon("evaluate", f"{folder}/runs/run", "--episodes", str(EPISODES), "--as-json"))
    return Outcome(
        seed,
        summary["env_steps"],
        summary["time_seconds"],
        summary["return_mean"],
        played["return_mean"],
        played["return_std"],
    )


def _raymon(*arguments: str) -> str:
    command = [sys.executable, "-m", "raymon", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:], sep="\n", file=sys.stderr)
        done.check_returncode()
    return done.stdout


def table(outcomes: dict[str, list[Outcome]]) -> str:
    """Return the results and the commands as Markdown."""
    lines = [
        "| Environment | Steps | Seeds | Return of each seed | Training, median | Published | After steps |",
        "|---|---|---|---|---|---|---|",
    ]
    for env, runs in outcomes.items():
        reference = TASKS[env].reference
        returns = ", ".join(f"{run.mean:,.1f} ± {run.deviation:,.1f}" for run in runs)
        named = "" if reference.env == env else f" ({reference.env})"
        seconds = statistics.median(run.seconds for run in runs)
        lines.append(
            f"| {env} | {statistics.median(run.env_steps for run in runs):,.0f} | "
            f"{', '.join(str(run.seed) for run in runs)} | {returns} | {seconds:,.0f} s | "
            f"{reference.mean:,.1f} ± {reference.deviation:,.1f}{named} | {reference.env_steps:,} |"
        )
    commands = [
        " ".join(["raymon", *train_command(env, runs[0].seed, TASKS[env].env_steps)]) for env, runs in outcomes.items()
    ]
    shown = "\n".join(commands)
    return "\n".join([*lines, "", machine(), "", "The commands, for the first seed:", "", f"```\n{shown}\n```"]) + "\n"


def machine() -> str:
    """Return a sentence on the machine that was used."""
    model = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"Measured on {os.cpu_count()} cores ({model}), Python {platform.python_version()}, no GPU used."


def write(path: Path, text: str) -> None:
    """Replace the text after the mark in a page; raise `ValueError` if there is no mark."""
    page = path.read_text()
    if MARK not in page:
        raise ValueError(f"{path} lacks the line {MARK}")
    path.write_text(page[: page.index(MARK) + len(MARK)] + "\n\n" + text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table; write it with `--write`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__.splitlines()[0])
    parser.add_argument("--env", choices=TASKS, action="append", help="only this one; may be given several times")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--share", type=float, default=1.0, help="train for this share of the steps, for a trial")
    parser.add_argument("--write", type=Path, help="put the table into this page, after its mark")
    options = parser.parse_args(arguments)
    outcomes: dict[str, list[Outcome]] = {}
    for env in options.env or TASKS:
        for seed in options.seeds:
            outcome = measure(env, seed, round(TASKS[env].env_steps * options.share))
            outcomes.setdefault(env, []).append(outcome)
            print(f"{env} {outcome}", flush=True)
    text = table(outcomes)
    print(text)
    if options.write is not None:
        write(options.write, text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
