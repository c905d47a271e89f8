"""Check `raymon.rllib.Callbacks` on the RLlib of this environment; prints one JSON line like `probe.py`.

PPO on CartPole with two env runners: the steps on the page must be RLlib's own, runner by runner.
"""

import json
import sys
import tempfile
import time
import traceback
from typing import Any

import ray
from probe import eventually, totals

from raymon import catalog

RUNNERS = 2


def callbacks() -> str:
    """Train twice and compare the steps on the page with RLlib's own count."""
    from ray.rllib.algorithms.ppo import PPOConfig

    import raymon.rllib

    config = (
        PPOConfig()
        .api_stack(enable_rl_module_and_learner=True, enable_env_runner_and_connector_v2=True)
        .environment("CartPole-v1")
        .env_runners(num_env_runners=RUNNERS)
        .training(train_batch_size_per_learner=400, minibatch_size=100, num_epochs=1)
        .callbacks(raymon.rllib.Callbacks.named("rllib"))
    )
    algorithm = config.build()
    try:
        result: dict[str, Any] = {}
        for _ in range(2):
            result = algorithm.train()
        sampled = result["env_runners"]["num_env_steps_sampled_lifetime"]

        def measure() -> str:
            steps = totals(catalog.ENV_STEPS.name, "worker")
            phases = totals(catalog.PHASE_SECONDS.name, "phase")
            assert sum(steps.values()) == sampled, f"exported {steps}, RLlib counts {sampled}"
            assert set(steps) == {str(number + 1) for number in range(RUNNERS)}, f"exported {steps}"
            assert all(phases.get(phase, 0.0) > 0 for phase in ("sample", "learn")), f"phases {phases}"
            return f"exact: {sampled:.0f} steps of {RUNNERS} runners"

        return eventually(measure)
    finally:
        algorithm.stop()


def main() -> None:
    """Start Ray, train and print the result."""
    begin = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="rc", dir="/tmp", ignore_cleanup_errors=True) as folder:
            ray.init(
                address="local",
                num_cpus=4,
                object_store_memory=200_000_000,
                include_dashboard=False,
                log_to_driver=False,
                _temp_dir=folder,
                _system_config={"metrics_report_interval_ms": 1000},
            )
            try:
                result = {"ok": True, "text": callbacks()}
            finally:
                ray.shutdown()
    except Exception as error:  # noqa: BLE001  # a check that fails is a cell of the table
        traceback.print_exc()
        result = {"ok": False, "text": f"{type(error).__name__}: {error}"}
    print(json.dumps({"check": "rllib", **result, "seconds": round(time.monotonic() - begin, 1)}), flush=True)
    sys.exit(not result["ok"])


if __name__ == "__main__":
    main()
