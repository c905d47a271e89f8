"""An actor that wraps a C++ simulator over ZeroMQ; the time in the simulator is a phase.

Start the server first (`docs/environments.md` describes how to build it): `build/cpp_env/cpp_env --port 5555 --count
2`. Recorded by raymon: the lines marked with `# raymon`.
"""

import argparse

import ray

import raymon  # raymon
from raymon.envs.remote import RemoteEnv
from raymon.monitor import monitor_of  # raymon


@ray.remote(num_cpus=0.5)
@raymon.instrument(rollout="sample", steps=len, worker="rank", run="cpp", phase="inference")  # raymon
class Simulated:
    def __init__(self, rank: int, port: int) -> None:
        self.env = RemoteEnv("127.0.0.1", port + rank)
        self.observation, _ = self.env.reset(seed=rank)

    def sample(self, steps: int):
        rewards = []
        for _ in range(steps):
            action = int(self.observation[2] > 0)  # push the cart towards where the pole leans
            with monitor_of(self).phase("environment"):  # raymon
                self.observation, reward, terminated, truncated, _ = self.env.step(action)
                if terminated or truncated:
                    self.observation, _ = self.env.reset()
            rewards.append(reward)
        return rewards


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=5555)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    workers = [Simulated.remote(rank, options.port) for rank in range(options.workers)]
    for _ in range(options.rounds):
        rewards = ray.get([worker.sample.remote(options.steps) for worker in workers])
    print(f"mean reward {sum(map(sum, rewards)) / options.workers / options.steps:.2f}")


if __name__ == "__main__":
    main()
