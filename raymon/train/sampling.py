"""How a run samples: its sampler, the pool of workers behind it, and what each worker is started with."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from raymon.ppo.actions import Floats
from raymon.ppo.fragment_ledger import FragmentLedger
from raymon.ppo.fragments import Discounts
from raymon.ppo.phases import Phases
from raymon.ppo.policy import ModelSpec
from raymon.ppo.pool import WorkerPool
from raymon.ppo.rollouts import Rollouts
from raymon.ppo.samplers import AsyncSampler, LocalSampler, Sampler, SyncSampler
from raymon.ppo.worker import Worker, WorkerSpec
from raymon.train.options import Config


@dataclass(frozen=True, slots=True)
class Sampling:
    """What the sampler of a run and its workers are made of.

    Attributes:
        life: The life of the first workers; a resumed run counts on from its checkpoint.
        began: When the run began, as `time.perf_counter` says.
        stopping: Returns whether the user asked to stop.
    """

    config: Config
    model: ModelSpec
    life: int
    began: float
    ledger: FragmentLedger
    phases: Phases
    stopping: Callable[[], bool]

    def start(self) -> tuple[Sampler, WorkerPool | None]:
        """Start the workers; return the sampler, and their pool unless the driver samples by itself."""
        config, ledger, phases, stopping = self.config, self.ledger, self.phases, self.stopping
        if config.workers == 0:
            return LocalSampler(Worker(self._worker_spec(0, self.life)), ledger, phases), None
        if config.sampler == "step":
            from raymon.ppo.stepping import StepSampler, StepWorker

            pool = self._start_pool(StepWorker)
            return StepSampler(pool, ledger, phases, stopping, config, self.model, self._rollouts_of), pool
        pool = self._start_pool(Worker)
        if config.sampler == "sync":
            return SyncSampler(pool, ledger, phases, stopping), pool
        return AsyncSampler(pool, ledger, phases, stopping, config.batch_fragments, config.max_policy_lag), pool

    def _start_pool(self, kind: type) -> WorkerPool:
        import ray

        remote = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(kind)
        config = self.config
        pool = WorkerPool(
            lambda worker, life: remote.remote(self._worker_spec(worker, life)),
            config.workers,
            self.ledger,
            config.max_restarts,
            config.worker_timeout,
            config.start_timeout,
            self.life,
        )
        pool.start()
        return pool

    def _rollouts_of(self, worker: int, raw: Floats) -> Rollouts:
        return self._worker_spec(worker, self.life).rollouts(raw)

    def _worker_spec(self, worker: int, life: int) -> WorkerSpec:
        config = self.config
        return WorkerSpec(
            run=config.name,
            worker=worker,
            life=life,
            restarts=life - self.life,
            env=config.env,
            num_envs=1 if config.sampler == "step" else config.envs_per_worker,
            fragment_steps=config.fragment_steps,
            seed=config.seed,
            model=self.model,
            discounts=Discounts(config.discount, config.gae_lambda),
            longest_seconds=config.worker_timeout / 4,
            normalize_observations=config.normalize_observations,
            normalize_rewards=config.normalize_rewards,
            step_threads=None if config.step_threads < 0 else config.step_threads,
            step_timeout=config.worker_timeout,
            strict=config.sampler == "sync",
            recording=config.recording and config.workers > 0,
            faults=config.faults,
            elapsed_seconds=time.perf_counter() - self.began,
        )
