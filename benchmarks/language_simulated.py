"""Training of a language model in the model of a cluster: skewed lengths raise no alarm, slow rollout workers do.

A rollout worker generates one batch of responses after the other. Their lengths are log-normal, cut at a limit; a batch
is decoded at once, which takes as long as its longest response, or one response after the other.

    python -m benchmarks.language_simulated                     # 50 skewed runs, 100 slow workers, 2 hours
    python -m benchmarks.language_simulated --runs 5 --hours 0
"""

import argparse
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.diagnosis_model import START, Cluster, Driver, Work, Worker
from benchmarks.diagnosis_score import Outcome, percentile, play, wilson
from benchmarks.diagnosis_simulated import FAULT_AFTER, Simulated
from raymon import catalog

SIGMAS: Final = (0.5, 1.0, 1.5)
LONGEST: Final = 32.0
"""The limit of a response's length, in medians."""
MEDIAN_TOKENS: Final = 64.0
BATCH_SECONDS: Final = 2.0
"""Mean duration of a batch."""


@dataclass(frozen=True, slots=True)
class Generation:
    """How rollout workers generate.

    Attributes:
        sigma: Standard deviation of the logarithm of the lengths.
        responses: Responses of a batch.
        at_once: Whether a batch is decoded at once, not one response after the other.
        noise: Standard deviation of the logarithm of the time per token, from batch to batch.
    """

    sigma: float = 1.0
    responses: int = 32
    at_once: bool = True
    noise: float = 0.05

    def lengths(self, rng: np.random.Generator) -> list[float]:
        """Return the lengths of a batch in tokens."""
        drawn = np.exp(self.sigma * rng.standard_normal(self.responses))
        return (MEDIAN_TOKENS * np.minimum(drawn, LONGEST)).round().tolist()

    def decoded(self, lengths: Sequence[float]) -> float:
        """Return the tokens that a batch takes the time of."""
        return max(lengths) if self.at_once else sum(lengths)

    def token_seconds(self) -> float:
        """Return the time per token at which a batch takes `BATCH_SECONDS` on average."""
        rng = np.random.default_rng(1)
        return BATCH_SECONDS / float(np.mean([self.decoded(self.lengths(rng)) for _ in range(400)]))


class RolloutWorker(Worker):
    """A worker that generates batches of responses while the driver wants them."""

    def __init__(self, name: str, generation: Generation, rng: np.random.Generator, report: float) -> None:
        super().__init__(name, "10.0.0.1", Work(), rng, report)
        self.generation, self.token_seconds = generation, generation.token_seconds()
        self.lengths: list[float] = []
        self.recent: list[float] = []

    def begin(self, now: float) -> None:
        """Begin a batch."""
        generation = self.generation
        self.lengths = generation.lengths(self.rng)
        noise = math.exp(generation.noise * float(self.rng.standard_normal()))
        self.began = now
        self.ends = [now + generation.decoded(self.lengths) * self.token_seconds * self.factor(now) * noise]

    def work_until(self, now: float, seconds: float) -> bool:
        """Work for a slice of time that ends at `now`; return whether a batch ended in it."""
        if self.began is None:
            self.add(catalog.WORKER_PHASE, seconds, "waiting")
            return False
        worked = max(0.0, min(now, self.ends[0]) - max(now - seconds, self.began))
        self.add(catalog.ROLLOUT_SECONDS, worked)
        self.add(catalog.WORKER_PHASE, worked, "generate")
        self.add(catalog.WORKER_PHASE, seconds - worked, "waiting")
        if now < self.ends[0]:
            return False
        self._count(sorted(self.lengths))
        self.add(catalog.GENERATION_SECONDS, self.ends[0] - self.began)
        self.progress = self.ends[0]
        self.latencies.append((self.ends[0], self.ends[0] - self.began))
        self.began = None
        return True

    def _count(self, lengths: list[float]) -> None:
        self.recent = [*self.recent, *lengths][-1000:]
        cut = sum(length >= MEDIAN_TOKENS * LONGEST for length in lengths)
        self.add(catalog.ROLLOUTS, 1.0)
        self.add(catalog.TOKENS, 16.0 * len(lengths), "in")
        self.add(catalog.TOKENS, sum(lengths), "out")
        self.add(catalog.RESPONSES, float(len(lengths) - cut), "complete")
        self.add(catalog.RESPONSES, float(cut), "truncated")
        self.add(catalog.GENERATION_LENGTH, lengths[-2], "body")
        self.add(catalog.GENERATION_LENGTH, lengths[-1] - lengths[-2], "tail")
        self.add(catalog.TAIL_RESPONSES, 1.0)

    def record(self, now: float) -> None:
        """Set the gauges of a flush."""
        super().record(now)
        self.set(catalog.ROLE, 1.0, "rollout")
        for name in catalog.ACTIVITIES:
            self.set(catalog.ACTIVITY, float(name == ("waiting" if self.began is None else "generate")), name)
        for quantile in catalog.QUANTILES if self.recent else ():
            self.set(catalog.RESPONSE_LENGTH, float(np.quantile(self.recent, quantile)), str(quantile))


