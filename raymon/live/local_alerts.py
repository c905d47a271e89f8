"""Alerts evaluated here, where no Prometheus evaluates the rules: same thresholds, without the waiting time."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from raymon.health import Alarm, RunVerdict, alarms
from raymon.live.snapshot import FiringAlert
from raymon.views import RunView

_log: Final = logging.getLogger(__name__)


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
            for alarm in _alarms(run, verdicts[run.run]):
                key = (alarm.name, run.run, alarm.worker)
                age = now - self._since.get(key, now)
                firing.setdefault(
                    key, FiringAlert(alarm.name, alarm.severity, alarm.summary, run.run, alarm.worker, age)
                )
        self._since = {key: self._since.get(key, now) for key in firing}
        return tuple(firing.values())


def _alarms(run: RunView, verdict: RunVerdict) -> Sequence[Alarm]:
    """Return the alarms of a run; none if its numbers cannot be read, so that those of other runs still are."""
    try:
        return tuple(alarms(run, verdict)) if not run.problem else ()
    except Exception:  # noqa: BLE001  # the numbers come from outside
        _log.warning("the alerts of run %r cannot be evaluated", run.run, exc_info=True)
        return ()
