"""Callbacks for RLlib's new API stack: the same metrics as any other trainer, with one worker per env runner.

    config.callbacks(raymon.rllib.Callbacks)

Runs in every env runner and in the algorithm's process. A worker's number is RLlib's worker index; 0 is the local
runner, which samples only without remote ones. Evaluation runners are not recorded: their indices would clash. RLlib
calls no callback where sampling, learning or sending weights begins, so those methods are
wrapped on the objects; if RLlib renames one, its phase stays empty.
"""
# ruff: noqa: ANN401  # RLlib is not annotated

import contextlib
import functools
import math
import re
import sys
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

try:
    from ray.rllib.callbacks.callbacks import RLlibCallback
except ModuleNotFoundError:
    from ray.rllib.algorithms.callbacks import DefaultCallbacks as RLlibCallback  # name and module in Ray 2.40

from raymon import ray_internals
from raymon.monitor import DriverMonitor, Monitor, identity
from raymon.monitor.reasons import loss_reason
from raymon.monitor.recorder import complain

P = ParamSpec("P")
R = TypeVar("R")

_KEY: Final = "raymon"
"""Key of a runner's rollouts in RLlib's metrics, which carry them to the algorithm; the runner's index follows."""
_TRIAL: Final = re.compile(r"_([0-9a-f]{5,8}_\d{5})(_|$)")
"""A trial's id in the name of Tune's folder."""
_LOSSES: Final = {
    "total_loss": "loss",
    "policy_loss": "policy_loss",
    "mean_pi_loss": "policy_loss",
    "vf_loss": "value_loss",
    "qf_loss": "value_loss",
    "mean_vf_loss": "value_loss",
    "entropy": "entropy",
    "mean_kl_loss": "kl",
    "vf_explained_var": "explained_variance",
    "default_optimizer_learning_rate": "learning_rate",
    "policy_learning_rate": "learning_rate",
    "gradients_default_optimizer_global_norm": "gradient_norm",
}
# Ray 2.40 says `worker` for `env_runner` and `update_from_episodes` for `update`.
_PHASES: Final = {
    "learner_group": {"update": "learn", "update_from_episodes": "learn"},
    "env_runner_group": {
        "foreach_worker": "sample",
        "foreach_worker_async": "sample",
        "foreach_env_runner": "sample",
        "foreach_env_runner_async": "sample",
        "fetch_ready_async_reqs": "sample",
        "foreach_env_runner_async_fetch_ready": "sample",
        "sync_weights": "weights",
        "sync_env_runner_states": "weights",
    },
}


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
    _worker: Monitor | None = None
    _index = 0
    _driver: "_Driver | None" = None

    @classmethod
    def named(cls, run: str, enabled: bool = True, environment: str | None = None) -> type["Callbacks"]:
        """Return a subclass for a run of that name; `config.callbacks` takes classes only."""
        return type(
            cls.__name__, (cls,), {"run": run, "enabled": enabled, "environment": environment or cls.environment}
        )

    @_never_raises
    def on_environment_created(self, *, env_runner: Any, **_: Any) -> None:
        """Start recording in a runner that samples for training."""
        config = env_runner.config
        samples = env_runner.worker_index > 0 or not config.num_env_runners
        if self._worker is not None or not self.enabled or config.in_evaluation or not samples:
            return
        self._index = env_runner.worker_index
        alone = identity.placement_group() is None
        monitor = self._worker = Monitor(self._index, self.run) if alone else _TrialMonitor(self._index)
        _wrap(env_runner, "sample", lambda sample: _rollouts(monitor, sample))
        for stepping in ("_try_env_step", "_try_env_reset"):
            _wrap(env_runner, stepping, lambda method: _in_phase(monitor, "environment", method))

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
                metrics_logger.log_value((_KEY, str(self._index), name), value, reduce="item_series")

    @_never_raises
    def on_algorithm_init(self, *, algorithm: Any, **_: Any) -> None:
        """Start recording in the algorithm's process."""
        if self.enabled and self._driver is None:
            self._driver = _Driver(algorithm, self.run, self.environment)

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


