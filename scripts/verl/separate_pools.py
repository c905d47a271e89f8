"""verl's PPO with critic and reference in processes of their own: what users do who do not share GPUs among models.

    python separate_pools.py OPTIONS    # the options of verl.trainer.main_ppo

verl's trainer places all models in one pool, and so in one process for each GPU. Here they have a pool each, and one
worker in it.
"""

import hydra
import ray
from verl.single_controller.ray import (
    RayClassWithInitArgs,
    RayWorkerGroup,
    ResourcePoolManager,
    create_colocated_worker_cls,
)
from verl.trainer import main_ppo
from verl.trainer.ppo.utils import Role
from verl.workers.engine_workers import ActorRolloutRefWorker, TrainingWorker

POOLS = ("global_pool", "critic_pool", "reference_pool")


class Critic(TrainingWorker):
    """verl's worker with the stand-ins for the CPU, which it does not load from `external_lib`."""

    def __init__(self, config):
        import cpu_rollout  # noqa: F401  # registers the engine

        super().__init__(config)


def separate_trainer():
    """Return verl's synchronous trainer with three pools."""
    from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

    class Trainer(PPOTrainerSync):
        def _init_resource_pool_mgr(self):
            super()._init_resource_pool_mgr()
            self.role_worker_mapping[Role.Critic] = ray.remote(Critic)
            self.mapping.update({Role.Critic: "critic_pool", Role.RefPolicy: "reference_pool"})
            self.resource_pool_manager = ResourcePoolManager({pool: [1] for pool in POOLS}, mapping=self.mapping)

        def _setup(self):
            super()._setup()
            reference = RayClassWithInitArgs(
                ray.remote(ActorRolloutRefWorker), config=self.config.actor_rollout_ref, role="ref"
            )
            pool = self.resource_pool_manager.get_resource_pool(Role.RefPolicy)
            colocated = create_colocated_worker_cls({"ref": reference})
            group = RayWorkerGroup(resource_pool=pool, ray_cls_with_init=colocated, device_name="cpu")
            self.ref_policy_wg = group.spawn(prefix_set=["ref"])["ref"]
            self.ref_policy_wg.init_model()

    return Trainer


@ray.remote
class Runner(main_ppo.TaskRunnerV1.__ray_metadata__.modified_class):
    """verl's controller with that trainer."""

    def run(self, config):
        """Train."""
        from verl.trainer.ppo.v1 import trainer_base

        trainer_base.TRAINER_REGISTRY["sync"] = separate_trainer()
        super().run(config)


@hydra.main(config_path="pkg://verl.trainer.config", config_name="ppo_trainer", version_base=None)
def main(config):
    """Start Ray and the controller as verl does."""
    main_ppo.run_ppo(config, task_runner_class=Runner)


if __name__ == "__main__":
    main()
