"""The colours of the dashboards: one per phase, activity and outcome, and the thresholds' three."""

from collections.abc import Mapping
from typing import Any, Final

from raymon import catalog
from raymon.queries.run import STATES
from raymon.queries.verdicts import LEVELS

Steps = tuple[tuple[float | None, str], ...]
"""Pairs of a value and the colour from that value on; the first value is None."""

States = tuple[tuple[str, str], ...]
"""Text and colour of each number, from 1 on, of a query that returns states as numbers."""

GREEN: Final = "green"
YELLOW: Final = "#C9A800"
RED: Final = "red"
NEUTRAL: Final = "text"
BLUE: Final = "#0072B2"

EXPORT_AND_SCRAPE_SECONDS: Final = 15.0
"""Age of a healthy number on a dashboard: Ray exports every 10 s by default, Prometheus scrapes every 5 s."""
AGE_STEPS: Final[Steps] = ((None, NEUTRAL), (EXPORT_AND_SCRAPE_SECONDS + 5.0, YELLOW), (60.0, RED))
"""Thresholds of the time since something that happens every second, or is late already."""

# Distinguishable for colour-blind readers (Okabe and Ito 2008), yellow and grey darkened to be legible on white.
COLOURS: Final[Mapping[str, str]] = {
    "environment": "#009E73",
    "inference": "#0072B2",
    "sending": "#CC79A7",
    "waiting": "#999999",
    "starting": "#C9A800",
    "sample": "#009E73",
    "transfer": "#CC79A7",
    "weights": "#C9A800",
    "learn": "#D55E00",
    "checkpoint": "#56B4E9",
    "log": "#E69F00",
    "other": "#777777",
    "generate": "#009E73",
    "reward": "#E69F00",
    "reference": "#56B4E9",
    "advantage": "#777777",
    "train": "#D55E00",
    "weight_sync": "#C9A800",
    "received": "#0072B2",
    "trained": "#009E73",
    "dropped": "#D55E00",
}
BY_LEGEND: Final[Mapping[str, tuple[str, ...]]] = {
    "{{role}}{{activity}}": catalog.ACTIVITIES,
    "{{role}}{{phase}}": (*catalog.WORKER_PHASES, *catalog.LANGUAGE_PHASES),
    "{{phase}}": tuple(dict.fromkeys((*catalog.DRIVER_PHASES, *catalog.WORKER_PHASES, *catalog.LANGUAGE_PHASES))),
    "{{outcome}}": catalog.FRAGMENTS.values["outcome"],
}
"""The series names that have a colour of their own, alone or after a role, by the legend that makes them."""
_OF_STATE: Final[Mapping[str, str]] = {"training": GREEN, "failed": RED, "starting": YELLOW}

RUN_STATES: Final[States] = tuple((state, _OF_STATE.get(state, NEUTRAL)) for state in STATES)
"""Text and colour of each number of the query `run.RUN_STATE`."""
_OF_SEVERITY: Final[Mapping[str, str]] = {"ok": GREEN, "info": BLUE, "warning": YELLOW, "critical": RED}
SEVERITIES: Final[States] = tuple((severity, _OF_SEVERITY.get(severity, NEUTRAL)) for severity in LEVELS)
"""Text and colour of each number of the query `verdicts.SEVERITY`."""
ACTIVITIES: Final[States] = tuple((activity, COLOURS[activity]) for activity in catalog.ACTIVITIES)
"""Text and colour of each number of the query `workers.ACTIVITY`."""

NO_VALUE: Final[dict[str, Any]] = {
    "type": "special",
    "options": {"match": "null+nan", "result": {"color": NEUTRAL, "index": 0}},
}
"""Shows the text of an empty panel in the colour of text, never in that of a threshold."""


def mapping(states: States, zero: str = "") -> dict[str, Any]:
    """Return the value mapping from numbers to texts and colours.

    Args:
        states: Those of the numbers from 1 on.
        zero: Text of the number 0, in a neutral colour; without it 0 is no state.
    """
    numbered = [*([(0, (zero, NEUTRAL))] if zero else []), *enumerate(states, 1)]
    return {
        "type": "value",
        "options": {
            str(number): {"text": text, "color": colour, "index": number} for number, (text, colour) in numbered
        },
    }


def thresholds(steps: Steps) -> dict[str, Any]:
    """Return the thresholds as Grafana reads them."""
    return {"mode": "absolute", "steps": [{"color": colour, "value": value} for value, colour in steps]}
