"""One promtool case of an alert: series, and the seconds at which the alert is silent and at which it fires."""

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_plus

from generate.alert import Alert
from raymon.catalog import Metric

STEP_SECONDS: Final = 5
RUN: Final = {"run": "r", "SessionName": "s"}


@dataclass(frozen=True, slots=True)
class Case:
    """Series and when an alert fires over them.

    Attributes:
        shows: What the case shows.
        series: Values in promtool's notation, by selector.
        silent_at: Seconds at which the alert does not fire, the last one step before it does.
        fires_at: Seconds at which it fires; empty in a case that stays silent.
        labels: Labels of the alert besides its severity.
        value: The number in its description, as printed.
    """

    alert: str
    shows: str
    series: dict[str, str]
    silent_at: tuple[int, ...] = ()
    fires_at: tuple[int, ...] = ()
    labels: dict[str, str] = field(default_factory=lambda: {"run": "r"})
    value: str = ""

    def unit(self, alert: Alert) -> dict[str, Any]:
        """Return the case as promtool reads it."""
        fired = {
            "exp_labels": {"severity": alert.severity, **self.labels},
            "exp_annotations": annotations(alert, self.labels, self.value),
        }
        checks: list[tuple[int, list[dict[str, Any]]]] = [(second, []) for second in self.silent_at] + [
            (second, [fired]) for second in self.fires_at
        ]
        return {
            "name": f"{self.alert}: {self.shows}",
            "interval": f"{STEP_SECONDS}s",
            "input_series": [{"series": name, "values": values} for name, values in self.series.items()],
            "alert_rule_test": [
                {"eval_time": f"{second}s", "alertname": self.alert, "exp_alerts": expected}
                for second, expected in sorted(checks)
            ],
        }


def annotations(alert: Alert, labels: dict[str, str], value: str) -> dict[str, str]:
    """Return the alert's annotations with their templates filled as Prometheus does."""

    def fill(text: str) -> str:
        text = re.sub(r"\{\{ \$value[^}]*\}\}", value, text)
        text = re.sub(r"\{\{ \$labels\.(\w+) \| urlquery \}\}", lambda m: quote_plus(labels.get(m[1], "")), text)
        return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda m: labels.get(m[1], ""), text)

    return {name: fill(text) for name, text in alert.rule()["annotations"].items()}


def series(metric: Metric, **labels: str) -> str:
    """Return a selector of one of raymon's series."""
    return ray_series(metric.name, **RUN, **labels)


def ray_series(name: str, **labels: str) -> str:
    """Return a selector of any series."""
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{inside}}}"
