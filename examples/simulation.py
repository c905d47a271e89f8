"""A parallel simulation without reinforcement learning; one line records its actors.

Estimates pi with random points; a worker's "steps" are the points it drew.
"""

import argparse
import random

import ray

import raymon


@raymon.instrument(rollout="draw", steps=lambda result: result[1], run="simulation")
@ray.remote(num_cpus=0.5)
class Dice:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def draw(self, points: int):
        inside = sum(self.random.random() ** 2 + self.random.random() ** 2 < 1 for _ in range(points))
        return inside, points


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--points", type=int, default=100_000)
    options = parser.parse_args()
    workers = [Dice.remote(seed) for seed in range(options.workers)]
    calls = [worker.draw.remote(options.points) for worker in workers for _ in range(options.rounds)]
    inside, points = (sum(column) for column in zip(*ray.get(calls), strict=True))
    print(f"pi is about {4 * inside / points:.4f} after {points:,} points")


if __name__ == "__main__":
    main()
