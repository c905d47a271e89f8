"""What a promtool case of an alert is: series, and the seconds at which it is silent and at which it fires."""

from dataclasses import dataclass, field
from typing import Any, Final

from generate.alert import Alert
from raymon.catalog import Metric

STEP_SECONDS: Final = 5
RUN: Final = {"run": "r", "SessionName": "s"}


@dataclass(frozen=True, slots=True)
class Case:
    """Series and when an alert fires over them.

    Attributes:
        says: What the case shows.
        series: Selector to values in promtool's notation.
        silent_at: Seconds at which the alert does not fire, the last one step before it does.
        fires_at: Seconds at which it fires; none in a case that stays silent.
        labels: What the alert carries beside its severity.
        value: The number in its description, as printed.
    """

    alert: str
    says: str
    series: dict[str, str]
    silent_at: tuple[int, ...] = ()
    fires_at: tuple[int, ...] = ()
    labels: dict[str, str] = field(default_factory=lambda: {"run": "r"})
    value: str = ""

    def unit(self, alert: Alert) -> dict[str, Any]:
        """Return the case as promtool reads it."""
        fired = {
            "exp_labels": {"severity": alert.severity, **self.labels},
            "exp_annotations": alert.annotations(self.labels, self.value),
        }
        checks: list[tuple[int, list[dict[str, Any]]]] = [(second, []) for second in self.silent_at] + [
            (second, [fired]) for second in self.fires_at
        ]
        return {
            "name": f"{self.alert}: {self.says}",
            "interval": f"{STEP_SECONDS}s",
            "input_series": [{"series": name, "values": values} for name, values in self.series.items()],
            "alert_rule_test": [
                {"eval_time": f"{second}s", "alertname": self.alert, "exp_alerts": expected}
                for second, expected in sorted(checks)
            ],
        }


def series(metric: Metric, **labels: str) -> str:
    """Return a series of one of our families."""
    return ray_series(metric.name, **RUN, **labels)


def ray_series(name: str, **labels: str) -> str:
    """Return a series."""
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{inside}}}"
