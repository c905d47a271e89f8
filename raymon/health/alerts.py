"""The alerts, how severe each is, and which of them a run deserves now, for where no Prometheus evaluates rules."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from raymon.health.thresholds import THRESHOLDS, Thresholds
from raymon.health.verdicts import RunVerdict, Severity
from raymon.health.words import rate
from raymon.views import RunView

ALERTS: Final[Mapping[str, Severity]] = MappingProxyType(
    {
        "RaymonWorkerDead": "warning",
        "RaymonWorkerStalled": "warning",
        "RaymonWorkerStraggling": "info",
        "RaymonWorkerRestartLoop": "warning",
        "RaymonThroughputCollapsed": "warning",
        "RaymonNoUpdate": "critical",
        "RaymonLossNotFinite": "critical",
        "RaymonPolicyDiverging": "warning",
        "RaymonObjectStorePressure": "warning",
        "RaymonMetricsMissing": "warning",
    }
)
"""Severity by name. critical: training is lost; warning: somebody should look today; info: speed is lost."""

_OF_WORKER: Final[Mapping[str, str]] = MappingProxyType(
    {
        "stalled": "RaymonWorkerStalled",
        "dead": "RaymonWorkerDead",
        "given_up": "RaymonWorkerDead",
        "slow": "RaymonWorkerStraggling",
    }
)
_OF_RUN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "driver_gone": "RaymonNoUpdate",
        "no_progress": "RaymonNoUpdate",
        "stale": "RaymonMetricsMissing",
        "object_store": "RaymonObjectStorePressure",
        "references_kept": "RaymonObjectStorePressure",
    }
)


class Alarm(NamedTuple):
    """One alert that a run deserves; `worker` is empty when it is about the run as a whole."""

    name: str
    summary: str
    worker: str = ""

    @property
    def severity(self) -> Severity:
        """How severe it is."""
        return ALERTS[self.name]


def alarms(run: RunView, verdict: RunVerdict, limits: Thresholds = THRESHOLDS) -> Iterator[Alarm]:
    """Yield the alerts that a run and the verdict on it deserve; a name may come twice for one run."""
    for state, sentence in verdict.findings:
        if state == "diverging":
            broken = run.learning.get("nonfinite_updates_per_second", 0.0) > 0.0 and "not finite" in sentence
            yield Alarm("RaymonLossNotFinite" if broken else "RaymonPolicyDiverging", sentence)
        elif name := _OF_RUN.get(state):
            yield Alarm(name, sentence)
    if told := collapse(run, limits):
        yield Alarm("RaymonThroughputCollapsed", told)
    for worker in verdict.workers:
        if name := _OF_WORKER.get(worker.state):
            summary = f"Worker {worker.worker} is {worker.state.replace('_', ' ')}: {worker.reason}."
            yield Alarm(name, summary, worker.worker)
    for view in run.workers:
        times = sum(view.restarts.values())
        if view.recent_restarts and times >= limits.restart_loop_count:
            summary = f"Worker {view.worker} is replaced again and again: {times} times so far."
            yield Alarm("RaymonWorkerRestartLoop", summary, view.worker)


def collapse(run: RunView, limits: Thresholds = THRESHOLDS) -> str:
    """Return, in words, that far fewer steps are taken than usual; empty when that is not so."""
    usual, now = run.usual_steps_per_second, run.steps_per_second
    if run.state == "training" and usual and now is not None and now < limits.throughput_collapsed_ratio * usual:
        return f"Throughput fell to {rate(now)} steps/s; usual are {rate(usual)}."
    return ""
