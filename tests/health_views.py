"""Views of a run and its workers as the collector would make them, for tests of verdicts."""

import time

from raymon import health
from raymon.live.snapshot import Snapshot
from raymon.views import RunView, WorkerView


def worker(name="0", cost=0.1, **more):
    values = {
        "activity": "environment",
        "heartbeat_age_seconds": 0.5,
        "progress_age_seconds": 0.5,
        "stuck_seconds": 0.5,
        "lifecycle": "up",
        "mean_rollout_seconds": cost,
        "rollout_steps": 100.0,
        "steps_per_second": 900.0,
        "rollouts_per_second": 9.0,
        "seen_seconds": 100.0,
        **more,
    }
    return WorkerView(worker=name, **values)


def fleet(*costs, **more):
    return run(*(worker(str(number), cost) for number, cost in enumerate(costs)), **more)


def run(*workers, **more):
    values = {"state": "training", "data_age_seconds": 0.5, "report_seconds": 1.0, "exporter_age_seconds": 0.5, **more}
    return RunView(run="r", workers=workers, **values)


def snapshot_of(*runs, histories=None, taken_at=None):
    """A snapshot of some runs with the verdicts on them, taken now unless a moment is given."""
    return Snapshot(
        taken_at=time.time() if taken_at is None else taken_at,
        runs=runs,
        verdicts={run.run: health.judge(run) for run in runs},
        histories=histories or {},
        source="synthetic",
        data_age_seconds=min((run.data_age_seconds for run in runs), default=None),
        rounds=1,
    )
