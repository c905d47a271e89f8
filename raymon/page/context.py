"""What the sections are drawn from: one run of the snapshot, its verdict, its history in the chosen span.

A view holds ages as of the collection; `Context.age` returns them as of now. Sections draw no age without it.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from raymon import health
from raymon.health import Finding, RunVerdict, WorkerVerdict
from raymon.live.snapshot import Floats, RunHistory, Snapshot
from raymon.page.choice import Choice
from raymon.page.facts import Facts, facts_of
from raymon.views import RunView, WorkerView

if TYPE_CHECKING:
    from raymon.page.incident_list import Summary

UNJUDGED: Final = RunVerdict((Finding("unknown", "unknown", "No verdict yet."),))
SHORTEST_SPAN_SECONDS: Final = 30.0
BEFORE_TOLERANCE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """One run, ready to be drawn.

    Attributes:
        elapsed: Seconds since the snapshot was taken.
        other: The run laid over the curves, or None.
        incidents: Those of all runs, newest first.
        facts: What later drawings of the same collection need not compute again.
    """

    snapshot: Snapshot
    choice: Choice
    run: RunView
    verdict: RunVerdict
    history: RunHistory
    facts: Facts
    elapsed: float = 0.0
    other: "Context | None" = None
    incidents: "tuple[Summary, ...]" = ()

    @property
    def now(self) -> float:
        """Return the wall-clock seconds of the drawing, by the clock that took the snapshot."""
        return self.snapshot.taken_at + self.elapsed

    def age(self, seconds: float | None) -> float | None:
        """Return an age of the snapshot as of now; None when it is not known."""
        return None if seconds is None else seconds + self.elapsed

    @property
    def data_age(self) -> float | None:
        """Return the age of the newest number of the run."""
        return self.age(self.run.data_age_seconds)

    @property
    def ended(self) -> bool:
        """Return whether the run has ended, so that no newer numbers are expected."""
        return self.run.ended

    def series(self, name: str) -> tuple[Floats, Floats]:
        """Return seconds before now (negative, rising) and values of a series in the chosen span; both `[K]`."""
        times = np.asarray(self.history.times, float)
        values = np.asarray(self.history.values.get(name, np.full(len(times), np.nan)), float)
        ages = times - self.now
        kept = ages >= -self.choice.span_seconds
        return ages[kept], values[kept]

    def value_before(self, name: str, seconds: float) -> float | None:
        """Return the value of a series that many seconds ago; None when the history does not reach back so far."""
        times = np.asarray(self.history.times, float)
        values = self.history.values.get(name)
        if values is None or not len(times):
            return None
        index = int(np.searchsorted(times, self.now - seconds, side="right")) - 1
        if index < 0 or self.now - seconds - times[index] > BEFORE_TOLERANCE_SECONDS:
            return None
        value = float(values[index])
        return value if np.isfinite(value) else None

    @property
    def domain(self) -> tuple[float, float]:
        """Return the ends of the time axis in seconds before now: the chosen span, or less while history is short."""
        times = np.asarray(self.history.times, float)
        reach = self.now - float(times[0]) if len(times) else SHORTEST_SPAN_SECONDS
        return -min(max(reach, SHORTEST_SPAN_SECONDS), self.choice.span_seconds), 0.0

    def blank_ratio(self, ages: Floats) -> float:
        """Return the share of the time axis before the first of some ages."""
        left = self.domain[0]
        return min(max((float(ages[0]) - left) / -left, 0.0), 1.0) if len(ages) else 1.0

    def judged_workers(self) -> list[tuple[WorkerView, WorkerVerdict]]:
        """Return every worker with its verdict, in the order of the view."""
        return self.facts.once("judged", lambda: health.judged_workers(self.run, self.verdict))


def context_of(
    snapshot: Snapshot, choice: Choice, elapsed: float = 0.0, incidents: "tuple[Summary, ...]" = ()
) -> Context | None:
    """Return the context of the chosen run, `elapsed` seconds after the snapshot; None when there is no run at all."""
    run = snapshot.run(choice.run or None) or snapshot.run()
    if run is None:
        return None
    compared = snapshot.run(choice.against) if choice.against and choice.against != run.run else None
    other = None if compared is None else _context(snapshot, choice, compared, elapsed, None)
    return replace(_context(snapshot, choice, run, elapsed, other), incidents=incidents)


def _context(snapshot: Snapshot, choice: Choice, run: RunView, elapsed: float, other: Context | None) -> Context:
    verdict = snapshot.verdicts.get(run.run, UNJUDGED)
    history = snapshot.histories.get(run.run, RunHistory())
    return Context(snapshot, choice, run, verdict, history, facts_of(run, verdict, snapshot.taken_at), elapsed, other)
