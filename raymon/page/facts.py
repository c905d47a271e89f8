"""What all drawings of a run have in common until its next collection: computed for the first of them.

A run of ten thousand workers is drawn each second and at each click, and is collected anew every few seconds. Ordering
and counting its workers takes longer than drawing the 25 of them that are shown.
"""

from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Final, TypeVar, cast

from raymon.health import RunVerdict
from raymon.views import RunView

MOST_RUNS: Final = 4
"""Of so many runs that were drawn last, the facts are remembered, and with them what they were computed from."""

T = TypeVar("T")


class Facts:
    """The facts of one run as of one collection. What depends on the time of a drawing, or on a choice, is none."""

    def __init__(self, run: RunView, verdict: RunVerdict, taken_at: float) -> None:
        self.run, self.taken_at = run.run, taken_at
        self._run, self._verdict = run, verdict
        self._known: dict[Hashable, object] = {}

    def are_of(self, run: RunView, verdict: RunVerdict) -> bool:
        """Return whether they are of this view and verdict, and not of an earlier collection."""
        return self._run is run and self._verdict is verdict

    def once(self, name: Hashable, compute: Callable[[], T]) -> T:
        """Return a fact, computed at its first request; its name belongs to one type."""
        if name not in self._known:
            self._known[name] = compute()
        return cast("T", self._known[name])


_recent: Final[deque[Facts]] = deque(maxlen=MOST_RUNS)


def facts_of(run: RunView, verdict: RunVerdict, taken_at: float) -> Facts:
    """Return the facts of a run: those of an earlier drawing, unless the run was collected again since.

    Those of a collection are not remembered once a later one, made at a later `taken_at`, was drawn.
    """
    new = Facts(run, verdict, taken_at)
    for facts in tuple(_recent):
        if facts.are_of(run, verdict):
            return facts
        if facts.run == run.run:
            if facts.taken_at > taken_at:
                return new
            with suppress(ValueError):  # another viewer's thread may have removed it
                _recent.remove(facts)
    _recent.append(new)
    return new
