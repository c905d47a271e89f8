"""What RLlib's metrics, names and runners say: rollouts by runner, the run of a trial, which runners are up."""
# ruff: noqa: ANN401  # RLlib is not annotated

import math
import re
from typing import Any, Final

from raymon import ray_internals
from raymon.monitor import identity

KEY: Final = "raymon"
"""Key of a runner's rollouts in RLlib's metrics, which carry them to the algorithm; the runner's index follows."""
_TRIAL: Final = re.compile(r"_([0-9a-f]{5,8}_\d{5})(_|$)")
"""A trial's id in the name of Tune's folder."""


def run_of(algorithm: Any, run: str | None) -> str | None:
    """Return the name of an algorithm's run, with the trial's id under Tune: one job has several trials."""
    folder = getattr(getattr(algorithm, "_storage", None), "trial_dir_name", None)  # RLlib does not keep the trial's id
    if folder is None:
        return run
    match = _TRIAL.search(folder)
    trial = match[1] if match else str(identity.placement_group())[-8:]
    name = identity.checked_run(run) or identity.job_run()
    return f"{name[: identity.LONGEST_RUN - len(trial) - 1]}-{trial}"


def is_gone(group: Any, index: int) -> bool:
    """Return whether Ray no longer restarts a runner: restarts are off or used up."""
    try:
        actor_id = group._worker_manager.actors()[index]._actor_id.hex()
    except Exception:  # noqa: BLE001  # private to RLlib; without it the runner shows as restarting
        return False
    return ray_internals.is_dead(actor_id)


def rollouts_in(runners: dict[str, dict[str, Any]]) -> list[tuple[int, float, float, float]]:
    """Return (runner, seconds, steps, version) of every rollout in RLlib's metrics."""
    rollouts = []
    for runner, numbers in runners.items():
        columns = [_series(numbers.get(name)) for name in ("seconds", "steps", "version")]
        rollouts += [(int(runner), a, b, c) for a, b, c in zip(*columns, strict=False)]
    return rollouts


def _series(value: Any) -> list[float]:
    """Return a series of RLlib's metrics as a list: RLlib reduces one item to the item and none to NaN."""
    values = value if isinstance(value, list) else [math.nan if value is None else value]
    return [float(each) for each in values if math.isfinite(each)]


def healthy_runners(group: Any) -> set[int]:
    """Return the indices of the runners that RLlib considers healthy."""
    ids = getattr(group, "healthy_env_runner_ids", None) or group.healthy_worker_ids  # the name in Ray 2.40
    return set(ids())
