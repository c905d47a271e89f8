"""A common kind of sampler: one actor per environment, `ray.wait`, inference in batches, a buffer.

Recorded by raymon: the lines marked with `# raymon`.
"""

import argparse
import random

import numpy as np
import ray

import raymon  # raymon


def ended(result):
    """Return (return, length) of the episode that ended in a step, if one did."""
    return [result["episode"]] if result["episode"] else []


@ray.remote(num_cpus=0.5)
@raymon.instrument(rollout="step", steps=1, episodes=ended, worker="rank")  # raymon
class Balancer:
    """A pole to balance: an observation is angle and speed, an episode ends when the pole falls."""

    def __init__(self, rank: int) -> None:
        self.random = random.Random(rank)

    def reset(self):
        self.angle, self.speed, self.length = self.random.uniform(-0.05, 0.05), 0.0, 0
        return {"observation": (self.angle, self.speed), "episode": None}

    def step(self, action: int):
        self.speed += 0.02 * (9.8 * self.angle + (5.0 if action else -5.0) + self.random.gauss(0, 1))
        self.angle += 0.02 * self.speed
        self.length += 1
        if abs(self.angle) < 0.2 and self.length < 200:
            return {"observation": (self.angle, self.speed), "episode": None}
        episode = (float(self.length), self.length)
        return {**self.reset(), "episode": episode}


def sample(actors, steps, weights, driver):
    """Collect transitions: environments that are ready get their next action, in one batch."""
    buffer = []
    waiting = {actor.reset.remote(): actor for actor in actors}
    while len(buffer) < steps:
        with driver.phase("sample"):  # raymon
            ready, _ = ray.wait(list(waiting), num_returns=max(1, len(waiting) // 2))
            results = ray.get(ready)
        with driver.phase("inference"):  # raymon
            actions = np.array([result["observation"] for result in results]) @ weights < 0
        driver.inference(1, len(actions))  # raymon
        for ref, action in zip(ready, actions, strict=True):
            actor = waiting.pop(ref)
            waiting[actor.step.remote(int(action))] = actor
        driver.called(len(ready))  # raymon
        buffer += results
    ray.get(list(waiting))
    return buffer


def learn(buffer, weights):
    """A stand-in for a learner: prefer the directions of long episodes."""
    lengths = [result["episode"][1] for result in buffer if result["episode"]]
    return weights * 0.9 + np.array([-1.0, -0.3]) * 0.1, lengths


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--actors", type=int, default=4)
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--steps", type=int, default=400, help="environment steps of one update")
    options = parser.parse_args()

    driver = raymon.DriverMonitor("sampler", sampler="step", algorithm="home-made", workers=options.actors)  # raymon
    actors = [Balancer.remote(rank) for rank in range(options.actors)]
    weights, episodes = np.array([0.1, 0.1]), 0
    driver.state("training")  # raymon
    for update in range(options.updates):
        with driver.iteration():  # raymon
            buffer = sample(actors, options.steps, weights, driver)
            with driver.phase("learn"):  # raymon
                weights, lengths = learn(buffer, weights)
            episodes += len(lengths)
            driver.episodes(lengths, lengths)  # raymon
            driver.policy_version(update + 1)  # raymon
    driver.state("finished")  # raymon
    driver.close()  # raymon
    print(f"{options.updates} updates, {episodes} episodes")


if __name__ == "__main__":
    main()
