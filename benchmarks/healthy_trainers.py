"""Healthy trainers of different nature on one Ray cluster, none of them raymon's own, for `benchmarks.healthy`.

python -m benchmarks.healthy_trainers ADDRESS KIND [WORKERS]

Each is instrumented as a user would: `raymon.instrument` and `DriverMonitor`.
"""

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import ray

import raymon

WORKERS: Final = 3
START_AT_ONCE: Final = 8
Lengths = Callable[[random.Random], int]


@dataclass(frozen=True, slots=True)
class Nature:
    """What a healthy run is like.

    Attributes:
        about: In the table.
        steps: Draws the steps of a rollout.
        sync: Whether the driver waits for the rollouts of all workers.
        tail: Share of steps that take a second or more.
        speeds: How many times longer a step of each worker takes, by design.
        pause_every: Updates between the driver's pauses for evaluation; 0 for none.
        pause_seconds: How long such a pause is.
        learn_seconds: How long an update takes.
        step_seconds: How long a step takes.
        growing: Whether rollouts get three times longer in the course of half an hour.
    """

    about: str
    steps: Lengths = lambda _: 40
    sync: bool = False
    tail: float = 0.0
    speeds: tuple[float, ...] = (1.0,)
    pause_every: int = 0
    pause_seconds: float = 0.0
    learn_seconds: float = 0.05
    step_seconds: float = 0.02
    growing: bool = False


NATURES: Final = {
    "plain": Nature("fragments of 40 steps, asynchronous"),
    "sync": Nature("synchronous, evaluation of 9 s every 60 updates", sync=True, pause_every=60, pause_seconds=9.0),
    "tails": Nature("one step in 300 takes 0.5 to 3 s", tail=1 / 300),
    "episodes": Nature(
        "a rollout is an episode of 10 to 1,500 steps",
        steps=lambda draw: min(1500, int(10 + draw.lognormvariate(4.0, 1.2))),
    ),
    "long": Nature("rollouts of 20 to 30 s, longer with time", steps=lambda _: 1000, growing=True),
    "learner": Nature("updates of 3 s, for which all workers wait", sync=True, learn_seconds=3.0),
    "short": Nature(
        "rollouts of 4 steps, log written for 5 s every 500 updates", lambda _: 4, pause_every=500, pause_seconds=5.0
    ),
    "many": Nature("for hundreds of workers: a rollout of 5 steps and a second", steps=lambda _: 5, step_seconds=0.2),
    "speeds": Nature(
        "workers of three speeds by design, checkpoint of 4 s every 100 updates",
        speeds=(1.0, 1.6, 2.4),
        pause_every=100,
        pause_seconds=4.0,
    ),
}


class Sampler:
    """A worker."""

    def __init__(self, number: int, kind: str) -> None:
        self.number, self._nature, self._draw = number, NATURES[kind], random.Random(number)
        self._began = time.monotonic()

    def sample(self) -> list[float]:
        """Return the rewards of a rollout."""
        nature, steps = self._nature, self._nature.steps(self._draw)
        if nature.growing:
            steps = int(steps * (1.0 + min(2.0, (time.monotonic() - self._began) / 900.0)))
        for _ in range(steps):
            time.sleep(nature.step_seconds * nature.speeds[self.number % len(nature.speeds)])
            if self._draw.random() < nature.tail:
                time.sleep(self._draw.uniform(0.5, 3.0))
        return [1.0] * steps


def train(kind: str, number: int = WORKERS) -> None:
    """Train with some workers until killed."""
    nature = NATURES[kind]
    driver = raymon.DriverMonitor(kind, workers=number)
    sampler = ray.remote(num_cpus=0)(raymon.instrument(Sampler, rollout="sample", steps=len, worker="number"))
    workers: list[Any] = []
    while len(workers) < number:  # hundreds of processes that start at once miss the deadlines of Ray
        batch = range(len(workers), min(number, len(workers) + START_AT_ONCE))
        workers += [sampler.remote(each, kind) for each in batch]
        ray.get([worker.__ray_ready__.remote() for worker in workers])
    pending: dict[Any, Any] = {} if nature.sync else {worker.sample.remote(): worker for worker in workers}
    updates = 0
    while True:
        with driver.iteration():
            with driver.phase("sample"):
                if nature.sync:
                    ray.get([worker.sample.remote() for worker in workers])
                else:
                    done, _ = ray.wait(list(pending))
                    worker = pending.pop(done[0])
                    ray.get(done[0])
                    pending[worker.sample.remote()] = worker
            with driver.phase("learn"):
                time.sleep(nature.learn_seconds)
            driver.update(loss=1.0)
            updates += 1
            if nature.pause_every and updates % nature.pause_every == 0:
                with driver.phase("other"):
                    time.sleep(nature.pause_seconds)
        print(updates, flush=True)


if __name__ == "__main__":
    ray.init(sys.argv[1], log_to_driver=False)
    train(sys.argv[2], *map(int, sys.argv[3:]))
