"""The training loop: collect fragments, learn from them, report; the same for every sampler. Runs in the driver."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

import raymon
from raymon.ppo.fragment_ledger import FragmentLedger
from raymon.ppo.fragments import Fragment
from raymon.ppo.learner import Learner, Update, pick_device
from raymon.ppo.normalize import Normalizer
from raymon.ppo.phases import Phases
from raymon.ppo.policy import ModelSpec, initial_weights
from raymon.ppo.pool import WorkerPool
from raymon.ppo.samplers import POLL_SECONDS, PolicySnapshot, Sampler
from raymon.train import checkpoint, option_files
from raymon.train.checkpoint import Checkpoint
from raymon.train.console import Screen
from raymon.train.driver_faults import DriverFaults
from raymon.train.options import Config
from raymon.train.progress import Progress
from raymon.train.records import RunDirectory
from raymon.train.sampling import Sampling

_FLUSH_SECONDS = 1.0
_DRAIN_SECONDS = 3.0
_EXPORTED_SECONDS = 15.0
"""After this long Ray has exported what was recorded, whatever its report interval."""


@dataclass
class Setup:
    """What a training loop works with.

    Attributes:
        stopping: Returns whether the user asked to stop.
        resumed: The checkpoint to continue from.
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

    def __init__(self, setup: Setup) -> None:
        config = setup.config
        self._setup, self._config, self._directory, self._screen = setup, config, setup.directory, setup.screen
        self.monitor = raymon.DriverMonitor(
            config.name,
            engine="own",
            algorithm="PPO",
            sampler=config.sampler,
            environment=config.env,
            workers=config.workers,
            enabled=config.recording and config.workers > 0,
        )
        self.ledger = FragmentLedger(self.monitor)
        self.phases = Phases(self.monitor)
        self.progress = Progress(config.max_env_steps, config.max_seconds)
        self.normalizer = Normalizer.fresh(
            setup.model.observation_size, config.normalize_observations, config.normalize_rewards
        )
        weights = initial_weights(setup.model, np.random.default_rng([config.seed, 0]))
        self.learner = Learner(config, setup.model, weights, pick_device(config.device))
        self._faults = DriverFaults(config.faults, self.monitor)
        self._life = 0
        if setup.resumed is not None:
            self._restore(setup.resumed)
        self._pool: WorkerPool | None = None
        self._flushed = 0.0
        self._sampler: Sampler | None = None
        self._lap: dict[str, float] = {}
        self._ended_at = 0.0
        self.first_update_seconds: float | None = None

    def _restore(self, saved: Checkpoint) -> None:
        self.learner.restore(saved.arrays, saved.rng)
        self.normalizer = saved.normalizer
        self.progress.restore(saved.counters)
        self._life = int(saved.counters["life"]) + 1

    def run(self) -> dict[str, Any]:
        """Train until a limit, the target return or a request to stop; return the summary.

        Raises:
            PoolError: Every worker was given up; the records are complete nevertheless.
        """
        self.monitor.state("starting")
        self.monitor.progress(self.progress.env_steps, self.progress.target())
        self._save()
        self.progress.began = time.perf_counter()
        config, model, stopping = self._config, self._setup.model, self._setup.stopping
        sampling = Sampling(config, model, self._life, self.progress.began, self.ledger, self.phases, stopping)
        self._sampler, self._pool = sampling.start()
        state = "failed"
        try:
            self._await_worker()
            self._loop(self._sampler)
            state = "finished" if self._reached() else "stopped"
        except KeyboardInterrupt:
            state = "stopped"
            raise
        finally:
            self._finish(state)
        return self.summary(state)

    def _await_worker(self) -> None:
        """Wait for the first worker: training begins, and its clock starts, when a worker can sample."""
        while self._pool is not None and not self._pool.up() and not self._setup.stopping():
            self._pool.wait(POLL_SECONDS)
            self._print_notices()
        self._setup.on_first_worker()
        self.progress.began = time.perf_counter()

    def _loop(self, sampler: Sampler) -> None:
        self.phases.begin()
        while not (self._reached() or self._setup.stopping()):
            with self.monitor.iteration() as iteration:
                fragments = sampler.collect(self._snapshot())
                if not fragments:
                    iteration.without_update()
                    break
                self._report(self._learn(fragments))
        self.phases.lap()  # what the row of the last update could not hold

    def _reached(self) -> bool:
        return self.progress.remaining() <= 0 or self.progress.solved(self._config.stop_at_return)

    def _snapshot(self) -> PolicySnapshot:
        with self.phases("weights"):
            return PolicySnapshot(self.learner.weights(), self.progress.update, self.normalizer.scaling())

    def _learn(self, fragments: list[Fragment]) -> Update:
        with self.phases("learn"):
            self._faults.before(self.learner, self.progress.seconds())
            began = time.perf_counter()
            update = self.learner.update(fragments, self.progress.remaining())
            self._faults.after(time.perf_counter() - began, self.progress.seconds())
        self.ledger.train(fragments, self.progress.update)
        for fragment in fragments:
            self.normalizer.add(fragment.seen, fragment.rewards_seen)
            self.progress.ended(fragment.returns.tolist(), fragment.lengths.tolist())
        self.progress.trained(sum(fragment.env_steps for fragment in fragments))
        self.progress.nonfinite_updates += update.nonfinite
        if self.first_update_seconds is None:
            self.first_update_seconds = time.perf_counter() - self.progress.began
            self.monitor.state("training")
            self._setup.on_first_update()
        return update

    def _report(self, update: Update) -> None:
        with self.phases("log"):
            _publish(self.monitor, update)
            self.monitor.policy_version(self.progress.update)
            self.monitor.progress(self.progress.env_steps, self.progress.target())
            self._print_notices()
            up, workers = self._workers()
            self._screen.update(self.progress, self._lap, up, workers, self.ledger)
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

    def _print_notices(self) -> None:
        while self._pool is not None and self._pool.notices:
            self._screen.say(self._pool.notices.pop(0))

    def _workers(self) -> tuple[int, int]:
        """Return how many workers are up and how many there should be."""
        return (1, 1) if self._pool is None else (self._pool.up(), self._config.workers)

    def _row(self, update: Update, seconds: dict[str, float]) -> dict[str, Any]:
        progress = self.progress
        lengths = progress.lengths
        return {
            **progress.row(),
            "return_mean": progress.return_mean(),
            "episode_length_mean": sum(lengths) / len(lengths) if lengths else None,
            "episodes": progress.episodes,
            "loss": update.losses,
            **_figures(update),
            "nonfinite": update.nonfinite,
            "phase_seconds": seconds,
        }

    def _save(self) -> None:
        arrays, rng = self.learner.state()
        counters = {**self.progress.counters(), "life": self._life}
        plain = option_files.as_plain(self._config)
        saved = Checkpoint(plain, self._setup.model, arrays, self.normalizer, rng, counters)
        saved.save(self._directory.path / checkpoint.FILE_NAME)

    def _finish(self, state: str) -> None:
        sampler = self._sampler
        if sampler is not None:
            with contextlib.suppress(Exception):  # the run's own error must not be hidden by one of the clean-up
                sampler.drain(_DRAIN_SECONDS)
        self.ledger.close()
        self.monitor.progress(self.progress.env_steps, self.progress.target())
        self.monitor.state(state)
        self._ended_at = time.perf_counter()
        with contextlib.ExitStack() as exits:  # from the last to the first, each whether or not the others fail
            exits.callback(self._directory.close)  # so that it can be resumed while the page stays up
            exits.callback(self.monitor.flush)
            exits.callback(self._directory.summarize, self.summary(state))
            exits.callback(self._save)
            exits.callback(self._directory.sync)
        self._print_notices()
        self._screen.draw(self.progress, *self._workers(), self.ledger)

    def end(self) -> None:
        """End workers and recording, once Ray has exported how the run ended."""
        if self._sampler is not None:
            self._sampler.end(_DRAIN_SECONDS)
        self.monitor.close(wait=time.perf_counter() - self._ended_at < _EXPORTED_SECONDS)
        self._directory.close()

    def summary(self, state: str) -> dict[str, Any]:
        """Return the results of the run for `summary.json`."""
        progress = self.progress
        return {
            "run": self._config.name,
            "environment": self._config.env,
            "sampler": self._config.sampler,
            "seed": self._config.seed,
            "state": state,
            **progress.totals(),
            "return_mean": progress.return_mean(),
            "episodes": progress.episodes,
            "nonfinite_updates": progress.nonfinite_updates,
            "ledger": self.ledger.as_plain(),
            "phase_seconds": self.phases.totals,
            "first_update_seconds": self.first_update_seconds,
        }


_FIGURES: Final = ("kl", "entropy", "clip_ratio", "explained_variance", "gradient_norm", "learning_rate")


def _figures(update: Update) -> dict[str, float]:
    return {name: getattr(update, name) for name in _FIGURES}


def _publish(monitor: raymon.DriverMonitor, update: Update) -> None:
    """Record an update's numbers; those that an aborted update does not have keep their value."""
    numbers = {
        "policy_loss": update.losses["policy"],
        "value_loss": update.losses["value"],
        "entropy_loss": update.losses["entropy"],
        "loss": update.losses["total"],
        **_figures(update),
    }
    known = {name: number for name, number in numbers.items() if math.isfinite(number)}
    monitor.update(**known, nonfinite=update.nonfinite)
