"""Alerts from the verdicts, for when no Prometheus evaluates the rules: the same thresholds, without their patience."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from raymon.health import RunVerdict, alarms
from raymon.live.snapshot import Alert
from raymon.views import RunView


@dataclass(slots=True)
class LocalAlerts:
    """Remembers since when each alert has been firing."""

    _since: dict[tuple[str, str, str], float] = field(default_factory=dict)

    def firing(self, runs: Sequence[RunView], verdicts: Mapping[str, RunVerdict], now: float) -> tuple[Alert, ...]:
        """Return what is alarming about the runs at `now`, the alerts of a run before those of its workers."""
        found: dict[tuple[str, str, str], Alert] = {}
        for run in runs:
            for alarm in alarms(run, verdicts[run.run]):
                key = (alarm.name, run.run, alarm.worker)
                age = now - self._since.get(key, now)
                found.setdefault(key, Alert(alarm.name, alarm.severity, alarm.summary, run.run, alarm.worker, age))
        self._since = {key: self._since.get(key, now) for key in found}
        return tuple(found.values())
