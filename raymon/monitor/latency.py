"""Quantiles of durations over a sliding window, in bounded memory.

Source: Masson, Rim, Lee, "DDSketch" (VLDB 2019), section 2: buckets growing by gamma = (1 + a) / (1 - a) answer every
quantile with a relative error of at most a, here 1 %.
"""

import math
from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import Final

_ACCURACY: Final = 0.01
_GAMMA: Final = (1 + _ACCURACY) / (1 - _ACCURACY)
_LOG_GAMMA: Final = math.log(_GAMMA)
_SHORTEST_SECONDS: Final = 1e-7
_LONGEST_SECONDS: Final = 1e7
SLOTS: Final = 12


class SlidingQuantiles:
    """Quantiles of durations in the last `window_seconds`, which are forgotten in slots of a twelfth of the window.

    Example:
        >>> recent = SlidingQuantiles(60.0)
        >>> for seconds in (0.1, 0.2, 0.3):
        ...     recent.add(seconds, now=0.0)
        >>> [round(value, 1) for value in recent.quantiles((0.5, 0.99), now=1.0)]
        [0.2, 0.3]
    """

    def __init__(self, window_seconds: float) -> None:
        self._slot_seconds = window_seconds / SLOTS
        self._slots: dict[int, Counter[int]] = {}
        self._last: float | None = None

    def add(self, seconds: float, now: float) -> None:
        """Add one duration that ended at `now`, in seconds of a monotonic clock."""
        self._last = min(max(seconds, _SHORTEST_SECONDS), _LONGEST_SECONDS)
        slot = self._slots.get(int(now // self._slot_seconds))
        if slot is None:
            self._forget(now)
            slot = self._slots[int(now // self._slot_seconds)] = Counter()
        slot[math.ceil(math.log(self._last) / _LOG_GAMMA)] += 1

    def quantiles(self, wanted: tuple[float, ...], now: float) -> list[float]:
        """Return the quantiles of the window by nearest rank; empty before the first duration.

        If the window is empty, each is the last duration, so that hour-long rollouts have a latency too. Running
        rollouts are left out: limits on silence are multiples of the latency and would grow during a hang.
        """
        self._forget(now)
        merged: Counter[int] = Counter()
        for slot in self._slots.values():
            merged.update(slot)
        if not merged:
            return [] if self._last is None else [self._last] * len(wanted)
        total = merged.total()
        ordered = sorted(merged.items())
        return [_value_at(ordered, max(1, math.ceil(quantile * total))) for quantile in wanted]

    def _forget(self, now: float) -> None:
        oldest = now // self._slot_seconds - SLOTS
        for slot in [slot for slot in self._slots if slot <= oldest]:
            del self._slots[slot]


def _value_at(ordered: list[tuple[int, int]], rank: int) -> float:
    upto = list(accumulate(count for _, count in ordered))
    bucket = ordered[bisect_left(upto, rank)][0]
    return float(2 * _GAMMA**bucket / (_GAMMA + 1))
