"""Measures the cost of recording for each sampler, the decorator and RLlib by switching it on and off in one run.

`python -m benchmarks.overhead [--cases decorator sync async step step-fast rllib] [--pairs 100] [--seconds 0.5]`: a run
turns recording on and off in turn. Each pair of neighbouring slices yields a ratio of steps per second (on / off); the
result is the median over the pairs. Machines drift more between two runs than recording costs, but hardly within one.
Off means no calls, no flush and no share of Ray in it. In the sampler `step` every
call is a rollout: `step` makes calls of 5 ms, `step-fast` of half a millisecond, far below the intended use.
"""

import argparse
import io
import json
import os
import statistics
import tempfile
import time
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import ray
from rich.console import Console

import raymon
from raymon.monitor.wrappers import monitor_of
from raymon.ppo.pool import WorkerPool
from raymon.ppo.stepping import StepWorker
from raymon.ppo.worker import Worker
from raymon.train import trainer
from raymon.train.console import Screen
from raymon.train.host import ray_session
from raymon.train.options import Config
from raymon.train.ppo_engine import model_for
from raymon.train.records import RunDirectory
from raymon.train.rllib_engine import algorithm_config
from raymon.train.sampling import Sampling
from raymon.train.stop import Stop
from raymon.train.trainer import Setup, Trainer

ROLLOUT_SECONDS: Final = 0.005
_MEDIAN_ERROR: Final = 0.93
"""Standard error of the median of normal values, in interquartile ranges over the root of their number."""
MEMORY_ROLLOUTS: Final = 1_000
SETTLE_SECONDS: Final = 5.0
"""Seconds of training before the measurement starts."""
TRAINERS: Final[dict[str, dict[str, Any]]] = {
    "sync": {"sampler": "sync"},
    "async": {"sampler": "async"},
    "step": {
        "sampler": "step",
        "env": "raymon/Simulated-v0?low_seconds=0.005&high_seconds=0.005",
        "fragment_steps": 16,
        "minibatch": 32,
    },
    "step-fast": {"sampler": "step"},
    "rllib": {"engine": "rllib"},
}


class Slices:
    """Switches recording on and off and measures the steps per second of each slice.

    Args:
        switch: Turns recording on or off everywhere in the run.
    """

    def __init__(self, switch: Callable[[bool], None], seconds: float, pairs: int) -> None:
        self._switch, self._seconds, self._left = switch, seconds, 2 * pairs
        self._recording, self._begun = True, time.perf_counter() - seconds + SETTLE_SECONDS
        self._steps: float | None = None
        self.rates: list[tuple[bool, float]] = []

    def over(self, steps: float) -> bool:
        """Register the steps so far, switch if a slice is over; return whether all slices are measured."""
        now = time.perf_counter()
        if now - self._begun >= self._seconds:
            if self._steps is not None:
                self.rates.append((self._recording, (steps - self._steps) / (now - self._begun)))
                self._left -= 1
            if len(self.rates) % 2 or not self.rates:  # on off, off on, on off: no order is favoured
                self._recording = not self._recording
            self._switch(self._recording)
            self._steps, self._begun = steps, time.perf_counter()
        return self._left <= 0

    def ratios(self) -> list[float]:
        """Return on / off of each pair of neighbours."""
        pairs = [dict(self.rates[at : at + 2]) for at in range(0, len(self.rates) - 1, 2)]
        return [pair[True] / pair[False] for pair in pairs]


class Sampler:
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

    def resident(self, rollouts: int) -> int:
        """Return the process's memory in bytes after some rollouts, without importing raymon."""
        for _ in range(rollouts):
            self.sample()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@ray.remote
class Both:
    """An instrumented object and a plain one with the same work, in one process."""

    def __init__(self) -> None:
        self.plain = Sampler()
        instrumented = raymon.instrument(Sampler, rollout="sample", steps=lambda n: n, run="overhead")
        self.recorded = instrumented()
        self.recorded.rounds, self.recorded.matrix = self.plain.rounds, self.plain.matrix  # alignment costs more

    def ratios(self, seconds: float, pairs: int) -> list[float]:
        """Sample with each in turn inside the actor: Ray's calls would add noise."""
        chosen: list[Sampler] = [self.recorded]

        def switch(recording: bool) -> None:
            monitor_of(self.recorded).enabled = recording
            chosen[0] = self.recorded if recording else self.plain

        slices, steps = Slices(switch, seconds, pairs), 0
        while not slices.over(steps):
            steps += chosen[0].sample()
        return slices.ratios()


