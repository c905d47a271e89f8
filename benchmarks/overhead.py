"""What recording costs a trainer: paired runs with and without it, for each sampler, the decorator and RLlib.

`python benchmarks/overhead.py [--cases decorator sync async step step-fast rllib] [--pairs 5] [--seconds 10]`: a pair
runs the same work twice, recording on and off in turn, and yields a ratio of steps per second (on / off); the median
over the pairs is what counts. In the sampler `step` every call is a rollout: `step` makes calls of 5 ms, `step-fast` of
half a millisecond, far below what recording is made for. Also tells the memory that recording adds to a worker.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import ray

import raymon
from raymon.monitor import process

ROLLOUT_SECONDS = 0.005
TRAINERS = {
    "sync": (40_000, ("--sampler", "sync")),
    "async": (40_000, ("--sampler", "async")),
    "step": (300, (
        "--sampler", "step", "--env", "raymon/Simulated-v0?low_seconds=0.005&high_seconds=0.005",
        "--fragment-steps", "16", "--minibatch", "32",
    )),
    "step-fast": (800, ("--sampler", "step")),
    "rllib": (2_000, ("--engine", "rllib")),
}  # fmt: skip
"""By case: about how many environment steps it makes a second, and its options."""


class Worker:
    """Computes for 5 ms a call: the shortest rollout for which recording is to cost at most 1 %."""

    def __init__(self) -> None:
        self.matrix = np.random.default_rng(0).normal(size=(64, 64))
        self.rounds = 1
        self.rounds = max(1, round(ROLLOUT_SECONDS / self._seconds_of(200) * 200))

    def _seconds_of(self, rounds: int) -> float:
        began = time.perf_counter()
        self._work(rounds)
        return time.perf_counter() - began

    def _work(self, rounds: int) -> None:
        for _ in range(rounds):
            np.tanh(self.matrix @ self.matrix)

    def sample(self) -> int:
        """One rollout of 128 steps."""
        self._work(self.rounds)
        return 128

    def rollouts_per_second(self, seconds: float) -> float:
        """Sample for a while inside the actor, so that Ray's calls do not blur the comparison."""
        number, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            self.sample()
            number += 1
        return number / (time.perf_counter() - began)

    def align(self, rounds: int | None = None) -> int:
        """Do as much work per rollout as the other worker of the pair."""
        self.rounds = rounds or self.rounds
        return self.rounds

    def resident(self) -> float:
        """Return this process's memory in bytes."""
        return process.resident_bytes() or 0.0


def decorator(seconds: float, pairs: int) -> dict[str, object]:
    """Compare an instrumented actor with a plain one, one after the other."""
    with_it = ray.remote(raymon.instrument(Worker, rollout="sample", steps=lambda n: n, run="overhead"))
    on, off = with_it.remote(), ray.remote(Worker).remote()
    ray.get(on.align.remote(ray.get(off.align.remote())))
    ratios = []
    for pair in range(pairs):
        order = (on, off) if pair % 2 else (off, on)
        rates = {worker: ray.get(worker.rollouts_per_second.remote(seconds)) for worker in order}
        ratios.append(rates[on] / rates[off])
    memory = ray.get(on.resident.remote()) - ray.get(off.resident.remote())
    return {"ratios": ratios, "added_megabytes_per_worker": round(memory / 1e6, 2)}


def trained_steps_per_second(case: str, recording: bool, seconds: float) -> float:
    """Train in a process of its own for about `seconds` and return the overall rate."""
    guess, chosen = TRAINERS[case]
    with tempfile.TemporaryDirectory(prefix="rm-", dir="/tmp") as folder:
        command = [
            sys.executable, "-m", "raymon", "train", *chosen, "--total-env-steps", str(int(guess * seconds)),
            "--no-page", "--no-dashboard", "--exit-when-done", "--runs", folder, "--name", "overhead",
            "--recording" if recording else "--no-recording",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return float(json.loads((Path(folder) / "overhead" / "summary.json").read_text())["steps_per_second"])


def trainer(case: str, seconds: float, pairs: int) -> dict[str, object]:
    """Compare whole training runs of about `seconds` each; which of a pair goes first changes every time."""
    ratios = []
    for pair in range(pairs):
        order = (True, False) if pair % 2 else (False, True)
        rates = {recording: trained_steps_per_second(case, recording, seconds) for recording in order}
        ratios.append(rates[True] / rates[False])
    return {"ratios": ratios}


def main() -> None:
    """Measure the cases asked for and print one JSON object each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=["decorator", *TRAINERS])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each run of a pair")
    options = parser.parse_args()
    for case in options.cases:
        if case == "decorator":
            with tempfile.TemporaryDirectory(prefix="rm-", dir="/tmp") as folder:
                ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
                found = decorator(options.seconds, options.pairs)
                ray.shutdown()
        else:
            found = trainer(case, options.seconds, options.pairs)
        ratios = [float(ratio) for ratio in found.pop("ratios")]
        summary = {"case": case, "median_ratio": round(statistics.median(ratios), 4)}
        print(json.dumps({**summary, "ratios": [round(ratio, 4) for ratio in ratios], **found}), flush=True)


if __name__ == "__main__":
    main()
