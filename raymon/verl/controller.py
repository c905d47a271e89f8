"""The controller of verl: phases of a step, groups, weight synchronizations and the figures of learning."""
# ruff: noqa: ANN401  # verl is not annotated

import contextlib
import functools
import inspect
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from types import ModuleType
from typing import Any, Final

from raymon import catalog
from raymon.monitor import DriverMonitor, identity
from raymon.verl.wrapping import Process, harmless, wrap_method

_TIMERS: Final = {
    "gen": "generate",
    "reward": "reward",
    "old_log_prob": "inference",
    "values": "inference",
    "ref": "reference",
    "adv": "advantage",
    "update_actor": "train",
    "update_critic": "train",
    "update_weights": "weight_sync",
    "save_checkpoint": "checkpoint",
}
"""Phases of the controller, by the name that `marked_timer` is given."""
_TERMS: Final = {
    "actor/pg_loss": "policy_loss",
    "critic/vf_loss": "value_loss",
    "actor/entropy": "entropy",
    "actor/ppo_kl": "kl",
    "actor/pg_clipfrac": "clip_ratio",
    "actor/grad_norm": "gradient_norm",
    "actor/lr": "learning_rate",
    "critic/vf_explained_var": "explained_variance",
}
_SCORES: Final = ("critic/score/mean", "critic/score/min", "critic/score/max", "response_length/mean")
_STALENESS: Final = "training/off_policy/trajectory_staleness/"


def wrap_trainer(module: ModuleType) -> None:
    """Record the controller from its constructor, in which models are not loaded yet, to the end of `fit`."""
    for name in ("PPOTrainer", "RayPPOTrainer"):
        trainer = vars(module).get(name)
        if getattr(trainer, "__module__", None) != module.__name__:
            continue
        wrap_method(trainer, "__init__", _starting_driver)
        wrap_method(trainer, "fit", _driving)


def _starting_driver(constructor: Any) -> Any:
    @functools.wraps(constructor)
    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        constructor(self, *args, **kwargs)
        _start_driver(self.config)

    return construct


@harmless
def _start_driver(config: Any) -> None:
    if Process.driver is None:
        Process.driver = DriverMonitor(
            identity.checked_run(None) or str(config.trainer.experiment_name)[: identity.LONGEST_RUN],
            engine="verl",
            algorithm=str(config.algorithm.adv_estimator).upper(),
            sampler=str(config.actor_rollout_ref.rollout.name),
            environment=PurePath(str(config.actor_rollout_ref.model.path)).name,
        )


def _driving(fit: Any) -> Any:
    @functools.wraps(fit)
    def driven(*args: Any, **kwargs: Any) -> Any:
        state = "failed"
        try:
            result = fit(*args, **kwargs)
            state = "finished"
        except KeyboardInterrupt:
            state = "stopped"
            raise
        finally:
            driver, Process.driver = Process.driver, None
            if driver is not None:
                driver.state(state)
                driver.close()
        return result

    return driven


def wrap_profiler(module: ModuleType) -> None:
    """Record what `marked_timer` times in the controller."""
    marked_timer = module.marked_timer

    @functools.wraps(marked_timer)
    @contextlib.contextmanager
    def timing(name: str, *args: Any, **kwargs: Any) -> Iterator[None]:
        began = time.perf_counter()
        with _driver_time(name), marked_timer(name, *args, **kwargs):
            yield
        if name == "update_weights" and Process.driver is not None:
            Process.driver.weights_synced(time.perf_counter() - began)

    # In both places, so that it pickles by reference to verl's own name.
    module.marked_timer = sys.modules[marked_timer.__module__].marked_timer = timing  # type: ignore[attr-defined]


@contextlib.contextmanager
def _driver_time(name: str) -> Iterator[None]:
    driver = Process.driver
    if driver is not None and name in ("step", "testing"):
        with driver.iteration() as iteration:
            if name == "testing":
                iteration.without_update()
            yield
    elif driver is not None and name in _TIMERS:
        with driver.phase(_TIMERS[name]):
            yield
    else:
        yield


def wrap_tracking(module: ModuleType) -> None:
    """Enter what verl hands to its trackers."""

    def wrap(log: Any) -> Any:
        @functools.wraps(log)
        def logging_too(self: Any, data: Any, step: Any, *args: Any, **kwargs: Any) -> Any:
            _enter(data, step)
            return log(self, data, step, *args, **kwargs)

        return logging_too

    wrap_method(module.Tracking, "log", wrap)


@harmless
def _enter(data: Mapping[str, Any], step: int) -> None:
    """Enter the metrics that verl logs after a step."""
    driver = Process.driver
    if driver is None or "training/global_step" not in data:
        return
    terms = {term: float(data[name]) for name, term in _TERMS.items() if name in data}
    driver.update(nonfinite=False, **terms)
    driver.policy_version(int(step))
    driver.trained(0, int(data.get("perf/total_num_tokens", 0)))
    mean, low, high, length = (float(data.get(name, math.nan)) for name in _SCORES)
    if math.isfinite(mean + low + high + length):
        driver.fleet_episodes(mean, low, high, length)
    for statistic in catalog.POLICY_LAG.values["statistic"]:
        if _STALENESS + statistic in data:
            driver.set(catalog.POLICY_LAG, max(0.0, float(data[_STALENESS + statistic])), statistic=statistic)


def wrap_advantages(module: ModuleType) -> None:
    """Count groups where advantages are estimated from them."""
    for name, estimate in list(module.ADV_ESTIMATOR_REGISTRY.items()):
        if "index" in inspect.signature(estimate).parameters:
            counting = _counting_groups(estimate)
            module.ADV_ESTIMATOR_REGISTRY[name] = counting
            setattr(module, estimate.__name__, counting)


def _counting_groups(estimate: Any) -> Any:
    @functools.wraps(estimate)
    def counting(*args: Any, **kwargs: Any) -> Any:
        _count_groups(**kwargs)
        return estimate(*args, **kwargs)

    return counting


@harmless
def _count_groups(token_level_rewards: Any, index: Sequence[Any], **_: Any) -> None:
    if Process.driver is not None:
        groups: dict[Any, list[float]] = defaultdict(list)
        for group, reward in zip(index, token_level_rewards.sum(-1).tolist(), strict=True):
            groups[group].append(reward)
        equal = sum(len(rewards) > 1 and min(rewards) == max(rewards) for rewards in groups.values())
        Process.driver.groups(len(groups), without_signal=equal)
