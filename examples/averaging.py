"""Workers train on their own data and the driver averages their weights, a common home-made pattern.

Recorded by raymon: the lines marked with `# raymon`.
"""

import argparse

import numpy as np
import ray

import raymon  # raymon


@ray.remote(num_cpus=0.5)
class Trainer:
    """Fits a line to noisy points of its own."""

    def __init__(self, rank: int) -> None:
        self.random = np.random.default_rng(rank)
        self.monitor = raymon.Monitor(worker=rank)  # raymon

    def train(self, weights, version: int, steps: int):
        with self.monitor.rollout():  # raymon
            self.monitor.policy_version(version)  # raymon
            for _ in range(steps):
                with self.monitor.phase("environment"):  # raymon
                    x = self.random.normal(size=(64, weights.size))
                    y = x.sum(axis=1) + self.random.normal(size=64)
                with self.monitor.phase("inference"):  # raymon
                    weights = weights - 0.05 * x.T @ (x @ weights - y) / len(y)
                self.monitor.steps(len(y))  # raymon
        return weights


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--steps", type=int, default=200, help="gradient steps of each worker in one round")
    options = parser.parse_args()

    driver = raymon.DriverMonitor("averaging", algorithm="weight averaging", workers=options.workers)  # raymon
    workers = [Trainer.remote(rank) for rank in range(options.workers)]
    weights = np.zeros(16)
    driver.state("training")  # raymon
    for version in range(options.rounds):
        with driver.iteration():  # raymon
            with driver.phase("weights"):  # raymon
                shared = ray.put(weights)
                driver.put_bytes("weights", weights.nbytes)  # raymon
                driver.hold(shared, nbytes=weights.nbytes)  # raymon
            with driver.phase("sample"):  # raymon
                trained = ray.get([worker.train.remote(shared, version, options.steps) for worker in workers])
            with driver.phase("learn"):  # raymon
                weights = np.mean(trained, axis=0)
            driver.release(shared)  # raymon
            driver.update(loss=float(np.mean((weights - 1) ** 2)))  # raymon
            driver.policy_version(version + 1)  # raymon
    driver.state("finished")  # raymon
    driver.close()  # raymon
    print(f"distance to the true weights after {options.rounds} rounds: {np.linalg.norm(weights - 1):.3f}")


if __name__ == "__main__":
    main()