class RewardWorker(Worker):
    """A worker that scores each batch for a tenth of its time, in phases and without rollouts."""

    def __init__(self, name: str, rng: np.random.Generator, report: float, *, synchronous: bool) -> None:
        super().__init__(name, "10.0.0.1", Work(), rng, report)
        self.synchronous = synchronous

    def begin(self, now: float) -> None:
        """Begin to score a batch, where the driver waits for it."""
        self.began = now if self.synchronous else None

    def work_until(self, now: float, seconds: float) -> bool:
        """Work for a slice of time; return whether the scores of a batch are there."""
        self.add(catalog.ROLLOUTS, 0.0)
        self.add(catalog.WORKER_PHASE, 0.1 * seconds, "reward")
        self.progress = now
        scored, self.began = self.began is not None, None
        return scored

    def record(self, now: float) -> None:
        """Set the gauges of a flush."""
        super().record(now)
        self.set(catalog.ROLE, 1.0, "reward")


class Controller(Driver):
    """A driver that also counts groups and synchronizes weights with each update."""

    def _update(self, now: float) -> None:
        super()._update(now)
        equal = float(self.rng.binomial(16 * self.batch, 0.3))
        self.add(catalog.GROUPS, 16.0 * self.batch - equal, "yes")
        self.add(catalog.GROUPS, equal, "no")
        self.add(catalog.WEIGHT_SYNCS, 1.0)
        self.add(catalog.WEIGHT_SYNC_SECONDS, 0.02)
        self.add(catalog.WEIGHT_SYNC_BYTES, 1e6)


def build(generation: Generation, seed: int, *, workers: int, synchronous: bool, report: float = 1.0) -> Cluster:
    """Return a cluster of rollout workers, one reward worker and a driver that trains on a batch of each."""
    rngs = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(workers + 2))
    driver = Controller(next(rngs), report, workers, synchronous=synchronous)
    driver.learn_seconds = 0.3 * BATCH_SECONDS
    rollouts = [RolloutWorker(str(number), generation, next(rngs), report) for number in range(workers)]
    for rollout in rollouts:
        rollout.begin(START + float(rollout.rng.uniform(0.0, BATCH_SECONDS)))
    reward = RewardWorker(str(workers), next(rngs), report, synchronous=synchronous)
    reward.begin(START)
    driver.expected = workers + 1
    return Cluster(driver, [*rollouts, reward], report)


def _kinds() -> Iterator[tuple[Generation, bool, int]]:
    """Yield how is generated, whether sampling is synchronous, and the number of rollout workers."""
    for sigma, at_once, synchronous in itertools.product(SIGMAS, (True, False), (True, False)):
        yield Generation(sigma, at_once=at_once), synchronous, 4 if at_once else 8


def _name(generation: Generation, synchronous: bool) -> str:
    decoding = "batches at once" if generation.at_once else "one response after the other"
    return f"sigma {generation.sigma:g}, {decoding}, {'sync' if synchronous else 'async'}"


