"""The recorded series: what several alerts or a long window would otherwise compute again and again."""

from typing import Any, Final

from generate.alert import Pace
from raymon import catalog

STEPS_RATE: Final = f"run:{catalog.ENV_STEPS.name.removesuffix('_total')}:rate1m"
"""Environment steps per second of a run."""
STEP_COST: Final = f"run_worker:{catalog.ROLLOUT_SECONDS.name.removesuffix('_total')}_per_env_step:ratio_rate1m"
"""Seconds of rollout that one environment step costs a worker."""


def records(pace: Pace) -> list[dict[str, Any]]:
    """Return the recording rules as Prometheus reads them."""
    window = pace.window(60)
    steps = f"sum by (run, worker) (rate({catalog.ENV_STEPS.name}[{window}]))"
    seconds = f"sum by (run, worker) (rate({catalog.ROLLOUT_SECONDS.name}[{window}]))"
    return [
        {"record": STEPS_RATE, "expr": f"sum by (run) (rate({catalog.ENV_STEPS.name}[{window}]))"},
        {"record": STEP_COST, "expr": f"{seconds} / ({steps} > 0)"},
    ]
