"""Recording in an env runner: rollouts, phases, and exceptions of the environment, which RLlib hides."""
# ruff: noqa: ANN401  # RLlib is not annotated

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from raymon.monitor import Monitor, identity
from raymon.rllib.wrap import wrap

P = ParamSpec("P")
R = TypeVar("R")


class RunnerMonitor(Monitor):
    """The monitor of a runner.

    RLlib either replaces an environment that raised and goes on, or raises another exception and ends the runner. In
    both cases the environment's own exception is counted, once.
    """

    _counted = 0
    """Id of the environment's last exception."""

    def environment_failed(self, error: BaseException) -> None:
        """Count an exception of the environment as a failed rollout."""
        self._counted = id(error)
        super()._rollout_failed(error)

    def _rollout_failed(self, error: BaseException) -> None:
        if self._counted not in (id(error), id(error.__cause__), id(error.__context__)):
            super()._rollout_failed(error)
        self.flush()  # the runner may be ended next


class TrialMonitor(RunnerMonitor):
    """The monitor of a runner in a placement group, as in a trial of Tune: the algorithm names the run.

    It does so once all its runners and learners exist.
    """

    _patience_seconds = 60.0

    def _named(self, run: str | None) -> str | None:  # noqa: ARG002  # only the algorithm knows the name
        return None


def record_runner(env_runner: Any, worker: int, run: str | None) -> RunnerMonitor:
    """Return a monitor of a runner whose rollouts and phases are recorded from now on."""
    alone = identity.placement_group() is None
    monitor = RunnerMonitor(worker, run) if alone else TrialMonitor(worker)
    wrap(env_runner, "sample", lambda sample: _rollouts(monitor, sample))
    for stepping in ("_try_env_step", "_try_env_reset"):
        wrap(env_runner, stepping, lambda method: _in_phase(monitor, "environment", method))
    return monitor


def record_environment(environment: Any, monitor: RunnerMonitor) -> None:
    """Count the exceptions of a runner's environment; RLlib makes another one after each."""
    for method in ("step", "reset"):
        wrap(environment, method, lambda method: _noting_errors(monitor, method))


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


def _noting_errors(monitor: RunnerMonitor, method: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(method)
    def noted(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except Exception as error:
            monitor.environment_failed(error)
            raise

    return noted
