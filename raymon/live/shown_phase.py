"""Choose one phase per moment for workers that go through all of them many times a second, in proportion to the time.

Showing the phase that takes most of the time would show nothing else, and the activity a worker reports when it flushes
is the one it flushes in. So each moment is given to the phase that has been shown least for its share (error
diffusion): over a row of moments, lengths are proportional to time.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Final

MOST_WORKERS: Final = 50_000


@dataclass(slots=True)
class ShownPhases:
    """How many moments each phase of each worker is still owed."""

    _owed: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)

    def next(self, run: str, worker: str, shares: Mapping[str, float]) -> str | None:
        """Return the phase to show now, from the phases' shares of the last seconds; None when there is none."""
        total = sum(share for share in shares.values() if share > 0.0)
        if not total > 0.0:
            return None
        if len(self._owed) > MOST_WORKERS:
            self._owed.clear()
        owed = self._owed.setdefault((run, worker), {})
        for phase, share in shares.items():
            owed[phase] = owed.get(phase, 0.0) + max(share, 0.0) / total
        shown = max(owed, key=owed.__getitem__)
        owed[shown] -= 1.0
        return shown

    def keep(self, runs: Set[str]) -> None:
        """Forget the workers of every run but these."""
        self._owed = {key: owed for key, owed in self._owed.items() if key[0] in runs}
