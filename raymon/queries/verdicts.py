"""Queries on the verdicts that `raymon export` serves; without it they have no data."""

from collections.abc import Mapping
from typing import Final

from raymon import catalog
from raymon.queries.query import Query, latest, of

SEVERITY_LEVELS: Final[Mapping[str, int]] = {"unknown": -1, "ok": 0, "info": 1, "warning": 2, "critical": 3}
"""Severity to its value in `SEVERITY`."""


def _level(severity: str) -> str:
    matcher = f'severity="{severity}"'
    return f"{SEVERITY_LEVELS[severity]} * {of(catalog.RUN_VERDICT, matcher)}"


SEVERITY: Final = Query(
    "Verdict over time",
    "none",
    "The severity of raymon's verdict on each run: 0 ok, 1 a limit worth knowing, 2 warning, 3 critical, -1 unknown.",
    f"max by (run) ({' or '.join(map(_level, SEVERITY_LEVELS))})",
    "{{run}}",
)
VERDICT: Final = Query(
    "Verdict",
    "none",
    "What raymon says about each run now, such as healthy, worker_stalled or learner_bound.",
    f"{latest(catalog.RUN_VERDICT, 'run, code')} == 1",
    "{{run}}: {{code}}",
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
    "Number of workers in each state that raymon distinguishes, such as running, slow or stalled.",
    f"count by (state) ({latest(catalog.WORKER_STATE, 'run, worker, state')})",
    "{{state}}",
)
