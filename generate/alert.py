"""What an alert is: a symptom, how long it must hold and why, and where to read on."""

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus

from raymon.health import ALERTS, Severity

VARIABLES: Final = {"SessionName": "session"}
"""What a label is called as a variable of the dashboards, where that is not its own name."""
RUNBOOK: Final = "https://github.com/raymon-rl/raymon/blob/main/docs/runbook.md"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    Attributes:
        name: CamelCase, first word Raymon; the heading of its section in the runbook.
        summary: One static sentence.
        description: With `{{ $labels.… }}`: which run, which worker, how much.
        expression: PromQL.
        hold_seconds: How long the expression must hold before the alert fires.
        reason: Why these limits and this time; a comment beside the rule.
        board: The uid of the dashboard that shows it.
        labels: Labels of the alert that are variables of that dashboard.
    """

    name: str
    summary: str
    description: str
    expression: str
    hold_seconds: float
    reason: str
    board: str = "raymon-overview"
    labels: tuple[str, ...] = ("run",)

    @property
    def severity(self) -> Severity:
        """How severe it is, as everywhere else."""
        return ALERTS[self.name]

    def rule(self) -> dict[str, Any]:
        """Return the rule as Prometheus reads it."""
        variables = "&".join(
            f"var-{VARIABLES.get(label, label)}={{{{ $labels.{label} | urlquery }}}}" for label in self.labels
        )
        return {
            "alert": self.name,
            "expr": self.expression,
            **({"for": duration(self.hold_seconds)} if self.hold_seconds else {}),
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{RUNBOOK}#{self.name.lower()}",
                "dashboard_url": f"/d/{self.board}" + (f"?{variables}" if variables else ""),
            },
        }

    def annotations(self, labels: dict[str, str], value: str = "") -> dict[str, str]:
        """Return the annotations as Prometheus fills them in for given labels, the value being printed as `value`."""

        def fill(text: str) -> str:
            text = re.sub(r"\{\{ \$value[^}]*\}\}", value, text)
            text = re.sub(r"\{\{ \$labels\.(\w+) \| urlquery \}\}", lambda m: quote_plus(labels.get(m[1], "")), text)
            return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda m: labels.get(m[1], ""), text)

        return {name: fill(text) for name, text in self.rule()["annotations"].items()}


def duration(seconds: float) -> str:
    """Return a Prometheus duration: `90s`, `2m`, or milliseconds below a second."""
    if seconds >= 60 and seconds % 60 == 0:
        return f"{seconds / 60:.0f}m"
    return f"{seconds:.0f}s" if seconds >= 1 and seconds % 1 == 0 else f"{seconds * 1000:.0f}ms"


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the rules' clocks run: 1 in use, more in a test that provokes alerts within seconds."""

    speed: float = 1.0

    def window(self, seconds: float) -> str:
        """Return a range, as a Prometheus duration."""
        return duration(seconds / self.speed)

    def limit(self, seconds: float) -> str:
        """Return a limit on an age or a length of time, as a number of seconds."""
        return f"{seconds / self.speed:g}"
