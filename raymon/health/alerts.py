"""The alerts, their severity, and which of them a run raises, for use where no Prometheus evaluates rules."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from raymon.health.thresholds import THRESHOLDS, Thresholds
from raymon.health.verdicts import RunVerdict, Severity
from raymon.views import RunView

ALERTS: Final[Mapping[str, Severity]] = MappingProxyType(
    {
        "RaymonWorkerDead": "warning",
        "RaymonWorkerStalled": "warning",
        "RaymonWorkerStraggling": "info",
        "RaymonRolloutsFailing": "warning",
        "RaymonWorkerRestartLoop": "warning",
        "RaymonThroughputCollapsed": "warning",
        "RaymonNoUpdate": "critical",
        "RaymonLossNotFinite": "critical",
        "RaymonPolicyDiverging": "warning",
        "RaymonNoLearningSignal": "warning",
        "RaymonWeightsStale": "warning",
        "RaymonBufferOverfull": "warning",
        "RaymonObjectStorePressure": "warning",
        "RaymonMetricsMissing": "warning",
    }
)
"""Severity by name. critical: training is lost; warning: look at it today; info: speed is lost."""

_BY_WORKER_STATE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "stalled": "RaymonWorkerStalled",
        "dead": "RaymonWorkerDead",
        "given_up": "RaymonWorkerDead",
        "slow": "RaymonWorkerStraggling",
    }
)
_BY_CODE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "driver_gone": "RaymonNoUpdate",
        "killed": "RaymonNoUpdate",
        "no_progress": "RaymonNoUpdate",
        "stale": "RaymonMetricsMissing",
        "loss_not_finite": "RaymonLossNotFinite",
        "diverging": "RaymonPolicyDiverging",
        "no_learning_signal": "RaymonNoLearningSignal",
        "weights_stale": "RaymonWeightsStale",
        "buffer_overfull": "RaymonBufferOverfull",
        "object_store": "RaymonObjectStorePressure",
        "references_kept": "RaymonObjectStorePressure",
        "throughput_collapsed": "RaymonThroughputCollapsed",
        "rollouts_failing": "RaymonRolloutsFailing",
    }
)


class Alarm(NamedTuple):
    """One alert that a run raises; `worker` is empty when it is about the whole run."""

    name: str
    summary: str
    worker: str = ""

    @property
    def severity(self) -> Severity:
        """Return its severity."""
        return ALERTS[self.name]


def alarms(run: RunView, verdict: RunVerdict, limits: Thresholds = THRESHOLDS) -> Iterator[Alarm]:
    """Yield the alerts that a run and its verdict raise; a name may come twice for one run."""
    for finding in verdict.findings:
        name = _BY_CODE.get(finding.code)
        if name and finding.severity != "info":  # a full buffer limits, a growing one harms
            yield Alarm(name, finding.sentence, finding.worker)
    for worker in verdict.workers:
        if name := _BY_WORKER_STATE.get(worker.state):
            summary = f"Worker {worker.worker} is {worker.state.replace('_', ' ')}: {worker.reason}."
            yield Alarm(name, summary, worker.worker)
    for view in run.workers:
        times = sum(view.restarts.values())
        if view.recent_restarts and times >= limits.restart_loop_count:
            yield Alarm("RaymonWorkerRestartLoop", f"Worker {view.worker} was replaced {times} times.", view.worker)
