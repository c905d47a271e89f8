"""What a watch has to tell: incidents that open and close, and verdicts that change."""

from dataclasses import dataclass
from typing import Any

from raymon.health import Finding


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """Something to tell: an incident that opened or closed, or a verdict that changed.

    Attributes:
        kind: `opened`, `closed` or `verdict`.
        folder: Folder of the incident; empty for a verdict or if it was not written.
        hang: Which process hangs, and where, in words; empty if unknown.
    """

    kind: str
    run: str
    code: str
    severity: str
    sentence: str
    at: float
    advice: str = ""
    worker: str = ""
    folder: str = ""
    hang: str = ""


def event_of(kind: str, run: str, finding: Finding, at: float) -> WatchEvent:
    """Return the event of a finding."""
    return WatchEvent(kind, run, finding.code, finding.severity, finding.sentence, at, finding.advice, finding.worker)


def header_of(event: WatchEvent) -> dict[str, Any]:
    """Return the head of an incident's data."""
    return {
        "format": 1,
        "run": event.run,
        "code": event.code,
        "severity": event.severity,
        "worker": event.worker,
        "sentence": event.sentence,
        "advice": event.advice,
        "opened_at": event.at,
        "closed_at": None,
        "followed_by": [],
    }
