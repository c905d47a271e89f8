"""Advice in the terms of the run's trainer: options of `raymon train`, settings of RLlib, or plain words only."""

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
        "asynchronous": "APPO or IMPALA",
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
        "resume": "Algorithm.from_checkpoint",
        "step_threads": "gym_env_vectorize_mode",
        "target_kl": "kl_coeff",
        "worker_timeout": "sample_timeout_s",
        "workers": "num_env_runners",
    },
}


def in_terms_of(run: RunView, text: str) -> str:
    """Return an advice with its `{marks}` replaced by the trainer's names for them, or removed where it has none.

    A mark follows the plain words: "fewer epochs{epochs}" becomes "fewer epochs (--epochs)".
    """
    names = {**_ANY, **_NAMES.get(run.engine or "", {})}

    def name_of(mark: re.Match[str]) -> str:
        if mark[1] not in _NAMES["own"]:  # part of a worker's label, which may hold anything
            return mark[0]
        return f" ({names[mark[1]]})" if mark[1] in names else ""

    return re.sub(r"\{(\w+)\}", name_of, text)