def _make(generation: Generation, synchronous: bool, workers: int, factor: float) -> Callable[[int], Cluster]:
    def make(seed: int) -> Cluster:
        cluster = build(generation, seed, workers=workers, synchronous=synchronous)
        if factor > 1.0:
            cluster.events.append((FAULT_AFTER, _slow(factor)))
        return cluster

    return make


def _slow(factor: float) -> Callable[[Cluster], None]:
    def act(cluster: Cluster) -> None:
        cluster.workers[1].factor = lambda _: factor

    return act


def skewed(runs: int, seconds: float = 180.0) -> Iterator[tuple[Simulated, int]]:
    """Yield runs whose only peculiarity are the lengths, with a seed each."""
    for seed, (generation, synchronous, workers) in zip(range(runs), itertools.cycle(_kinds())):
        make = _make(generation, synchronous, workers, 1.0)
        yield Simulated(f"skew: {_name(generation, synchronous)}", make, fault_after=0.0, seconds=seconds), seed


def slow(runs: int) -> Iterator[tuple[Simulated, int]]:
    """Yield runs in which one rollout worker becomes twice as slow per token, with a seed each."""
    for seed, (generation, synchronous, workers) in zip(range(runs), itertools.cycle(_kinds())):
        make = _make(generation, synchronous, workers, 2.0)
        name = f"slow: {_name(generation, synchronous)}"
        yield Simulated(name, make, frozenset({"straggler_bound"}), seconds=FAULT_AFTER + 45.0), seed


def healthy(hours: float) -> Iterator[tuple[Simulated, int]]:
    """Yield healthy runs of different nature that come to about so many hours, with a seed each."""
    kinds = tuple(_kinds())
    for generation, synchronous, workers in kinds if hours else ():
        make = _make(generation, synchronous, workers, 1.0)
        seconds = hours * 3600.0 / len(kinds)
        yield Simulated(f"healthy: {_name(generation, synchronous)}", make, fault_after=0.0, seconds=seconds), 7


def report(skew: Sequence[Outcome], slowed: Sequence[Outcome], well: Sequence[Outcome]) -> Iterator[str]:
    """Yield the results in sentences."""
    for what, outcomes in (("skewed runs", skew), ("healthy runs", well)):
        false = [(one.scenario, *alarm) for one in outcomes for alarm in one.false]
        hours = sum(one.healthy_seconds for one in outcomes) / 3600.0
        yield f"{len(false)} alarms in {len(outcomes)} {what} ({hours:.1f} simulated hours)."
        yield from (f"  {name}: {at:.0f} s {code}: {sentence}" for name, at, code, sentence in false)
    if slowed:
        named = [one for one in slowed if one.in_time]
        times = [one.after for one in slowed if one.right]
        low, high = wilson(len(named), len(slowed))
        yield (
            f"{len(named)} of {len(slowed)} slow workers named within 15 s (Wilson 95 %: {low:.1%} to {high:.1%}); "
            f"median {percentile(times, 0.5):.0f} s, 95th percentile {percentile(times, 0.95):.0f} s."
        )
        for one in slowed:
            if not one.in_time:
                yield f"  {one.scenario}: {one.first or 'nothing'} after {one.after:.0f} s {one.false}"


def main() -> int:
    """Play the runs; exit code 0 when the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="runs of skewed lengths; twice as many of slow workers")
    parser.add_argument("--hours", type=float, default=2.0, help="simulated healthy hours")
    args = parser.parse_args()
    skew, slowed, well = (
        [play(scenario, seed, 1.0) for scenario, seed in runs]
        for runs in (skewed(args.runs), slow(2 * args.runs), healthy(args.hours))
    )
    print("\n".join(report(skew, slowed, well)))
    false = sum(len(one.false) for one in (*skew, *well))
    return int(false > 0 or sum(one.in_time for one in slowed) < 0.95 * len(slowed))


if __name__ == "__main__":
    raise SystemExit(main())
