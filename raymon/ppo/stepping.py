"""A sampler with one call per environment step: one actor per environment, the policy in the driver.

Most people write this pattern first. It is included, correct and measured, to show its cost: metrics count calls per
second, batch sizes and waiting time. Letters: T steps of a fragment, D observation, K action components.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raymon.ppo.actions import Floats
from raymon.ppo.fragment_ledger import FragmentLedger
from raymon.ppo.fragments import Discounts, Fragment, finish, unfinished
from raymon.ppo.hyperparameters import Hyperparameters
from raymon.ppo.normalize import Scaling
from raymon.ppo.phases import Phases
from raymon.ppo.policy import ModelSpec, Policy
from raymon.ppo.pool import Slot, WorkerPool
from raymon.ppo.rollouts import Rollouts
from raymon.ppo.samplers import POLL_SECONDS, PolicySnapshot, PoolSampler
from raymon.ppo.worker import EnvironmentActor


class Transition(NamedTuple):
    """The result of one step of one environment; after a reset only the observation `[1, D]` is valid."""

    observation: Floats
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False


class StepWorker(EnvironmentActor):
    """A worker with one environment and without a policy."""

    def start(self) -> None:
        """Make the environment."""
        super().start()
        spec = self._spec
        self._to_environment = spec.model.actions.to_environment
        self._steps_of_rollout = spec.fragment_steps
        self._steps = 0
        self._rollout: Any = None
        self._return, self._length, self._was_done = 0.0, 0, False
        self._left = time.perf_counter()

    def reset(self) -> Transition:
        """Begin an episode."""
        observation, _ = self._environments.reset()
        self._left = time.perf_counter()
        return Transition(observation)

    def step(self, action: NDArray[Any], version: int) -> Transition:
        """Take one step with the action `[1, K]` that the policy `version` chose."""
        monitor, began = self._monitor, time.perf_counter()
        if self._rollout is None:
            self._rollout = monitor.rollout()
            self._rollout.__enter__()
            monitor.policy_version(version)
        else:
            monitor.add_phase("waiting", began - self._left)
        monitor.activity("environment")
        observation, reward, terminated, truncated, _ = self._environments.step(self._to_environment(action))
        monitor.add_phase("environment", time.perf_counter() - began)
        self._count(float(reward[0]), bool(terminated[0]) or bool(truncated[0]))
        self._steps += 1
        monitor.activity("waiting")
        if self._steps == self._steps_of_rollout:
            self._rollout.__exit__(None, None, None)
            self._rollout, self._steps = None, 0
        self._left = time.perf_counter()
        return Transition(observation, float(reward[0]), bool(terminated[0]), bool(truncated[0]))

    def _count(self, reward: float, done: bool) -> None:
        if not self._was_done:  # the step after an episode's end is a reset
            self._monitor.steps(1)
            self._return += reward
            self._length += 1
        self._was_done = done
        if done:
            self._monitor.episode(self._return, self._length)
            self._return, self._length = 0.0, 0


@dataclass
class _Column:
    """The fragment one worker is filling.

    Attributes:
        rollouts: Arrays `[T, 1]`; None until the first observation has come.
        log_probabilities: `[T, 1]`, of the actions under the policy that chose them.
        t: Steps taken of it.
        version: Of the policy at its start.
        actor: The actor that took these steps; it changes when a worker is replaced.
        awaits_action: Whether the worker awaits an action.
    """

    log_probabilities: Floats
    rollouts: Rollouts | None = None
    t: int = 0
    version: int = 0
    began: float = 0.0
    actor: Any = None
    awaits_action: bool = False


class StepSampler(PoolSampler):
    """Steps every environment through its actor and answers as soon as `wait_for` of them are ready."""

    def __init__(
        self,
        pool: WorkerPool,
        ledger: FragmentLedger,
        phases: Phases,
        stopping: Callable[[], bool],
        config: Hyperparameters,
        model: ModelSpec,
        rollouts_of: Callable[[int, Floats], Rollouts],
    ) -> None:
        super().__init__(pool, ledger, phases, stopping)
        self._config, self._model, self._rollouts_of = config, model, rollouts_of
        self._discounts = Discounts(config.discount, config.gae_lambda)
        self._policy = Policy(model)
        self._rng = np.random.default_rng([config.seed, 3])
        self._columns = [_Column(np.zeros((config.fragment_steps, 1), np.float32)) for _ in range(config.workers)]

    def collect(self, policy: PolicySnapshot) -> list[Fragment]:
        """Step until enough fragments are full."""
        self._policy.load(policy.weights)
        while not self._stopping():
            self._ledger.drop_stale(policy.version, self._config.max_policy_lag)
            if len(self._ledger.waiting) >= self._config.batch_fragments:
                return self._ledger.take(self._config.batch_fragments)
            self._answer(policy)
            self._step(policy)
        return []

    def _answer(self, policy: PolicySnapshot) -> None:
        """Compute the actions of every worker that awaits one, in one batch, and send them."""
        idle = self._pool.idle()
        for slot in idle:
            column = self._columns[slot.worker]
            if column.actor is not slot.actor:
                self._give_up(slot.worker, "lost")
                column.actor, column.awaits_action = slot.actor, False
                self._pool.call(slot, "reset")
        asking = [slot for slot in idle if self._columns[slot.worker].awaits_action]
        if not asking:
            return
        with self._phases.brief("inference"):
            heads, actions, log_probabilities = self._choose([self._columns[slot.worker] for slot in asking])
        with self._phases.brief("weights"):
            for row, slot in enumerate(asking):
                column = self._columns[slot.worker]
                rollouts = _rollouts(column)
                if not column.t:
                    column.version, column.began = policy.version, time.perf_counter()
                rollouts.heads[column.t, 0], rollouts.actions[column.t, 0] = heads[row], actions[row]
                column.log_probabilities[column.t, 0] = log_probabilities[row]
                column.awaits_action = False
                self._pool.call(slot, "step", actions[row : row + 1], policy.version)

    def _choose(self, columns: list[_Column]) -> tuple[Floats, NDArray[Any], Floats]:
        observations = np.concatenate([_rollouts(column).observations[column.t] for column in columns])
        heads = np.empty((len(columns), self._model.head_size), np.float32)
        self._policy.head(observations, heads)
        self._ledger.monitor.inference(1, len(columns))
        actions = self._policy.choose(heads, self._policy.noise(self._rng, (len(columns),)))
        return heads, actions, self._policy.log_probability(heads, actions)

    def _step(self, policy: PolicySnapshot) -> None:
        with self._phases("sample"):
            answered = self._pool.wait(POLL_SECONDS, least=self._config.wait_for)
        for slot in answered:
            with self._phases.brief("transfer"):
                transition = self._pool.fetch(slot)
            if transition is not None:
                self._enter(slot, transition, policy.scaling)

    def _enter(self, slot: Slot, transition: Transition, scaling: Scaling | None) -> None:
        """Store a worker's answer in its column; a full column is a fragment."""
        column = self._columns[slot.worker]
        column.awaits_action = True
        if column.rollouts is None:
            column.rollouts, column.t = self._rollouts_of(slot.worker, transition.observation), 0
            column.rollouts.put(0, transition.observation, scaling)
            return
        rollouts, t = column.rollouts, column.t
        rollouts.rewards[t], rollouts.terminated[t] = transition.reward, transition.terminated
        rollouts.done[t] = transition.terminated or transition.truncated
        rollouts.put(t + 1, transition.observation, scaling)
        column.t += 1
        if column.t == self._config.fragment_steps:
            seconds = time.perf_counter() - column.began
            with self._phases.brief("inference"):
                steps = rollouts.end(column.t)
                steps.log_probabilities = column.log_probabilities
                full = finish(steps, self._policy, self._discounts, scaling, slot.worker, column.version)
                self._ledger.receive(full._replace(seconds=seconds))
            rollouts.put(0, transition.observation, scaling)
            column.t = 0

    def _take_in(self, seconds: float) -> None:
        for slot in self._pool.wait(seconds):
            if (transition := self._pool.fetch(slot)) is not None:
                self._enter(slot, transition, None)

    def _give_up(self, worker: int, reason: str) -> None:
        """Count the steps of a fragment that will never be complete."""
        column = self._columns[worker]
        if column.rollouts is not None and column.t:
            steps = column.rollouts.steps(column.t)
            self._ledger.lose(unfinished(steps, column.t, worker, column.version), reason)
        column.rollouts, column.t = None, 0

    def drain(self, seconds: float) -> None:
        """Receive the running steps and count those of unfinished fragments."""
        super().drain(seconds)
        for worker in range(len(self._columns)):
            self._give_up(worker, "shutdown")


def _rollouts(column: _Column) -> Rollouts:
    if column.rollouts is None:
        raise RuntimeError("a worker was asked for a step before its first observation came")
    return column.rollouts
