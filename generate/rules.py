"""`prometheus/rules.yml`: recording rules and alerts, each alert with its reason beside it."""

import textwrap
from typing import Any, Final

import yaml

from generate.alert import Pace
from generate.alerts import alerts
from generate.recording_rules import records

HEADER: Final = """\
# Written by python -m generate from generate/alerts.py and the limits in raymon/health; change those.
# Loads in Prometheus 2.42 and 3.x. What each alert means and what to do: docs/runbook.md.
"""
INTERVAL_SECONDS: Final = 5.0


def groups(pace: Pace) -> list[dict[str, Any]]:
    """Return the groups as Prometheus reads them."""
    interval = pace.window(INTERVAL_SECONDS)
    return [
        {"name": "raymon-recording", "interval": interval, "rules": records(pace)},
        {"name": "raymon-alerts", "interval": interval, "rules": [alert.rule() for alert in alerts(pace)]},
    ]


def text(speed: float = 1.0) -> str:
    """Return the file; `speed` divides every duration, for tests that provoke the alerts."""
    pace = Pace(speed)
    body = dump({"groups": groups(pace)})
    for alert in alerts(pace):
        comment = textwrap.indent(textwrap.fill(alert.reason, 110), "  # ")
        body = body.replace(f"  - alert: {alert.name}\n", f"{comment}\n  - alert: {alert.name}\n")
    return HEADER + body


def dump(document: object) -> str:
    """Return a document as YAML, keys in their order, lines not folded."""
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=10_000))
