"""`raymon train --engine rllib`: RLlib's PPO with raymon's callbacks, with the same environments and options.

A dashboard shows runs of both engines, distinguished by the labels `run` and `engine`. Samplers, injected faults and
resuming are raymon's own: they are refused or have no effect here. Checkpoints are RLlib's, for
`Algorithm.from_checkpoint`. Runs in the driver.
"""

import contextlib
import dataclasses
import math
import shutil
import time
from typing import TYPE_CHECKING, Any, Final

from raymon import ray_internals
from raymon.cluster.start import Cluster
from raymon.train import host
from raymon.train.options import Config, ConfigError
from raymon.train.progress import Progress
from raymon.train.records import RunDirectory, new_name, writing
from raymon.train.stop import Stop

if TYPE_CHECKING:
    from ray.rllib.algorithms.ppo import PPOConfig

_ENV: Final = "raymon-environment"
_EXPORT_SECONDS: Final = 0.5
"""Beyond Ray's report interval: then the recorder of the run has seen how it ended."""
_CHECKPOINT: Final = "rllib-checkpoint"
_TERMS: Final = {"policy": "policy_loss", "value": "vf_loss", "total": "total_loss"}


def run(config: Config) -> int:
    """Train and return the exit code.

    Raises:
        UserError: RLlib cannot do what the options ask for, or Ray does not start.
    """
    _check(config)
    if not config.name:
        config = dataclasses.replace(config, name=new_name(config.env))
    stop = Stop()
    stop.install()
    try:
        page = host.page_port(config)
        records = config.runs / config.name
        advice = f"make room; the last complete checkpoint is {records / _CHECKPOINT}"
        with (
            host.ray_session(config, stop, records / _CHECKPOINT) as cluster,
            writing(records, advice),
            contextlib.closing(RunDirectory(config)) as directory,
        ):
            return _train(config, cluster, directory, stop, page)
    except KeyboardInterrupt:
        return stop.exit_code()


