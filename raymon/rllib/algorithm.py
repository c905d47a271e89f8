"""Recording in the algorithm's process: phases, fragments, workers, learning."""
# ruff: noqa: ANN401  # RLlib is not annotated

import contextlib
import functools
import math
import sys
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from raymon.monitor import DriverMonitor
from raymon.monitor.reasons import loss_reason
from raymon.monitor.recorder import complain
from raymon.rllib.results import KEY, healthy_runners, is_gone, rollouts_in, run_of
from raymon.rllib.wrap import wrap

P = ParamSpec("P")
R = TypeVar("R")

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


class AlgorithmRecorder:
    """Recording in the algorithm's process: phases, fragments, workers, learning."""

    def __init__(self, algorithm: Any, run: str | None, environment: str | None) -> None:
        config = algorithm.config
        self.monitor = DriverMonitor(
            run_of(algorithm, run),
            engine="rllib",
            algorithm=type(algorithm).__name__,
            sampler="rllib",
            environment=environment or config.env,
            workers=max(1, config.num_env_runners),
        )
        self._lost: set[int] = set()
        self._given_up: set[int] = set()
        self._reasons: dict[int, str] = {}
        self._known = healthy_runners(algorithm.env_runner_group)
        self._version = 0.0
        self._updated = False
        self._inside = False
        for worker in self._known or {0}:
            self.monitor.worker_up(worker)
        for holder, methods in _PHASES.items():
            for method, phase in methods.items():
                wrap(getattr(algorithm, holder, None), method, functools.partial(self._outermost, phase))
        local = getattr(algorithm.env_runner_group, "local_env_runner", None)
        wrap(local, "sample", functools.partial(self._outermost, "sample"))
        wrap(getattr(algorithm.env_runner_group, "_worker_manager", None), "_fetch_result", self._keep_errors)
        wrap(algorithm, "training_step", self._time_iterations)
        wrap(algorithm, "evaluate", functools.partial(self._between_steps, None))
        wrap(algorithm, "save_to_path", functools.partial(self._between_steps, "checkpoint"))
        wrap(algorithm, "cleanup", self._close_before)
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
        rollouts = rollouts_in(sampled.pop(KEY, {}))
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
        healthy = healthy_runners(group)
        for index in self._known - healthy - self._lost:
            self._lost.add(index)
            self.monitor.worker_lost(index, self._reasons.get(index, "unknown"))
        for index in self._lost & healthy:
            self._restarted(index)
        for index in self._lost - self._given_up:
            if is_gone(group, index):
                self._given_up.add(index)
                self.monitor.worker_given_up(index)

    def _restarted(self, index: int) -> None:
        self._lost.discard(index)
        self._given_up.discard(index)
        self._known.add(index)
        self.monitor.worker_restarted(index, self._reasons.pop(index, "unknown"))
