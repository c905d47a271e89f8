"""The callbacks that RLlib calls."""
# ruff: noqa: ANN401  # RLlib is not annotated

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

try:
    from ray.rllib.callbacks.callbacks import RLlibCallback
except ModuleNotFoundError:
    from ray.rllib.algorithms.callbacks import DefaultCallbacks as RLlibCallback  # name and module in Ray 2.40

from raymon.monitor.recorder import complain
from raymon.rllib.algorithm import AlgorithmRecorder
from raymon.rllib.results import KEY
from raymon.rllib.runner import RunnerMonitor, record_environment, record_runner

P = ParamSpec("P")


def _never_raises(callback: Callable[P, None]) -> Callable[P, None]:
    """Make a callback that never raises into RLlib, whatever a future version passes to it."""

    @functools.wraps(callback)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            callback(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  # recording never breaks training
            complain(callback.__name__, error)

    return guarded


class Callbacks(RLlibCallback):  # type: ignore[misc]  # RLlib is not annotated
    """Callbacks that record a run: pass this class, or `Callbacks.named("my-run")`, to `config.callbacks`.

    Attributes:
        run: The run's name; None takes `RAYMON_RUN`, else the Ray job. Under Tune the trial's id is appended.
        enabled: False records nothing.
        environment: The environment's name on the dashboard; None takes the configuration's.
    """

    run: str | None = None
    enabled: bool = True
    environment: str | None = None
    # Class attributes, so that a derived class records even if its constructor does not call this one's.
    _worker: RunnerMonitor | None = None
    _index = 0
    _driver: AlgorithmRecorder | None = None

    @classmethod
    def named(cls, run: str, enabled: bool = True, environment: str | None = None) -> type["Callbacks"]:
        """Return a subclass for a run of that name; `config.callbacks` takes classes only."""
        return type(
            cls.__name__, (cls,), {"run": run, "enabled": enabled, "environment": environment or cls.environment}
        )

    @_never_raises
    def on_environment_created(self, *, env_runner: Any, **_: Any) -> None:
        """Start recording in a runner that samples for training; RLlib calls this for each new environment."""
        config = env_runner.config
        samples = env_runner.worker_index > 0 or not config.num_env_runners
        if not self.enabled or config.in_evaluation or not samples:
            return
        if self._worker is None:
            self._index = env_runner.worker_index
            self._worker = record_runner(env_runner, self._index, self.run)
        record_environment(env_runner.env, self._worker)

    @_never_raises
    def on_episode_end(self, *, episode: Any, prev_episode_chunks: list[Any] | None = None, **_: Any) -> None:
        """Count an episode: its return and length over all its chunks."""
        if self._worker is not None:
            chunks = [*(prev_episode_chunks or []), episode]
            self._worker.episode(sum(chunk.get_return() for chunk in chunks), sum(len(chunk) for chunk in chunks))

    @_never_raises
    def on_sample_end(self, *, env_runner: Any, metrics_logger: Any = None, samples: Any = (), **_: Any) -> None:
        """Count a rollout's steps and send its numbers to the algorithm among RLlib's metrics."""
        monitor = self._worker
        if monitor is None:
            return
        steps = sum(episode.env_steps() for episode in samples)
        version = int(getattr(env_runner, "_weights_seq_no", 0))
        monitor.steps(steps)
        monitor.policy_version(version)
        if metrics_logger is not None:
            numbers = {"seconds": monitor.elapsed(), "steps": steps, "version": version}
            for name, value in numbers.items():
                metrics_logger.log_value((KEY, str(self._index), name), value, reduce="item_series")

    @_never_raises
    def on_algorithm_init(self, *, algorithm: Any, **_: Any) -> None:
        """Start recording in the algorithm's process."""
        if self.enabled and self._driver is None:
            self._driver = AlgorithmRecorder(algorithm, self.run, self.environment)

    @_never_raises
    def on_train_result(self, *, algorithm: Any, result: dict[str, Any], **_: Any) -> None:
        """Record what the runners sampled and what the learner did with it."""
        if self._driver is not None:
            self._driver.result(algorithm, result)

    @_never_raises
    def on_env_runners_recreated(
        self, *, env_runner_group: Any, env_runner_indices: list[int], is_evaluation: bool, **_: Any
    ) -> None:
        """Count restarts by runner."""
        if self._driver is not None and not is_evaluation:
            self._driver.recreated(env_runner_group, env_runner_indices)
