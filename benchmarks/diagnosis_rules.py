"""Rules that others have published, over the same recordings: fixed time-outs, multiples of the median, mean + k sigma.

Each rule reads the truth of the model each second (which worker progressed when, how long each update took), so no
delay of export or scrape is counted against it.
"""

import math
import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from benchmarks.diagnosis_model import START, Cluster, Worker

FIXED_300: Final = "fixed time-out, 300 s"
FIXED_600: Final = "fixed time-out, 600 s"
SIX_MEDIANS: Final = "6 times the median, at least 30 min"
MEAN_DEVIATIONS: Final = "mean + 3 deviations of the workers"
NAMES: Final = (FIXED_300, FIXED_600, SIX_MEDIANS, MEAN_DEVIATIONS)
DEVIATIONS: Final = 3.0
LEAST_SECONDS: Final = 1800.0


@dataclass(slots=True)
class Rules:
    """When each rule alarmed: its first time, and every time it began to."""

    first: dict[str, float] = field(default_factory=dict)
    alarms: dict[str, list[float]] = field(default_factory=dict)
    _firing: dict[str, bool] = field(default_factory=dict)
    _updates: deque[float] = field(default_factory=lambda: deque(maxlen=200))
    _last: float = 0.0

    def watch(self, cluster: Cluster, at: float) -> None:
        """Evaluate every rule at a moment."""
        driver = cluster.driver
        if driver.last_update != self._last:
            if self._last:
                self._updates.append(driver.last_update - self._last)
            self._last = driver.last_update
        silence = max(
            (cluster.now - (worker.progress or START) for worker in cluster.workers if _works(worker)), default=0.0
        )
        silence = max(silence, cluster.now - (driver.last_update or START))
        self._fire(FIXED_300, silence > 300.0, at)
        self._fire(FIXED_600, silence > 600.0, at)
        median = statistics.median(self._updates) if self._updates else math.inf
        self._fire(SIX_MEDIANS, cluster.now - (driver.last_update or START) > max(6.0 * median, LEAST_SECONDS), at)
        self._fire(MEAN_DEVIATIONS, self._outlier(cluster), at)

    def _outlier(self, cluster: Cluster) -> bool:
        """Return whether a worker's mean rollout of the last seconds exceeds the others' mean by k deviations."""
        means = []
        for worker in cluster.workers:
            recent = [took for ended, took in worker.latencies if ended > cluster.now - 8.0]
            if recent:
                means.append(sum(recent) / len(recent))
        number = len(means) - 1
        if number < 2:
            return False
        total, squares = sum(means), sum(value * value for value in means)
        for own in means:
            mean = (total - own) / number
            variance = max(0.0, squares - own * own - number * mean * mean) / (number - 1)
            if own > mean + DEVIATIONS * math.sqrt(variance):
                return True
        return False

    def _fire(self, name: str, firing: bool, at: float) -> None:
        if firing and not self._firing.get(name):
            self.first.setdefault(name, at)
            self.alarms.setdefault(name, []).append(at)
        self._firing[name] = firing


def _works(worker: Worker) -> bool:
    return worker.began is not None
