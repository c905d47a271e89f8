"""Measures the rate of 64 environments with steps of 10 to 50 ms on two workers, relative to the ideal.

The ideal is the sum of the environments' rates: 64 environments at 30 ms a step make 2,133 steps a second. Three ways
to step them, each a real `raymon train`, run one after the other; the rate is that of the second half of the run.

    python -m benchmarks.slow_environments
    python -m benchmarks.slow_environments --env-steps 20000 --only own-pace
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

WORKERS: Final = 2
ENVS_PER_WORKER: Final = 32
MEAN_STEP_SECONDS: Final = 0.030
IDEAL: Final = WORKERS * ENVS_PER_WORKER / MEAN_STEP_SECONDS
WAYS: Final = {
    "own-pace": ("--sampler", "async"),
    "strict": ("--sampler", "sync"),
    "one-after-the-other": ("--sampler", "async", "--step-threads", "0"),
}


def rate(rows: Sequence[dict[str, float]]) -> float:
    """Return environment steps per second over the second half of a run's records."""
    middle, last = rows[len(rows) // 2], rows[-1]
    return (last["env_steps"] - middle["env_steps"]) / (last["time_seconds"] - middle["time_seconds"])


def measure(way: str, env_steps: int, fragment_steps: int) -> float:
    """Train once and return the rate."""
    with tempfile.TemporaryDirectory(prefix="rm-", dir="/tmp") as folder:
        command = [
            sys.executable,
            "-m",
            "raymon",
            "train",
            "--env",
            "raymon/Simulated-v0",
            "--workers",
            str(WORKERS),
            "--envs-per-worker",
            str(ENVS_PER_WORKER),
            "--fragment-steps",
            str(fragment_steps),
            *WAYS[way],
            "--total-env-steps",
            str(env_steps),
            "--runs",
            f"{folder}/runs",
            "--name",
            "run",
            "--ray-temp-dir",
            f"{folder}/ray",
            "--no-page",
            "--no-dashboard",
            "--exit-when-done",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stdout[-3000:], done.stderr[-3000:], sep="\n", file=sys.stderr)
            done.check_returncode()
        lines = Path(folder, "runs/run/progress.jsonl").read_text().splitlines()
    return rate([json.loads(line) for line in lines])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; exit code 1 if the way for slow environments stays below 90 % of the ideal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow_environments", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=WAYS, action="append", help="only this way; may be given several times")
    parser.add_argument("--env-steps", type=int, default=80_000, help="steps of a run (default: %(default)s)")
    parser.add_argument("--fragment-steps", type=int, default=32)
    options = parser.parse_args(arguments)
    print("| Way | steps/s | of the ideal |\n|---|---|---|", flush=True)
    reached = 1.0
    for way in options.only or WAYS:
        # the slow way takes fewer steps, or it would run for half an hour
        steps = options.env_steps if way != "one-after-the-other" else options.env_steps // 20
        speed = measure(way, steps, options.fragment_steps)
        if way == "own-pace":
            reached = speed / IDEAL
        print(f"| {way} | {speed:,.0f} | {speed / IDEAL:.0%} |", flush=True)
    return 0 if reached >= 0.9 else 1


if __name__ == "__main__":
    raise SystemExit(main())