class _Driver:
    """Recording in the algorithm's process: phases, fragments, workers, learning."""

    def __init__(self, algorithm: Any, run: str | None, environment: str | None) -> None:
        config = algorithm.config
        self.monitor = DriverMonitor(
            _run_of(algorithm, run),
            engine="rllib",
            algorithm=type(algorithm).__name__,
            sampler="rllib",
            environment=environment or config.env,
            workers=max(1, config.num_env_runners),
        )
        self._lost: set[int] = set()
        self._given_up: set[int] = set()
        self._reasons: dict[int, str] = {}
        self._known = _healthy(algorithm.env_runner_group)
        self._version = 0.0
        self._updated = False
        self._inside = False
        for worker in self._known or {0}:
            self.monitor.worker_up(worker)
        for holder, methods in _PHASES.items():
            for method, phase in methods.items():
                _wrap(getattr(algorithm, holder, None), method, functools.partial(self._outermost, phase))
        local = getattr(algorithm.env_runner_group, "local_env_runner", None)
        _wrap(local, "sample", functools.partial(self._outermost, "sample"))
        _wrap(getattr(algorithm.env_runner_group, "_worker_manager", None), "_fetch_result", self._keep_errors)
        _wrap(algorithm, "training_step", self._time_iterations)
        _wrap(algorithm, "evaluate", functools.partial(self._between_steps, None))
        _wrap(algorithm, "save_to_path", functools.partial(self._between_steps, "checkpoint"))
        _wrap(algorithm, "cleanup", self._close_before)
        self.monitor.state("training")

    def _outermost(self, phase: str, method: Callable[P, R]) -> Callable[P, R]:
        """Time a method unless it is called inside another timed one: sending weights calls runners too."""

        @functools.wraps(method)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            self._updated = self._updated or phase == "learn"
            if self._inside:
                return method(*args, **kwargs)
            self._inside = True
            try:
                with self.monitor.phase(phase):
                    return method(*args, **kwargs)
            finally:
                self._inside = False

        return timed

    def _time_iterations(self, training_step: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(training_step)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            self._updated = False
            with self.monitor.iteration() as iteration:
                result = training_step(*args, **kwargs)
                if not self._updated:
                    iteration.without_update()
            return result

        return timed

    def _between_steps(self, phase: str | None, method: Callable[P, R]) -> Callable[P, R]:
        """Time a method that runs between training steps; an evaluation in parallel to training is left out."""
        stay = contextlib.nullcontext() if phase is None else self.monitor.phase(phase)

        @functools.wraps(method)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            if kwargs.get("parallel_train_future") is not None:
                return method(*args, **kwargs)
            with self.monitor.iteration() as iteration, stay:
                iteration.without_update()
                return method(*args, **kwargs)

        return timed

    def _keep_errors(self, fetch: Callable[P, R]) -> Callable[P, R]:
        """Keep the first error of each runner's calls: later RLlib reports only that the runner is lost."""

        @functools.wraps(fetch)
        def noted(*args: P.args, **kwargs: P.kwargs) -> R:
            fetched: Any = fetch(*args, **kwargs)
            try:
                for each in fetched[1]:
                    if not each.ok:
                        self._reasons.setdefault(each.actor_id, loss_reason(each.get()))
            except (AttributeError, TypeError, IndexError) as error:
                complain("the results of RLlib's runners", error)
            result: R = fetched
            return result

        return noted

    def _close_before(self, cleanup: Callable[P, R]) -> Callable[P, R]:
        """End the recording; a run whose algorithm is stopped while an exception is handled has not finished."""

        @functools.wraps(cleanup)
        def closed(*args: P.args, **kwargs: P.kwargs) -> R:
            error = sys.exc_info()[0]
            ended = "stopped" if error is not None and issubclass(error, KeyboardInterrupt) else "failed"
            self.monitor.state(ended if error is not None else "finished")
            self.monitor.close()
            return cleanup(*args, **kwargs)

        return closed

    def recreated(self, group: Any, indices: list[int]) -> None:
        """Count runners that RLlib replaced."""
        for index in indices:
            if index not in self._lost:
                self.monitor.worker_lost(index, self._reasons.get(index, "unknown"))
            self._restarted(index)
        self._look_for_losses(group)

    def result(self, algorithm: Any, result: dict[str, Any]) -> None:
        """Record one iteration's results."""
        self._look_for_losses(algorithm.env_runner_group)
        sampled = result.get("env_runners", {})
        rollouts = _rollouts_in(sampled.pop(_KEY, {}))
        for worker, seconds, steps, version in rollouts:
            self.monitor.received(worker, seconds=seconds, env_steps=int(steps), policy_version=version)
        learners = {name: stats for name, stats in result.get("learners", {}).items() if name != "__all_modules__"}
        lags = [max(0.0, self._version - version) for *_, version in rollouts]
        # RLlib does not say which fragments are in a batch: those received in an iteration count as trained in it.
        self.monitor.trained(len(rollouts), int(sum(steps for _, _, steps, _ in rollouts)), lags=lags)
        self._episodes(sampled)
        self._learning(learners)
        self.monitor.progress(int(result.get("num_env_steps_sampled_lifetime", 0)))

    def _episodes(self, sampled: dict[str, Any]) -> None:
        names = [f"episode_return_{each}" for each in ("min", "mean", "max")]
        low, mean, high = (float(sampled.get(name, math.nan)) for name in names)
        if math.isfinite(low + mean + high):  # NaN while no episode has ended
            self.monitor.fleet_episodes(mean, low, high, float(sampled.get("episode_len_mean", 0.0)))

    def _learning(self, learners: dict[str, dict[str, Any]]) -> None:
        terms: dict[str, float] = {}
        for stats in learners.values():
            terms.update({_LOSSES[name]: float(value) for name, value in stats.items() if name in _LOSSES})
            if "weights_seq_no" in stats:
                self._version = float(stats["weights_seq_no"])
                self.monitor.policy_version(int(self._version))
        self.monitor.update(nonfinite=False, **terms)

    def _look_for_losses(self, group: Any) -> None:
        healthy = _healthy(group)
        for index in self._known - healthy - self._lost:
            self._lost.add(index)
            self.monitor.worker_lost(index, self._reasons.get(index, "unknown"))
        for index in self._lost & healthy:
            self._restarted(index)
        for index in self._lost - self._given_up:
            if _is_gone(group, index):
                self._given_up.add(index)
                self.monitor.worker_given_up(index)

    def _restarted(self, index: int) -> None:
        self._lost.discard(index)
        self._given_up.discard(index)
        self._known.add(index)
        self.monitor.worker_restarted(index, self._reasons.pop(index, "unknown"))


def _run_of(algorithm: Any, run: str | None) -> str | None:
    """Return the name of an algorithm's run, with the trial's id under Tune: one job has several trials."""
    folder = getattr(getattr(algorithm, "_storage", None), "trial_dir_name", None)  # RLlib does not keep the trial's id
    if folder is None:
        return run
    match = _TRIAL.search(folder)
    trial = match[1] if match else str(identity.placement_group())[-8:]
    name = identity.checked_run(run) or identity.job_run()
    return f"{name[: identity.LONGEST_RUN - len(trial) - 1]}-{trial}"


class _TrialMonitor(Monitor):
    """The monitor of a runner in a placement group, as in a trial of Tune: the algorithm names the run.

    It does so once all its runners and learners exist.
    """

    _patience_seconds = 60.0

    def _named(self, run: str | None) -> str | None:  # noqa: ARG002  # only the algorithm knows the name
        return None


def _is_gone(group: Any, index: int) -> bool:
    """Return whether Ray no longer restarts a runner: restarts are off or used up."""
    try:
        actor_id = group._worker_manager.actors()[index]._actor_id.hex()
    except Exception:  # noqa: BLE001  # private to RLlib; without it the runner shows as restarting
        return False
    return ray_internals.is_dead(actor_id)


def _rollouts_in(runners: dict[str, dict[str, Any]]) -> list[tuple[int, float, float, float]]:
    """Return (runner, seconds, steps, version) of every rollout in RLlib's metrics."""
    rollouts = []
    for runner, numbers in runners.items():
        columns = [_series(numbers.get(name)) for name in ("seconds", "steps", "version")]
        rollouts += [(int(runner), a, b, c) for a, b, c in zip(*columns, strict=False)]
    return rollouts


def _series(value: Any) -> list[float]:
    """Return a series of RLlib's metrics as a list: RLlib reduces one item to the item and none to NaN."""
    values = value if isinstance(value, list) else [math.nan if value is None else value]
    return [float(each) for each in values if math.isfinite(each)]


def _rollouts(monitor: Monitor, sample: Callable[P, R]) -> Callable[P, R]:
    """Record a runner's `sample` as a rollout; time outside environment steps is inference and connectors."""

    @functools.wraps(sample)
    def timed(*args: P.args, **kwargs: P.kwargs) -> R:
        with monitor.rollout("inference"):
            return sample(*args, **kwargs)

    return timed


def _in_phase(monitor: Monitor, phase: str, method: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(method)
    def timed(*args: P.args, **kwargs: P.kwargs) -> R:
        with monitor.phase(phase):
            return method(*args, **kwargs)

    return timed


def _healthy(group: Any) -> set[int]:
    """Return the indices of the runners that RLlib considers healthy."""
    ids = getattr(group, "healthy_env_runner_ids", None) or group.healthy_worker_ids  # the name in Ray 2.40
    return set(ids())


def _wrap(owner: object, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace a method on one object, if the object and the method exist."""
    method = getattr(owner, name, None)
    if callable(method):
        setattr(owner, name, wrapper(method))
