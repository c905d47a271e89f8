"""Names of the recording rules of `prometheus/rules.yml` that dashboards look for."""

from typing import Final

from raymon import catalog

STEPS_RATE: Final = f"run:{catalog.ENV_STEPS.name.removesuffix('_total')}:rate1m"
"""Environment steps per second of a run."""
TOKENS_RATE: Final = f"run:{catalog.TOKENS.name.removesuffix('_total')}_out:rate1m"
"""Tokens of responses per second of a run."""
RATES: Final = (STEPS_RATE, TOKENS_RATE)
"""A run that does its work has a series of one of these if Prometheus has loaded the rules."""
