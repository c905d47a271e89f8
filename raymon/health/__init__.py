"""Thresholds and verdicts: pure functions from `raymon.views` to findings. No I/O, no clock, no memory.

Example:
    >>> from raymon import health, views
    >>> health.judge(views.RunView(run="r1")).state
    'unknown'
"""

from raymon.health.alerts import ALERTS, Alarm, alarms
from raymon.health.run_verdict import judge
from raymon.health.thresholds import THRESHOLDS, Thresholds, reason_of
from raymon.health.verdicts import (
    REMARKS,
    RUN_STATES,
    SEVERITIES,
    TROUBLED_STATES,
    WORKER_SEVERITIES,
    WORKER_STATES,
    Finding,
    RunVerdict,
    Severity,
    WorkerVerdict,
    judged_workers,
    worker_rank,
    worst_first,
)
from raymon.health.worker_verdict import judge_workers

__all__ = [
    "ALERTS",
    "REMARKS",
    "RUN_STATES",
    "SEVERITIES",
    "THRESHOLDS",
    "TROUBLED_STATES",
    "WORKER_SEVERITIES",
    "WORKER_STATES",
    "Alarm",
    "Finding",
    "RunVerdict",
    "Severity",
    "Thresholds",
    "WorkerVerdict",
    "alarms",
    "judge",
    "judge_workers",
    "judged_workers",
    "reason_of",
    "worker_rank",
    "worst_first",
]
