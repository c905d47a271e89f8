"""Figures of the whole run that several verdicts need: what its workers' time goes into, and whether cores are free."""

from collections.abc import Mapping
from statistics import median

from raymon.catalog import WORK_PHASES, WORKER_PHASES
from raymon.health.thresholds import Thresholds
from raymon.views import RunView


def worker_phases(run: RunView) -> dict[str, float]:
    """Return the median over the workers of each phase's share of their wall time."""
    known = [worker.phase_ratio for worker in run.workers if worker.phase_ratio]
    return {phase: median(ratio.get(phase, 0.0) for ratio in known) for phase in WORKER_PHASES} if known else {}


def busy_ratio(shares: Mapping[str, float]) -> float:
    """Return the share of the time that is not waiting."""
    return min(1.0, sum(shares.get(phase, 0.0) for phase in WORK_PHASES))


def cpu_full(run: RunView, limits: Thresholds) -> bool:
    """Return whether no node that reports has CPU left."""
    return bool(run.node_cpu_ratio) and min(run.node_cpu_ratio.values()) > limits.node_cpu_ratio
