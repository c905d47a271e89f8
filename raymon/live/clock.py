"""Ages of moments written by other machines, whose clocks may differ, read by a viewer that may have slept."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

LAG_WINDOW_SECONDS: Final = 30.0
TOLERATED_LAG_SECONDS: Final = 4.0
"""A new heartbeat is read at most a flush, an export and a scrape after it was written; more is a wrong clock."""
PAUSE_SECONDS: Final = 5.0
"""A gap between two rounds beyond this means that this process or its machine stood still."""


@dataclass(slots=True)
class Clock:
    """Turn moments into ages.

    Each node's clock is compared with ours through the smallest age at which a heartbeat of that node was first seen.
    A gap between rounds (a suspended laptop, a stopped virtual machine) is not counted into the ages of older moments.
    """

    _lags: dict[str, deque[tuple[float, float]]] = field(default_factory=dict)
    _skews: dict[str, float] = field(default_factory=dict)
    _pauses: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=16))
    set_back_seconds: float = 0.0
    """By how much our clock has been set back since the first round; `forward` makes up for it."""
    _last_tick: float | None = None
    _jumped_at: float = float("-inf")
    _set_back_at: float = float("-inf")

    def forward(self, wall: float) -> float:
        """Return our wall-clock time, which goes on where it was after our clock has been set back."""
        if self._last_tick is not None and (back := self._last_tick - wall - self.set_back_seconds) > PAUSE_SECONDS:
            self.made_up_for(self.set_back_seconds + back)
        return wall + self.set_back_seconds

    def made_up_for(self, seconds: float) -> None:
        """Note that the moments of rounds have made up for a clock that was set back, as those of a recording have."""
        if seconds > self.set_back_seconds:
            self.set_back_seconds, self._set_back_at = seconds, self._last_tick or 0.0

    def tick(self, now: float) -> None:
        """Begin a round at wall-clock `now`."""
        if self._last_tick is not None and abs(gap := now - self._last_tick) > PAUSE_SECONDS:
            self._jumped_at = now
            if gap > 0.0:
                self._pauses.append((now, gap))
        self._last_tick = now

    def saw(self, node: str, lag: float, now: float) -> None:
        """Note that a heartbeat of a node was first seen `lag` seconds after it was written, by the two clocks."""
        self._skews.pop(node, None)
        lags = self._lags.setdefault(node, deque(maxlen=64))
        if lags and not self._jumped_at <= lags[-1][0] <= now:  # measured before one of the clocks may have been set
            lags.clear()
        if lags and lags[-1][0] == now:
            lags[-1] = (now, min(lag, lags[-1][1]))
        else:
            lags.append((now, lag))
        while lags[0][0] < now - LAG_WINDOW_SECONDS and len(lags) > 1:
            lags.popleft()

    def skew(self, node: str) -> float:
        """Return by how many seconds the node's clock is behind ours; 0 while that may be a delay."""
        skew = self._skews.get(node)
        if skew is None:
            least = min((lag for _, lag in self._lags.get(node, ())), default=0.0)
            skew = self._skews[node] = least if least < 0.0 or least > TOLERATED_LAG_SECONDS else 0.0
        return skew

    def offset(self, node: str, shift: float) -> float:
        """Return by how many seconds the node's clock is behind ours, as both are set now; 0 while nothing shows it.

        Args:
            node: Its address.
            shift: What makes up for that clock having been set.
        """
        lags = self._lags.get(node)
        if not lags or lags[-1][0] <= self._set_back_at:
            return 0.0
        return self.skew(node) + shift - self.set_back_seconds

    def age(self, moment: float, node: str, now: float) -> float:
        """Return the age in seconds, at our wall-clock `now`, of a moment by the node's clock."""
        ours = moment + self.skew(node)
        paused = sum(seconds for end, seconds in self._pauses if ours < end)
        return max(0.0, now - ours - paused)
