"""Alerts evaluated here, where no Prometheus evaluates the rules: same thresholds, without the waiting time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from raymon.health import RunVerdict, alarms
from raymon.live.snapshot import FiringAlert
from raymon.views import RunView


@dataclass(slots=True)
class LocalAlerts:
    """Remembers since when each alert has been firing."""

    _since: dict[tuple[str, str, str], float] = field(default_factory=dict)

    def firing(
        self, runs: Sequence[RunView], verdicts: Mapping[str, RunVerdict], now: float
    ) -> tuple[FiringAlert, ...]:
        """Return the alerts of the runs at `now`, those of a run before those of its workers."""
        firing: dict[tuple[str, str, str], FiringAlert] = {}
        for run in runs:
            for alarm in alarms(run, verdicts[run.run]) if not run.problem else ():
                key = (alarm.name, run.run, alarm.worker)
                age = now - self._since.get(key, now)
                firing.setdefault(
                    key, FiringAlert(alarm.name, alarm.severity, alarm.summary, run.run, alarm.worker, age)
                )
        self._since = {key: self._since.get(key, now) for key in firing}
        return tuple(firing.values())