def added_bytes() -> float:
    """Return the additional memory of an instrumented actor, including raymon's modules."""
    recorded = raymon.instrument(Sampler, rollout="sample", steps=lambda n: n, run="overhead")
    actors = [ray.remote(each).remote() for each in (recorded, Sampler)]
    with_it, without = ray.get([actor.resident.remote(MEMORY_ROLLOUTS) for actor in actors])
    return float(with_it - without)


class SwitchedWorker(Worker):
    """A worker whose recording can be switched off."""

    def record(self, recording: bool) -> None:
        """Switch recording on or off from the next call on."""
        self._monitor.enabled = recording


class SwitchedStepWorker(StepWorker):
    """The same for the sampler `step`."""

    def record(self, recording: bool) -> None:
        """Switch recording on or off from the next call on."""
        self._monitor.enabled = recording


class SwitchedTrainer(Trainer):
    """raymon's trainer with recording switched on and off until all slices are measured."""

    def measure(self, seconds: float, pairs: int) -> list[float]:
        """Train, and return the ratios."""
        self._slices = Slices(self._record, seconds, pairs)
        try:
            self.run()
        finally:
            self.end()
        return self._slices.ratios()

    def _reached(self) -> bool:
        return self._slices.over(self.progress.env_steps)

    def _record(self, recording: bool) -> None:
        self.monitor.enabled = recording
        for slot in self._pool.slots if self._pool else ():
            slot.actor.record.remote(recording)


class SwitchedSampling(Sampling):
    """Starts workers whose recording can be switched off."""

    def _start_pool(self, kind: type) -> WorkerPool:
        return super()._start_pool(SwitchedStepWorker if kind is StepWorker else SwitchedWorker)


def own_trainer(config: Config, seconds: float, pairs: int) -> list[float]:
    """Return the ratios of raymon's own trainer."""
    setup = Setup(
        config, model_for(config), RunDirectory(config), Screen("overhead", Console(file=io.StringIO())), lambda: False
    )
    with unittest.mock.patch.object(trainer, "Sampling", SwitchedSampling):
        return SwitchedTrainer(setup).measure(seconds, pairs)


def rllib_trainer(config: Config, seconds: float, pairs: int) -> list[float]:
    """Return the ratios of RLlib's PPO with the callbacks."""
    algorithm = algorithm_config(config).build_algo()

    def switch(recording: bool) -> None:
        def switch_runner(runner: Any) -> None:  # noqa: ANN401  # RLlib is not annotated
            for callbacks in runner._callbacks:
                if callbacks._worker is not None:
                    callbacks._worker.enabled = recording

        algorithm.env_runner_group.foreach_env_runner(switch_runner)
        for callbacks in algorithm.callbacks:
            callbacks._driver.monitor.enabled = recording

    slices, steps = Slices(switch, seconds, pairs), 0.0
    while not slices.over(steps):
        steps = algorithm.train()["num_env_steps_sampled_lifetime"]
    algorithm.stop()
    return slices.ratios()


def measure(case: str, seconds: float, pairs: int, folder: Path) -> dict[str, Any]:
    """Run one case on its own Ray, started as by the trainer."""
    config = Config(
        total_env_steps=10**9,
        runs=folder / "runs",
        name="overhead",
        page=False,
        dashboard=False,
        ray_temp_dir=folder / "ray",
        **TRAINERS.get(case, {}),
    )
    with ray_session(config, Stop()):
        if case == "decorator":
            added = added_bytes()
            ratios = ray.get(Both.remote().ratios.remote(seconds, pairs))
            return {"ratios": ratios, "added_megabytes_per_worker": round(added / 1e6, 2)}
        return {"ratios": (rllib_trainer if case == "rllib" else own_trainer)(config, seconds, pairs)}


def main() -> None:
    """Measure the selected cases and print a JSON object for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=["decorator", *TRAINERS], choices=["decorator", *TRAINERS])
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of each half of a pair")
    options = parser.parse_args()
    for case in options.cases:
        with tempfile.TemporaryDirectory(prefix="rm-", dir="/tmp") as folder:
            timings = measure(case, options.seconds, options.pairs, Path(folder))
        ratios = sorted(timings.pop("ratios"))
        low, middle, high = statistics.quantiles(ratios, n=4)
        error = _MEDIAN_ERROR * (high - low) / len(ratios) ** 0.5
        summary = {"case": case, "median_ratio": round(middle, 4), "standard_error": round(error, 4)}
        print(json.dumps({**summary, "quartiles": [round(low, 4), round(high, 4)], **timings}), flush=True)


if __name__ == "__main__":
    main()
