"""The sampling worker: environments and policy in one object, in an actor or in the driver's process.

Imported in every worker, so it must not import torch. Letters: T steps, N environments, D observation, B environments
that are ready.
"""

import os
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import raymon
from raymon.envs import FragmentCollector, SampledFragment, ThreadedVector, Vector, make_vector
from raymon.ppo.actions import Floats
from raymon.ppo.faults import Fault, of_worker, with_faults
from raymon.ppo.fragments import Discounts, Fragment, Steps, finish
from raymon.ppo.normalize import Scaling
from raymon.ppo.policy import ModelSpec, Policy
from raymon.ppo.rollouts import Rollouts, discounted_returns

_STEPS_SECONDS: Final = 0.05
"""Interval of counting steps within a rollout: shorter than that of export, longer than a step."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """The configuration of a worker.

    Attributes:
        life: How often this worker was started before, in this run and those it resumes.
        restarts: How often it was started before in this process of the run; for injected faults.
        longest_seconds: A rollout that takes longer ends after fewer steps, so that the driver gets a reply.
        strict: Every environment contributes the same number of steps to a fragment, all with one policy version.
        step_threads: Threads that step the environments; None decides by timing a few steps.
        step_timeout: Seconds after which a step in a thread counts as hung.
        elapsed_seconds: Seconds since training began, for injected faults.
    """

    run: str
    worker: int
    life: int
    restarts: int
    env: str
    num_envs: int
    fragment_steps: int
    seed: int
    model: ModelSpec
    discounts: Discounts
    longest_seconds: float = 15.0
    strict: bool = False
    normalize_observations: bool = False
    normalize_rewards: bool = False
    step_threads: int | None = None
    step_timeout: float = 60.0
    recording: bool = True
    faults: tuple[Fault, ...] = ()
    elapsed_seconds: float = 0.0

    def life_seed(self) -> int:
        """Return the seed of this life: the run's own seed at first, another one after each restart."""
        if not self.life:
            return self.seed
        return int(np.random.SeedSequence([self.seed, self.life]).generate_state(1)[0])

    def make_environments(self) -> Vector | ThreadedVector:
        """Make this worker's environments, with injected faults if there are any."""
        vector = make_vector(
            self.env,
            self.num_envs,
            seed=self.life_seed(),
            worker=self.worker,
            step_threads=self.step_threads,
            step_timeout=self.step_timeout,
        )
        return with_faults(
            vector, of_worker(self.faults, self.worker, self.restarts, self.elapsed_seconds), self.elapsed_seconds
        )

    def rollouts(self, raw: Floats) -> Rollouts:
        """Make the arrays for environments whose first observations are `raw`."""
        discount = self.discounts.discount if self.normalize_rewards else None
        return Rollouts(self.model, self.fragment_steps, raw, self.normalize_observations, discount)


def placement() -> tuple[str, int]:
    """Return node and process id of this actor."""
    import ray  # not needed without Ray

    return ray.get_runtime_context().get_node_id(), os.getpid()


