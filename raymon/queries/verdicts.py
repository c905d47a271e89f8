"""Queries on the verdicts that `raymon export` serves; without it they have no data."""

from typing import Final

from raymon import catalog
from raymon.queries.query import Query, latest, of, top

STATES_OF_RUN: Final = f"count by (run, state) ({latest(catalog.WORKER_STATE, 'run, worker, state')})"
LEVELS: Final = ("unknown", "ok", "info", "warning", "critical")
"""Severities by their number in `SEVERITY`, from 1 on; a run without a verdict has 0."""


def _level(severity: str) -> str:
    matcher = f'severity="{severity}"'
    return f"{LEVELS.index(severity) + 1} * {of(catalog.RUN_VERDICT, matcher)}"


SEVERITY: Final = Query(
    "Verdict over time",
    "none",
    "The severity of raymon's verdict, from `raymon export`: ok, info, warning, critical or unknown; of the three runs "
    "with the gravest one in the time range.",
    top(f"max by (run) ({' or '.join(map(_level, LEVELS))}) or 0 * {latest(catalog.RUN_INFO, 'run')}", 3),
)
FINDINGS: Final = Query(
    "Findings",
    "none",
    "Everything that raymon finds about each run now, the verdict included.",
    f"{latest(catalog.RUN_FINDING, 'run, code, severity')} == 1",
    "{{run}}: {{code}}",
)
WORKER_STATES: Final = Query(
    "Workers by verdict",
    "short",
    "Number of workers in each state that raymon distinguishes, such as running or stalled, all selected runs "
    "together.",
    f"sum by (state) ({STATES_OF_RUN})",
    "{{state}}",
)
