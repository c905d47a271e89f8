"""One alert: a symptom, how long it must hold and why, and where to read more."""

from dataclasses import dataclass
from typing import Any, Final

from raymon.health import ALERTS, Severity

VARIABLES: Final = {"SessionName": "session"}
"""The dashboards' name for a label, where it differs from the label's own."""
RUNBOOK: Final = "docs/runbook.md"
"""Path in raymon's repository: an address that may not exist would be a dead link in every message."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    Attributes:
        name: CamelCase, first word Raymon; also the heading of its section in the runbook.
        summary: One sentence without labels.
        description: Names the run, the worker and the value, as templates like `{{ $labels.run }}`.
        expression: PromQL.
        hold_seconds: How long the expression must hold before the alert fires.
        reason: Why these limits and this time; written as a comment above the rule.
        board: The uid of the dashboard that shows it.
        labels: Labels of the alert that are variables of that dashboard.
    """

    name: str
    summary: str
    description: str
    expression: str
    hold_seconds: int
    reason: str
    board: str = "raymon-overview"
    labels: tuple[str, ...] = ("run",)

    @property
    def severity(self) -> Severity:
        """The severity that page and terminal show too."""
        return ALERTS[self.name]

    def rule(self) -> dict[str, Any]:
        """Return the rule as Prometheus reads it."""
        variables = "&".join(
            f"var-{VARIABLES.get(label, label)}={{{{ $labels.{label} | urlquery }}}}" for label in self.labels
        )
        return {
            "alert": self.name,
            "expr": self.expression,
            **({"for": f"{self.hold_seconds}s"} if self.hold_seconds else {}),
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook": f"{RUNBOOK}#{self.name.lower()}",
                "dashboard_url": f"/d/{self.board}" + (f"?{variables}" if variables else ""),
            },
        }