class EnvironmentActor:
    """The environments and the monitor of one worker; `start` must be called before other methods."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec

    def placed(self) -> tuple[str, int]:
        """Return node and process id of the actor; called first, because it is quick."""
        return placement()

    def start(self) -> None:
        """Make the environments."""
        spec = self._spec
        self._monitor = raymon.Monitor(worker=spec.worker, run=spec.run, enabled=spec.recording)
        self._environments = spec.make_environments()

    def close(self) -> None:
        """Flush the last counts and close the environments."""
        self._environments.close()
        self._monitor.close()


class Worker(EnvironmentActor):
    """A worker that holds the policy too; during training only `sample` is called."""

    def start(self) -> None:
        """Make the environments and the policy."""
        super().start()
        spec = self._spec
        self._policy = Policy(spec.model)
        rng = np.random.default_rng([spec.life_seed(), spec.worker, 1])
        if isinstance(self._environments, ThreadedVector):
            self._loop: _LockStepLoop | _ThreadedLoop = _ThreadedLoop(
                spec, self._environments, self._policy, self._monitor, rng
            )
        else:
            self._loop = _LockStepLoop(spec, self._environments, self._policy, self._monitor, rng)

    def sample(self, weights: Floats, version: int, scaling: Scaling | None) -> Fragment:
        """Take T steps in each environment with a policy and return the fragment."""
        began, monitor = time.perf_counter(), self._monitor
        self._policy.load(weights)
        monitor.policy_version(version)
        with monitor.rollout():
            steps, environment_seconds, oldest = self._loop.collect(version, scaling)
            fragment = finish(steps, self._policy, self._spec.discounts, scaling, self._spec.worker, oldest)
            total = time.perf_counter() - began
            monitor.add_phase("environment", environment_seconds)
            monitor.add_phase("inference", total - environment_seconds)
            monitor.episodes(fragment.returns.tolist())
        return fragment._replace(seconds=total)


class _LockStepLoop:
    """Steps all environments together, for steps of microseconds."""

    def __init__(
        self, spec: WorkerSpec, vector: Vector, policy: Policy, monitor: raymon.Monitor, rng: np.random.Generator
    ) -> None:
        self._spec, self._vector, self._policy, self._monitor, self._rng = spec, vector, policy, monitor, rng
        self._rollouts = spec.rollouts(vector.reset()[0])

    def collect(self, version: int, scaling: Scaling | None) -> tuple[Steps, float, int]:
        """Take the steps of one rollout; return them, the seconds spent in the environments, and the version."""
        rollouts, policy, monitor, vector = self._rollouts, self._policy, self._monitor, self._vector
        to_environment = self._spec.model.actions.to_environment
        length, count = rollouts.rewards.shape
        noise = policy.noise(self._rng, (length, count))
        raw, resets, seconds = rollouts.last_raw, int(rollouts.last_done.sum()), 0.0
        rollouts.put(0, raw, scaling)
        taken, due = 0, time.perf_counter() + _STEPS_SECONDS
        deadline = due + self._spec.longest_seconds
        for t in range(length):
            monitor.activity("inference")
            head = policy.head(rollouts.observations[t], rollouts.heads[t])
            actions = policy.choose(head, noise[t])
            rollouts.actions[t] = actions
            monitor.activity("environment")
            began = time.perf_counter()
            raw, rewards, terminated, truncated, _ = vector.step(to_environment(actions))
            ended = time.perf_counter()
            seconds += ended - began
            taken += count - resets
            if ended > due:
                monitor.steps(taken)
                taken, due = 0, ended + _STEPS_SECONDS
            rollouts.rewards[t] = rewards
            rollouts.terminated[t] = terminated
            resets = int(np.count_nonzero(np.logical_or(terminated, truncated, out=rollouts.done[t])))
            rollouts.put(t + 1, raw, scaling)
            if ended > deadline:
                break
        rollouts.last_raw = raw
        if taken:
            monitor.steps(taken)
        monitor.activity("inference")
        return rollouts.end(t + 1), seconds, version


class _ThreadedLoop:
    """Steps every environment in a thread at its own pace, for steps of milliseconds that mostly wait."""

    def __init__(
        self,
        spec: WorkerSpec,
        vector: ThreadedVector,
        policy: Policy,
        monitor: raymon.Monitor,
        rng: np.random.Generator,
    ) -> None:
        self._spec, self._policy, self._monitor, self._rng = spec, policy, monitor, rng
        self._collector = FragmentCollector(vector, spec.fragment_steps, strict=spec.strict)
        self._discounted = np.zeros((vector.num_envs, 1))

    def collect(self, version: int, scaling: Scaling | None) -> tuple[Steps, float, int]:
        """Collect one rollout; return its steps, the seconds spent waiting for environments, and its version."""
        policy, monitor, actions_of = self._policy, self._monitor, self._spec.model.actions
        length, count = self._spec.fragment_steps, len(self._discounted)
        # One draw for all rows makes a strict fragment independent of the order of answers; else a row may be
        # needed twice.
        noise = policy.noise(self._rng, (length, count)) if self._spec.strict else None

        def act(raw: Floats, steps: NDArray[Any], numbers: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Floats]]:
            monitor.activity("inference")
            seen = raw if scaling is None else scaling.apply(raw)
            heads = policy.head(seen, np.empty((len(raw), self._spec.model.head_size), np.float32))
            drawn = policy.noise(self._rng, (len(raw),)) if noise is None else noise[steps, numbers]
            actions = policy.choose(heads, drawn)
            log_probabilities = policy.log_probability(heads, actions)
            monitor.activity("environment")
            said = {"seen": seen, "heads": heads, "actions": actions, "log_probabilities": log_probabilities}
            return actions_of.to_environment(actions), said

        sampled = self._collector.collect(act, version, monitor.steps)
        monitor.activity("inference")
        return self._steps(sampled, scaling), sampled.environment_seconds, sampled.version

    def _steps(self, sampled: SampledFragment, scaling: Scaling | None) -> Steps:
        last = sampled.last_observations if scaling is None else scaling.apply(sampled.last_observations)
        discounted = None
        if self._spec.normalize_rewards:
            discounted = np.empty_like(sampled.rewards)
            for column, number in enumerate(sampled.environments):
                one = slice(column, column + 1)
                self._discounted[number] = discounted_returns(
                    sampled.rewards[:, one],
                    sampled.valid[:, one],
                    self._spec.discounts.discount,
                    self._discounted[number],
                    discounted[:, one],
                )
        return Steps(
            np.concatenate([sampled.extras["seen"], last[None]]),
            sampled.extras["heads"],
            sampled.extras["actions"],
            sampled.rewards,
            sampled.terminated,
            sampled.terminated | sampled.truncated,
            sampled.valid,
            sampled.observations if self._spec.normalize_observations else None,
            discounted,
            np.array(sampled.returns, np.float32),
            np.array(sampled.lengths, np.int32),
            sampled.extras["log_probabilities"],
        )
