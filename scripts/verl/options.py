"""The options of `verl.trainer.main_ppo` for a run on the CPU: all of them verl's own."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
WORKERS = 2


def overrides(folder: Path, updates: int, separate: bool) -> list[str]:
    """Return the command line for a model and data in a folder; with critic and reference if they are separate."""
    workers = 1 if separate else WORKERS
    actor = "actor_rollout_ref.actor"
    rollout = "actor_rollout_ref.rollout"
    return [
        *(_critic_and_reference(folder) if separate else ("algorithm.adv_estimator=grpo",)),
        f"data.train_files={folder}/train.parquet",
        f"data.val_files={folder}/val.parquet",
        "data.train_batch_size=8",
        "data.max_prompt_length=16",
        "data.max_response_length=16",
        "data.dataloader_num_workers=0",
        f"actor_rollout_ref.model.path={folder}/model",
        "actor_rollout_ref.model.external_lib=cpu_rollout",
        "+actor_rollout_ref.model.override_config.attn_implementation=eager",
        "actor_rollout_ref.model.use_remove_padding=False",
        "actor_rollout_ref.model.enable_gradient_checkpointing=False",
        f"{actor}.strategy=fsdp2",
        f"{actor}.ppo_mini_batch_size=8",
        f"{actor}.ppo_micro_batch_size_per_gpu=8",
        f"{actor}.use_torch_compile=False",
        f"{actor}.use_kl_loss={separate}",
        f"{actor}.fsdp_config.model_dtype=fp32",
        f"{actor}.fsdp_config.use_torch_compile=False",
        f"{rollout}.name=cpu",
        f"{rollout}.dtype=float32",
        f"{rollout}.tensor_model_parallel_size=1",
        f"{rollout}.n=4",
        f"{rollout}.agent.num_workers={WORKERS}",
        f"{rollout}.log_prob_micro_batch_size_per_gpu=8",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
        "reward.num_workers=1",
        f"reward.custom_reward_function.path={HERE}/model.py",
        "reward.custom_reward_function.name=compute_score",
        "trainer.device=cpu",
        f"trainer.n_gpus_per_node={workers}",
        "trainer.nnodes=1",
        "trainer.logger=[console]",
        "trainer.val_before_train=False",
        "trainer.resume_mode=disable",
        "trainer.total_epochs=100000",
        f"trainer.total_training_steps={updates}",
        "trainer.experiment_name=sums",
        f"+ray_kwargs.ray_init.num_gpus={3 if separate else WORKERS}",
        "ray_kwargs.ray_init.num_cpus=32",
        f"+ray_kwargs.ray_init._temp_dir={folder}/ray",
        "+ray_kwargs.ray_init.object_store_memory=300000000",
        "+ray_kwargs.ray_init._system_config.metrics_report_interval_ms=1000",
        "+ray_kwargs.ray_init._system_config.worker_niceness=0",  # so that other programs do not starve the workers
    ]


def _critic_and_reference(folder: Path) -> tuple[str, ...]:
    return (
        "algorithm.adv_estimator=gae",
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=8",
        "actor_rollout_ref.ref.fsdp_config.model_dtype=fp32",
        "actor_rollout_ref.ref.fsdp_config.use_torch_compile=False",
        f"critic.model.path={folder}/model",
        "+critic.model.override_config.attn_implementation=eager",
        "critic.model.use_remove_padding=False",
        "critic.model.enable_gradient_checkpointing=False",
        "critic.strategy=fsdp2",
        "critic.ppo_micro_batch_size_per_gpu=8",
        "critic.fsdp.model_dtype=fp32",
        "critic.fsdp.use_torch_compile=False",
    )
