"""Advice in the terms of the run's trainer: its options or settings where raymon knows them, else plain words only.

Those of verl, OpenRLHF and SkyRL are of the versions 0.9.1, 0.11.2 and 0.3.0, read from their configurations; those of
NeMo RL and slime are of November 2026, read from their documentation and their sources, the sure equivalents only.
"""

import re
from typing import Final

from raymon.views import RunView

_ANY: Final = {"object_store": "ray.init(object_store_memory=...)"}
_NAMES: Final[dict[str, dict[str, str]]] = {
    "own": {
        "asynchronous": "--sampler async",
        "device": "--device cuda",
        "envs_per_worker": "--envs-per-worker",
        "epochs": "--epochs",
        "fragment_steps": "--fragment-steps",
        "fragments_per_update": "--fragments-per-update",
        "hidden": "--hidden",
        "learning_rate": "--learning-rate",
        "max_gradient_norm": "--max-gradient-norm",
        "max_policy_lag": "--max-policy-lag",
        "max_restarts": "--max-restarts",
        "minibatch": "--minibatch",
        "object_store": "--object-store-mb",
        "resume": "raymon train --resume",
        "step_threads": "--step-threads",
        "target_kl": "--target-kl 0.02",
        "wait_for": "--wait-for",
        "worker_timeout": "--worker-timeout",
        "workers": "--workers",
    },
    "rllib": {
        "asynchronous": "`APPO` or `IMPALA`",
        "device": "num_gpus_per_learner",
        "envs_per_worker": "num_envs_per_env_runner",
        "epochs": "num_epochs",
        "fragment_steps": "rollout_fragment_length",
        "fragments_per_update": "train_batch_size_per_learner",
        "hidden": "fcnet_hiddens",
        "learning_rate": "lr",
        "max_gradient_norm": "grad_clip",
        "max_restarts": "max_num_env_runner_restarts",
        "minibatch": "minibatch_size",
        "restart_delay": "delay_between_env_runner_restarts_s",
        "resume": "Algorithm.from_checkpoint",
        "step_threads": "gym_env_vectorize_mode",
        "target_kl": "kl_coeff",
        "worker_timeout": "sample_timeout_s",
        "workers": "num_env_runners",
    },
    "verl": {
        "asynchronous": "verl.experimental.fully_async_policy",
        "concurrency": "actor_rollout_ref.rollout.max_num_seqs",
        "epochs": "actor_rollout_ref.actor.ppo_epochs",
        "filter_groups": "algorithm.filter_groups.enable",
        "group_size": "actor_rollout_ref.rollout.n",
        "kl_penalty": "actor_rollout_ref.actor.use_kl_loss",
        "learning_rate": "actor_rollout_ref.actor.optim.lr",
        "max_gradient_norm": "actor_rollout_ref.actor.grad_clip",
        "max_response_length": "data.max_response_length",
        "minibatch": "actor_rollout_ref.actor.ppo_mini_batch_size",
        "partial_rollout": "async_training.partial_rollout",
        "reference_batch": "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu",
        "resume": "trainer.resume_mode",
        "reward_workers": "reward.num_workers",
        "rollout_workers": "`trainer.nnodes`, or `rollout.nnodes` when asynchronous",
        "staleness": "async_training.staleness_threshold",
        "sync_bucket": "actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes",
        "sync_interval": "async_training.trigger_parameter_sync_step",
        "train_batch": "data.train_batch_size",
        "trainers": "trainer.n_gpus_per_node",
    },
    "openrlhf": {
        "asynchronous": "--train.async_enable",
        "concurrency": "--rollout.vllm_generate_batch_size",
        "epochs": "--train.max_epochs",
        "filter_groups": "--algo.dynamic_filtering_enable",
        "group_size": "--rollout.n_samples_per_prompt",
        "kl_penalty": "--algo.kl.init_coef",
        "learning_rate": "--actor.adam.lr",
        "max_gradient_norm": "--actor.max_norm",
        "max_response_length": "--rollout.max_new_tokens",
        "minibatch": "--train.micro_batch_size",
        "partial_rollout": "--train.partial_rollout_enable",
        "reference_batch": "--rollout.micro_batch_size",
        "resume": "--ckpt.load_enable",
        "reward_workers": "--reward.num_gpus_per_node",
        "rollout_workers": "--vllm.num_engines",
        "staleness": "--train.async_queue_size",
        "sync_path": "--vllm.sync_backend",
        "train_batch": "--train.batch_size",
        "trainers": "--actor.num_gpus_per_node",
    },
    "skyrl": {
        "asynchronous": "trainer.fully_async",
        "concurrency": "trainer.fully_async.num_parallel_generation_workers",
        "epochs": "trainer.update_epochs_per_batch",
        "filter_groups": "trainer.algorithm.dynamic_sampling.type",
        "group_size": "generator.n_samples_per_prompt",
        "kl_penalty": "trainer.algorithm.use_kl_loss",
        "learning_rate": "trainer.policy.optimizer_config.lr",
        "max_gradient_norm": "trainer.policy.optimizer_config.max_grad_norm",
        "max_response_length": "generator.sampling_params.max_generate_length",
        "minibatch": "trainer.micro_train_batch_size_per_gpu",
        "reference_batch": "trainer.micro_forward_batch_size_per_gpu",
        "resume": "trainer.resume_mode",
        "rollout_workers": "generator.inference_engine.num_engines",
        "staleness": "trainer.fully_async.max_staleness_steps",
        "train_batch": "trainer.train_batch_size",
        "trainers": "trainer.placement.policy_num_gpus_per_node",
    },
    "nemo_rl": {
        "asynchronous": "grpo.async_grpo.enabled",
        "filter_groups": "grpo.use_dynamic_sampling",
        "group_size": "grpo.num_generations_per_prompt",
        "kl_penalty": "loss_fn.reference_policy_kl_penalty",
        "max_gradient_norm": "policy.max_grad_norm",
        "max_response_length": "policy.generation.max_new_tokens",
        "minibatch": "policy.train_micro_batch_size",
        "reference_batch": "policy.logprob_batch_size",
        "rollout_workers": "policy.generation.colocated.resources",
        "staleness": "grpo.async_grpo.max_trajectory_age_steps",
        "train_batch": "policy.train_global_batch_size",
    },
    "slime": {
        "concurrency": "--sglang-server-concurrency",
        "filter_groups": "--dynamic-sampling-filter-path",
        "group_size": "--n-samples-per-prompt",
        "kl_penalty": "--use-kl-loss",
        "learning_rate": "--lr",
        "max_gradient_norm": "--clip-grad",
        "max_response_length": "--rollout-max-response-len",
        "partial_rollout": "--partial-rollout",
        "resume": "--load",
        "rollout_workers": "--rollout-num-gpus",
        "sync_bucket": "--update-weight-buffer-size",
        "sync_path": "--update-weight-transport",
        "train_batch": "--global-batch-size",
        "trainers": "--actor-num-gpus-per-node",
    },
}
_MARKS: Final = frozenset(mark for names in (_ANY, *_NAMES.values()) for mark in names)


def in_terms_of(run: RunView, text: str) -> str:
    """Return an advice with its `{marks}` replaced by the trainer's names for them, or removed where it has none.

    A mark follows the plain words: "fewer epochs{epochs}" becomes "fewer epochs (`--epochs`)". A name that is more than
    one piece of code has its backticks in the table.
    """
    names = {**_ANY, **_NAMES.get(run.engine or "", {})}

    def name_of(mark: re.Match[str]) -> str:
        if mark[1] not in _MARKS:  # part of a worker's label, which may hold anything
            return mark[0]
        name = names.get(mark[1], "")
        if not name:
            return ""
        return f" ({name})" if "`" in name else f" (`{name}`)"

    return re.sub(r"\{(\w+)\}", name_of, text)
