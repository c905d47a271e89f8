"""What a driver counts of the samples: fragments received, trained and dropped, episodes, progress, policy versions."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from raymon import catalog
from raymon.monitor.accumulator import amount, finite
from raymon.monitor.fleet import Fleet
from raymon.monitor.recorder import recording
from raymon.monitor.timed import TimedRecorder

LAST_EPISODES: Final = 100
_MOST_LAGS: Final = 10_000


class SampleRecorder(TimedRecorder):
    """The part of a driver's monitor that counts samples; `_fleet` holds the workers that sent any."""

    def __init__(
        self, run: str | None, worker: str, enabled: bool, made_with: tuple[object, ...], expected: int
    ) -> None:
        super().__init__(run, worker, enabled, made_with)
        self._fleet = Fleet(expected)
        self._calls = self._cell(catalog.ACTOR_CALLS)
        self._returns: deque[float] = deque(maxlen=LAST_EPISODES)
        self._lengths: deque[float] = deque(maxlen=LAST_EPISODES)
        self._version = 0.0
        self._versions: deque[float] = deque(maxlen=_MOST_LAGS)
        self._trained_steps: float | None = 0.0  # None once `progress` was called

    @recording
    def received(
        self, worker: int | str, seconds: float, env_steps: int, nbytes: float = 0, policy_version: float | None = None
    ) -> None:
        """Count a fragment that arrived.

        Args:
            worker: The worker that sampled it.
            seconds: Duration of the rollout, by the worker's clock.
            env_steps: Environment steps in it.
            nbytes: Its size in the object store.
            policy_version: The version it was sampled with.
        """
        self._fleet.add(str(worker))
        self.count(catalog.FRAGMENTS, outcome="received")
        self.count(catalog.FRAGMENT_STEPS, env_steps, outcome="received")
        self.count(catalog.PUT_BYTES, nbytes, kind="rollouts")
        self.observe(catalog.FLEET_ROLLOUT, seconds)
        if policy_version is not None:
            self._versions.append(finite(policy_version))

    @recording
    def trained(self, fragments: int, env_steps: int, lags: Sequence[float] = ()) -> None:
        """Count fragments that were trained on; `lags` in updates, by default from the received versions."""
        self.count(catalog.FRAGMENTS, fragments, outcome="trained")
        self.count(catalog.FRAGMENT_STEPS, env_steps, outcome="trained")
        if self._trained_steps is not None:
            self._trained_steps += amount(env_steps)
            self.accumulator.set(catalog.TRAINED_STEPS, {}, self._trained_steps)
        versions = list(self._versions)
        self._versions.clear()
        updates = [finite(lag) for lag in lags] or [self._version - version for version in versions]
        if updates:
            self.accumulator.set(catalog.POLICY_LAG, {"statistic": "mean"}, sum(updates) / len(updates))
            self.accumulator.set(catalog.POLICY_LAG, {"statistic": "max"}, max(updates))

    @recording
    def dropped(self, reason: str, fragments: int = 1, env_steps: int = 0) -> None:
        """Count fragments that were dropped, for one of `catalog.DROP_REASONS`."""
        self.count(catalog.FRAGMENTS_DROPPED, fragments, reason=reason)
        self.count(catalog.FRAGMENTS, fragments, outcome="dropped")
        self.count(catalog.FRAGMENT_STEPS, env_steps, outcome="dropped")

    @recording
    def episodes(self, returns: Iterable[float], lengths: Iterable[float]) -> None:
        """Add episodes of any worker to the last 100 of all workers."""
        finite_values = [finite(value) for value in returns], [finite(value) for value in lengths]
        with self.accumulator.lock:
            self._returns.extend(finite_values[0])
            self._lengths.extend(finite_values[1])

    @recording
    def fleet_episodes(self, mean: float, low: float, high: float, length: float) -> None:
        """Set mean, lowest and highest return and mean length over all workers, if single episodes are not known."""
        with self.accumulator.lock:
            self._returns.clear()
            self._lengths.clear()
        for statistic, value in (("mean", mean), ("min", low), ("max", high)):
            self.accumulator.set(catalog.FLEET_RETURN, {"statistic": statistic}, value)
        self.accumulator.set(catalog.FLEET_LENGTH, {}, length)

    @recording
    def progress(self, trained_env_steps: int, target_env_steps: int = 0) -> None:
        """Set the progress of the run: steps trained on, including resumed ones, and the target (0: none).

        Without it, the steps of `trained` are added up.
        """
        self._trained_steps = None
        self.accumulator.set(catalog.TRAINED_STEPS, {}, trained_env_steps)
        self.accumulator.set(catalog.TARGET_STEPS, {}, target_env_steps)

    @recording
    def policy_version(self, version: int) -> None:
        """Set the version of the learner's policy, which is the number of its updates."""
        self._version = finite(version)
        self.accumulator.set(catalog.LEARNER_VERSION, {}, version)

    @recording
    def put_bytes(self, kind: str, n: float) -> None:
        """Count bytes sent through the object store, `rollouts`, `weights` or `other`."""
        self.count(catalog.PUT_BYTES, n, kind=kind)

    @recording
    def called(self, n: int = 1) -> None:
        """Count sampling calls made to actors."""
        more = amount(n)
        with self.accumulator.lock:
            self._calls.total += more

    @recording
    def inference(self, batches: int, observations: int) -> None:
        """Count batches of observations that the driver's policy answered."""
        more = amount(batches), amount(observations)
        cells = self._cell(catalog.INFERENCE_BATCHES), self._cell(catalog.INFERENCE_OBSERVATIONS)
        with self.accumulator.lock:
            cells[0].total += more[0]
            cells[1].total += more[1]

    @recording
    def gpu(self, utilization: float, memory_bytes: float) -> None:
        """Set the utilization (0 to 1) and allocated memory of the learner's GPU."""
        self.accumulator.set(catalog.GPU_UTILIZATION, {}, utilization)
        self.accumulator.set(catalog.GPU_MEMORY, {}, memory_bytes)

    def _collect(self) -> None:
        super()._collect()
        self._collect_episodes()

    def _collect_episodes(self) -> None:
        if self._returns:
            ordered = sorted(self._returns)
            for statistic, value in (("mean", sum(ordered) / len(ordered)), ("min", ordered[0]), ("max", ordered[-1])):
                self.accumulator.set(catalog.FLEET_RETURN, {"statistic": statistic}, value)
        if self._lengths:
            self.accumulator.set(catalog.FLEET_LENGTH, {}, sum(self._lengths) / len(self._lengths))
