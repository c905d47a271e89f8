"""Thresholds and verdicts: numbers in, words out. Pure functions over `raymon.views`; no I/O, no clock, no memory.

Example:
    >>> from raymon import health, views
    >>> health.judge(views.RunView(run="r1")).state
    'unknown'
"""

from raymon.health.alerts import ALERTS, Alarm, alarms
from raymon.health.run import judge
from raymon.health.thresholds import THRESHOLDS, Thresholds, reason_of
from raymon.health.verdicts import (
    RUN_STATES,
    SEVERITIES,
    WORKER_STATES,
    RunVerdict,
    Severity,
    WorkerVerdict,
)
from raymon.health.worker import judge_workers

__all__ = [
    "ALERTS",
    "RUN_STATES",
    "SEVERITIES",
    "THRESHOLDS",
    "WORKER_STATES",
    "Alarm",
    "RunVerdict",
    "Severity",
    "Thresholds",
    "WorkerVerdict",
    "alarms",
    "judge",
    "judge_workers",
    "reason_of",
]
