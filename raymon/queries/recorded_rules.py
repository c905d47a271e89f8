"""Names of the recording rules of `prometheus/rules.yml`."""

from typing import Final

from raymon import catalog

STEPS_RATE: Final = f"run:{catalog.ENV_STEPS.name.removesuffix('_total')}:rate1m"
"""Environment steps per second of a run."""
TOKENS_RATE: Final = f"run:{catalog.TOKENS.name.removesuffix('_total')}_out:rate1m"
"""Tokens of responses per second of a run."""
STEP_COST: Final = f"run_worker:{catalog.ROLLOUT_SECONDS.name.removesuffix('_total')}_per_env_step:ratio_rate1m"
"""Seconds of rollout per environment step of a worker that samples environments; other roles count other things."""
TOKEN_COST: Final = f"run_worker:{catalog.GENERATION_SECONDS.name.removesuffix('_total')}_per_token:ratio_rate1m"
"""Seconds of generation per token of a rollout worker."""
RATES: Final = (STEPS_RATE, TOKENS_RATE)
"""A run that does its work has a series of one of these if Prometheus has loaded the rules."""
