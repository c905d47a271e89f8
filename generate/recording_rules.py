"""The recording rules: series that several alerts or a long window would otherwise compute again."""

from typing import Any, Final

from raymon import catalog

STEPS_RATE: Final = f"run:{catalog.ENV_STEPS.name.removesuffix('_total')}:rate1m"
"""Environment steps per second of a run."""
STEP_COST: Final = f"run_worker:{catalog.ROLLOUT_SECONDS.name.removesuffix('_total')}_per_env_step:ratio_rate1m"
"""Seconds of rollout per environment step of a worker."""
_STEPS: Final = f"sum by (run, worker) (rate({catalog.ENV_STEPS.name}[1m]))"
_SECONDS: Final = f"sum by (run, worker) (rate({catalog.ROLLOUT_SECONDS.name}[1m]))"

RECORDING_RULES: Final[tuple[dict[str, Any], ...]] = (
    {"record": STEPS_RATE, "expr": f"sum by (run) (rate({catalog.ENV_STEPS.name}[1m]))"},
    {"record": STEP_COST, "expr": f"{_SECONDS} / ({_STEPS} > 0)"},
)
"""The rules as Prometheus reads them."""
