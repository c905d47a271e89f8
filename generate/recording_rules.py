"""The recording rules: series that several alerts or a long window would otherwise compute again."""

from typing import Any, Final

from raymon import catalog
from raymon.queries import recorded_rules

STEPS_RATE: Final = recorded_rules.STEPS_RATE
"""Environment steps per second of a run."""
STEP_COST: Final = recorded_rules.STEP_COST
"""Seconds of rollout per environment step of a worker that samples environments; other roles count other things."""
TOKENS_RATE: Final = recorded_rules.TOKENS_RATE
"""Tokens of responses per second of a run."""
TOKEN_COST: Final = recorded_rules.TOKEN_COST
"""Seconds of generation per token of a rollout worker."""
LONGEST_COST: Final = f"run_worker:{catalog.GENERATION_SECONDS.name.removesuffix('_total')}_per_longest:ratio_rate1m"
"""Seconds of generation of a rollout worker per token of the longest response of each batch."""
_STEPS: Final = f"sum by (run, worker) (rate({catalog.ENV_STEPS.name}[1m]))"
_SECONDS: Final = f"sum by (run, worker) (rate({catalog.ROLLOUT_SECONDS.name}[1m]))"
_OTHER_ROLES: Final = f"max by (run, worker) ({catalog.ROLE.name})"
_TOKENS: Final = f'{catalog.TOKENS.name}{{direction="out"}}'
_GENERATING: Final = f"sum by (run, worker) (rate({catalog.GENERATION_SECONDS.name}[1m]))"
_TOKENS_OF_EACH: Final = f"sum by (run, worker) (rate({_TOKENS}[1m]))"
_LONGEST: Final = f"sum by (run, worker) (rate({catalog.GENERATION_LENGTH.name}[1m]))"

RECORDING_RULES: Final[tuple[dict[str, Any], ...]] = (
    {"record": STEPS_RATE, "expr": f"sum by (run) (rate({catalog.ENV_STEPS.name}[1m]))"},
    {"record": STEP_COST, "expr": f"{_SECONDS} / ({_STEPS} > 0) unless on (run, worker) {_OTHER_ROLES}"},
    {"record": TOKENS_RATE, "expr": f"sum by (run) (rate({_TOKENS}[1m]))"},
    {"record": TOKEN_COST, "expr": f"{_GENERATING} / ({_TOKENS_OF_EACH} > 0)"},
    {"record": LONGEST_COST, "expr": f"{_GENERATING} / ({_LONGEST} > 0)"},
)
"""The rules as Prometheus reads them."""
