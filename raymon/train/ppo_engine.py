"""The training loop: collect fragments, learn from them, report; the same for every sampler. Runs in the driver."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import raymon
from raymon.ppo.fleet import Fleet
from raymon.ppo.fragments import Discounts, Fragment
from raymon.ppo.learner import Learner, Update, pick_device
from raymon.ppo.ledger import Ledger
from raymon.ppo.normalize import Normalizer
from raymon.ppo.phases import Phases
from raymon.ppo.policy import ModelSpec, initial_weights
from raymon.ppo.rollouts import Rollouts
from raymon.ppo.samplers import POLL_SECONDS, AsyncSampler, LocalSampler, Sampler, Snapshot, SyncSampler
from raymon.ppo.spaces import Floats
from raymon.ppo.worker import Worker, WorkerSpec
from raymon.train import checkpoint
from raymon.train import config as configuration
from raymon.train.checkpoint import Checkpoint
from raymon.train.config import Config
from raymon.train.console import Screen
from raymon.train.driver_faults import DriverFaults
from raymon.train.progress import Progress
from raymon.train.run_directory import RunDirectory

_FLUSH_SECONDS = 1.0
_DRAIN_SECONDS = 3.0


@dataclass
class Parts:
    """What a run consists of besides its loop.

    Attributes:
        stopping: Tells whether the run was asked to stop.
        resumed: The checkpoint it goes on from.
        on_first_worker: Called once, when a worker can sample.
        on_first_update: Called once, when the first update is done.
    """

    config: Config
    model: ModelSpec
    directory: RunDirectory
    screen: Screen
    stopping: Callable[[], bool]
    resumed: Checkpoint | None = None
    on_first_worker: Callable[[], None] = lambda: None
    on_first_update: Callable[[], None] = lambda: None


class Trainer:
    """One run of raymon's own PPO."""

    def __init__(self, parts: Parts) -> None:
        config = parts.config
        self._parts, self._config, self._directory, self._screen = parts, config, parts.directory, parts.screen
        self.monitor = raymon.DriverMonitor(
            config.name,
            engine="own",
            algorithm="PPO",
            sampler=config.sampler,
            environment=config.env,
            workers=config.workers,
            enabled=config.recording and config.workers > 0,
        )
        self.ledger = Ledger(self.monitor)
        self.phases = Phases(self.monitor)
        self.progress = Progress(config.total_env_steps)
        self.normalizer = Normalizer.fresh(
            parts.model.observation_size, config.normalize_observations, config.normalize_rewards
        )
        weights = initial_weights(parts.model, np.random.default_rng([config.seed, 0]))
        self.learner = Learner(config, parts.model, weights, pick_device(config.device))
        self._faults = DriverFaults(config.faults, self.monitor)
        self._life = 0
        if parts.resumed is not None:
            self._restore(parts.resumed)
        self._fleet: Fleet | None = None
        self._flushed = 0.0
        self._sampler: Sampler | None = None
        self.first_update_seconds: float | None = None

    def _restore(self, saved: Checkpoint) -> None:
        self.learner.restore(saved.arrays, saved.rng)
        self.normalizer = saved.normalizer
        self.progress.restore(saved.counters)
        self._life = int(saved.counters["life"]) + 1

    def run(self) -> dict[str, Any]:
        """Train until the target, the wanted return or a stop request; return the summary.

        Raises:
            FleetError: Every worker was given up; the records are complete nevertheless.
        """
        self.monitor.state("starting")
        self.monitor.progress(self.progress.env_steps, self._config.total_env_steps)
        self._save()
        self.progress.began = time.perf_counter()
        self._sampler = self._make_sampler()
        state = "failed"
        try:
            self._await_worker()
            self._loop(self._sampler)
            state = "finished"
        finally:
            self._finish(state)
        return self.summary(state)

    def _await_worker(self) -> None:
        """Wait for the first worker: training begins, and its clock starts, when somebody can sample."""
        while self._fleet is not None and not self._fleet.up() and not self._parts.stopping():
            self._fleet.wait(POLL_SECONDS)
        self._parts.on_first_worker()
        self.progress.began = time.perf_counter()

    def _loop(self, sampler: Sampler) -> None:
        self.phases.begin()
        while not self._ended():
            with self.monitor.iteration() as iteration:
                fragments = sampler.collect(self._snapshot())
                if not fragments:
                    iteration.without_update()
                    break
                self._learn(fragments)
                self._report()
        self.phases.lap()  # of the last update: what its row could not hold

    def _ended(self) -> bool:
        done = self.progress.env_steps >= self.progress.target or self.progress.solved(self._config.stop_at_return)
        return done or self._parts.stopping()

    def _snapshot(self) -> Snapshot:
        with self.phases("weights"):
            return Snapshot(self.learner.weights(), self.progress.update, self.normalizer.scaling())

    def _learn(self, fragments: list[Fragment]) -> None:
        with self.phases("learn"):
            self._faults.before(self.learner, self.progress.seconds())
            began = time.perf_counter()
            self._last = self.learner.update(fragments, self.progress.remaining())
            self._faults.after(time.perf_counter() - began, self.progress.seconds())
        self.ledger.train(fragments, self.progress.update)
        for fragment in fragments:
            self.normalizer.add(fragment.seen, fragment.rewards_seen)
            self.progress.ended(fragment.returns.tolist(), fragment.lengths.tolist())
        self.progress.trained(sum(fragment.env_steps for fragment in fragments))
        self.progress.nonfinite_updates += self._last.nonfinite
        if self.first_update_seconds is None:
            self.first_update_seconds = time.perf_counter() - self.progress.began
            self.monitor.state("training")
            self._parts.on_first_update()

    def _report(self) -> None:
        update = self._last
        with self.phases("log"):
            _publish(self.monitor, update)
            self.monitor.policy_version(self.progress.update)
            self.monitor.progress(self.progress.env_steps, self.progress.target)
            self._screen_update()
        self._lap = self.phases.lap()
        self._directory.append(self._row(update, self._lap))
        now = time.perf_counter()
        if now - self._flushed > _FLUSH_SECONDS:
            self._flushed = now
            self._directory.flush()
            if (gpu := self.learner.gpu()) is not None:
                self.monitor.gpu(*gpu)
        every = self._config.checkpoint_every
        if every and self.progress.update % every == 0:
            with self.phases("checkpoint"):  # counted in the next update's row: this one's must be on its way first
                self._directory.sync()
                self._save()

    def _screen_update(self) -> None:
        if self._fleet is not None:
            while self._fleet.notices:
                self._screen.say(self._fleet.notices.pop(0))
        up = 1 if self._fleet is None else self._fleet.up()
        self._screen.update(self.progress, getattr(self, "_lap", {}), up, max(1, self._config.workers), self.ledger)

    def _row(self, update: Update, seconds: dict[str, float]) -> dict[str, Any]:
        progress = self.progress
        lengths = progress.lengths
        return {
            "update": progress.update,
            "env_steps": progress.env_steps,
            "time_seconds": progress.seconds(),
            "steps_per_second": progress.steps_per_second(),
            "return_mean": progress.return_mean(),
            "episode_length_mean": sum(lengths) / len(lengths) if lengths else None,
            "episodes": progress.episodes,
            "loss": update.losses,
            "kl": update.kl,
            "entropy": update.entropy,
            "clip_ratio": update.clip_ratio,
            "explained_variance": update.explained_variance,
            "gradient_norm": update.gradient_norm,
            "learning_rate": update.learning_rate,
            "nonfinite": update.nonfinite,
            "phase_seconds": seconds,
        }

    def _save(self) -> None:
        arrays, rng = self.learner.state()
        counters = {**self.progress.counters(), "life": self._life}
        plain = configuration.as_plain(self._config)
        saved = Checkpoint(plain, self._parts.model, arrays, self.normalizer, rng, counters)
        saved.save(self._directory.path / checkpoint.FILE_NAME)

    def _finish(self, state: str) -> None:
        sampler = self._sampler
        if sampler is not None:
            with contextlib.suppress(Exception):  # the run's own error, if any, must not be hidden by its clearing up
                sampler.drain(_DRAIN_SECONDS)
        self.ledger.close()
        self.monitor.progress(self.progress.env_steps, self.progress.target)
        self.monitor.state(state)
        with contextlib.ExitStack() as stack:  # from the last to the first, each whatever becomes of those before it
            stack.callback(self._directory.close)  # so that it can be resumed while the page stays up
            stack.callback(self.monitor.flush)
            stack.callback(self._directory.summarize, self.summary(state))
            stack.callback(self._save)
            stack.callback(self._directory.sync)
        self._screen_update()
        up = 1 if self._fleet is None else self._fleet.up()
        self._screen.draw(self.progress, up, max(1, self._config.workers), self.ledger)

    def end(self) -> None:
        """End the workers and the recording; the run is over."""
        if self._sampler is not None:
            self._sampler.end(_DRAIN_SECONDS)
        self.monitor.close()
        self._directory.close()

    def summary(self, state: str) -> dict[str, Any]:
        """Return what the run came to."""
        progress = self.progress
        return {
            "run": self._config.name,
            "environment": self._config.env,
            "sampler": self._config.sampler,
            "seed": self._config.seed,
            "state": state,
            "updates": progress.update,
            "env_steps": progress.env_steps,
            "time_seconds": progress.seconds(),
            "steps_per_second": progress.overall_rate(),
            "return_mean": progress.return_mean(),
            "episodes": progress.episodes,
            "nonfinite_updates": progress.nonfinite_updates,
            "ledger": self.ledger.as_plain(),
            "phase_seconds": self.phases.totals,
            "first_update_seconds": self.first_update_seconds,
        }

    def _make_sampler(self) -> Sampler:
        config, ledger, phases, stopping = self._config, self.ledger, self.phases, self._parts.stopping
        if config.workers == 0:
            return LocalSampler(Worker(self._worker_spec(0, self._life)), ledger, phases)
        if config.sampler == "step":
            from raymon.ppo.stepping import StepSampler, StepWorker

            self._fleet = self._make_fleet(StepWorker)
            return StepSampler(self._fleet, ledger, phases, stopping, config, self._parts.model, self._rollouts_of)
        self._fleet = self._make_fleet(Worker)
        if config.sampler == "sync":
            return SyncSampler(self._fleet, ledger, phases, stopping)
        return AsyncSampler(self._fleet, ledger, phases, stopping, config.batch_fragments, config.max_policy_lag)

    def _make_fleet(self, kind: type) -> Fleet:
        import ray

        remote = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(kind)
        config = self._config
        fleet = Fleet(
            lambda worker, life: remote.remote(self._worker_spec(worker, life)),
            config.workers,
            self.ledger,
            config.max_restarts,
            config.worker_timeout,
            config.start_timeout,
            self._life,
        )
        fleet.start()
        return fleet

    def _rollouts_of(self, worker: int, raw: Floats) -> Rollouts:
        return self._worker_spec(worker, self._life).rollouts(raw)

    def _worker_spec(self, worker: int, life: int) -> WorkerSpec:
        config = self._config
        return WorkerSpec(
            run=config.name,
            worker=worker,
            life=life,
            restarts=life - self._life,
            env=config.env,
            num_envs=1 if config.sampler == "step" else config.envs_per_worker,
            fragment_steps=config.fragment_steps,
            seed=config.seed,
            model=self._parts.model,
            discounts=Discounts(config.discount, config.gae_lambda),
            longest_seconds=config.worker_timeout / 4,
            normalize_observations=config.normalize_observations,
            normalize_rewards=config.normalize_rewards,
            step_threads=None if config.step_threads < 0 else config.step_threads,
            strict=config.sampler == "sync",
            recording=config.recording and config.workers > 0,
            faults=config.faults,
            elapsed_seconds=time.perf_counter() - self.progress.began,
        )


def _publish(monitor: raymon.DriverMonitor, update: Update) -> None:
    """Hand an update's numbers to the metrics; those of a broken-off update that are unknown are left as they were."""
    numbers = {
        "policy_loss": update.losses["policy"],
        "value_loss": update.losses["value"],
        "entropy_loss": update.losses["entropy"],
        "loss": update.losses["total"],
        "kl": update.kl,
        "entropy": update.entropy,
        "clip_ratio": update.clip_ratio,
        "explained_variance": update.explained_variance,
        "gradient_norm": update.gradient_norm,
        "learning_rate": update.learning_rate,
    }
    known = {name: number for name, number in numbers.items() if math.isfinite(number)}
    monitor.update(**known, nonfinite=update.nonfinite)