def algorithm_config(config: Config) -> "PPOConfig":
    """Return RLlib's configuration with the same meaning; a rollout is a fragment, a batch one of each worker."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.tune.registry import register_env

    from raymon.rllib import Callbacks

    env_id = config.env
    register_env(_ENV, lambda context: _make(env_id, context.worker_index))
    batch = max(1, config.workers) * config.envs_per_worker * config.fragment_steps
    return (
        PPOConfig()
        .environment(_ENV)
        .env_runners(
            num_env_runners=config.workers,
            num_envs_per_env_runner=config.envs_per_worker,
            rollout_fragment_length=config.fragment_steps,
        )
        .learners(num_learners=0)
        .training(
            lr=config.learning_rate,
            gamma=config.discount,
            lambda_=config.gae_lambda,
            train_batch_size_per_learner=batch,
            minibatch_size=min(config.minibatch, batch),
            num_epochs=config.epochs,
            clip_param=config.clip,
            vf_clip_param=config.value_clip if config.value_clip is not None else float("inf"),
            vf_loss_coeff=config.value_coefficient,
            entropy_coeff=config.entropy_coefficient,
            use_kl_loss=False,
            grad_clip=config.max_gradient_norm,
        )
        .rl_module(model_config={"fcnet_hiddens": list(config.hidden), "fcnet_activation": config.activation})
        .fault_tolerance(restart_failed_env_runners=True, max_num_env_runner_restarts=config.max_restarts)
        .debugging(seed=config.seed)
        .callbacks(Callbacks.named(config.name, enabled=config.recording, environment=config.env))
    )


def _check(config: Config) -> None:
    from importlib.util import find_spec

    if find_spec("tree") is None:  # a dependency of RLlib that plain Ray does not bring
        raise ConfigError("--engine rllib needs RLlib: pip install 'raymon-rl[rllib]'")
    for option, value in (("--resume", config.resume), ("--inject", config.inject)):
        if value:
            raise ConfigError(f"{option} works with --engine own only; leave it out or take --engine own")
    if config.env.startswith("zmq://"):
        raise ConfigError(f"--engine rllib takes gymnasium ids, found {config.env}; take --engine own for ZeroMQ")


def _make(env_id: str, index: int) -> Any:  # noqa: ANN401  # gymnasium is not annotated
    """Make an environment as our own workers do; RLlib counts its remote runners from 1."""
    from raymon.envs.make import find, make_single, split_arguments

    name, arguments = split_arguments(env_id)
    if "worker" in find(name).kwargs:
        arguments.setdefault("worker", max(0, index - 1))
    return make_single(name, arguments)


def _train(config: Config, cluster: Cluster, directory: RunDirectory, stop: Stop, page_port: int) -> int:
    console = host.open_console()
    host.announce(console, config, directory.path, cluster, page_port)
    with contextlib.ExitStack() as exits:
        exits.enter_context(host.recorder(config, directory.path, cluster))
        page = exits.enter_context(host.status_page(page_port, cluster, config)) if page_port else None
        algorithm = algorithm_config(config).build_algo()
        exits.callback(time.sleep, ray_internals.report_seconds() + _EXPORT_SECONDS)  # called after `stop`
        exits.callback(algorithm.stop)
        progress = Progress(config.max_env_steps, config.max_seconds)
        stop.patient = True
        mean: float | None = None
        solved = False
        while progress.remaining() > 0 and not solved and not stop.requested():
            row = _iterate(algorithm, progress)
            mean = row["return_mean"]
            directory.append(row)
            directory.flush()
            if config.checkpoint_every and progress.update % config.checkpoint_every == 0:
                _save(algorithm, directory)
            console.print(
                f"update {progress.update}  {progress.env_steps:,} steps  {progress.steps_per_second():,.0f} steps/s  "
                f"return {'unknown' if mean is None else f'{mean:.1f}'}"
            )
            solved = config.stop_at_return is not None and mean is not None and mean >= config.stop_at_return
        _save(algorithm, directory)
        state = "finished" if solved or progress.remaining() <= 0 else "stopped"
        about = {"run": config.name, "environment": config.env, "engine": "rllib", "seed": config.seed, "state": state}
        directory.summarize({**about, **progress.totals(), "return_mean": mean})
        how = f"stopped by {stop.cause()}" if state == "stopped" else "finished"
        console.print(
            f"{how}: {progress.update} updates, {progress.env_steps:,} steps in {progress.seconds():.1f} s; records in "
            f"{directory.path}",
            soft_wrap=True,
            markup=False,
        )
        stop.patient = False
        if stop.requested():
            raise KeyboardInterrupt  # so that the callbacks see how the run ended
        if page is not None and not config.exit_when_done:
            host.keep_page_up(page, stop, console)
    return 0


def _save(algorithm: Any, directory: RunDirectory) -> None:  # noqa: ANN401  # RLlib is not annotated
    """Replace RLlib's checkpoint only once the new one is complete."""
    kept = directory.path / _CHECKPOINT
    new, old = kept.with_name(".rllib-checkpoint"), kept.with_name(".rllib-checkpoint-before")
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        algorithm.save_to_path(str(new.resolve()))
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if kept.exists():
        kept.rename(old)
    new.rename(kept)
    shutil.rmtree(old, ignore_errors=True)


def _iterate(algorithm: Any, progress: Progress) -> dict[str, Any]:  # noqa: ANN401  # RLlib is not annotated
    result = algorithm.train()
    sampled = result.get("env_runners", {})
    progress.trained(int(result.get("num_env_steps_sampled_lifetime", 0)) - progress.env_steps)
    mean = float(sampled.get("episode_return_mean", math.nan))  # of the last 100 episodes; NaN before the first
    stats = result.get("learners", {}).get("default_policy", {})
    return {
        **progress.row(),
        "return_mean": mean if math.isfinite(mean) else None,
        "loss": {term: float(stats[name]) for term, name in _TERMS.items() if name in stats},
        "entropy": float(stats["entropy"]) if "entropy" in stats else None,
    }
