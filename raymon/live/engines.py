"""What inference engines export on the nodes' pages: time to the first token, and use of the key-value cache.

Their families carry no label of raymon's, so that they are of the cluster, not of a run. A page may hold anything: the
bounds of histograms are limited in number, and a series that vanishes for a round only loses what it counted meanwhile.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from raymon.live.parse import SeriesKey
from raymon.queries import engine_families

WINDOW_SECONDS: Final = 60.0
ABSENT_SECONDS: Final = 15.0
"""How long a gauge outlives its series, since some versions of Ray leave gauges out of most pages."""
QUANTILE: Final = 0.95
MOST_BOUNDS: Final = 256
"""Bounds of all histograms together; further ones are not counted."""
_CACHE: Final = frozenset(name for names in engine_families.CACHE_USED.values() for name in names)
_FIRST_TOKEN: Final = engine_families.EVERY - _CACHE
_Bound = tuple[str, float]
"""Family and upper bound of a bucket."""


@dataclass(slots=True)
class Engines:
    """What is remembered of the engines' families.

    Attributes:
        cache_used: Largest share of the cache in use of any engine in the last round that had one, and when.
    """

    cache_used: tuple[float, float] | None = None
    _last: dict[SeriesKey, float] = field(default_factory=dict)
    _totals: dict[_Bound, float] = field(default_factory=dict)
    _points: deque[tuple[float, dict[_Bound, float]]] = field(default_factory=deque)

    def take(self, samples: Iterable[tuple[SeriesKey, float]], now: float) -> None:
        """Take in the samples of one round; those of other families are left out."""
        counted: dict[SeriesKey, float] = {}
        used = []
        for series, value in samples:
            if series.name in _CACHE:
                used.append(value)
            elif series.name in _FIRST_TOKEN:
                counted[series] = max(value, counted.get(series, 0.0))  # on two pages: it counts once
        if used:
            self.cache_used = max(used), now
        if not counted and not self._points:
            return
        for series, value in counted.items():
            bound = _bound(series)
            before = self._last.get(series)
            if bound is None or before is None or (bound not in self._totals and len(self._totals) >= MOST_BOUNDS):
                continue
            grown = value - before if value >= before else value
            self._totals[bound] = self._totals.get(bound, 0.0) + grown
        self._last = counted
        self._points.append((now, dict(self._totals)))
        while len(self._points) > 1 and not 0.0 <= now - self._points[1][0] < WINDOW_SECONDS:
            self._points.popleft()

    def cache_ratio(self, now: float) -> float | None:
        """Return the share of the cache in use, 0 to 1, of the engine that uses most; None while not known."""
        if self.cache_used is None or now - self.cache_used[1] > ABSENT_SECONDS:
            return None
        return self.cache_used[0]

    def first_token_seconds(self) -> float | None:
        """Return the 95th percentile of the time to the first token over the last minute; None without any request.

        Of several engines, it is that of the slowest.
        """
        if not self._points:
            return None
        before = self._points[0][1]
        grown: dict[str, list[tuple[float, float]]] = {}
        for (family, bound), total in self._totals.items():
            grown.setdefault(family, []).append((bound, total - before.get((family, bound), 0.0)))
        known = [value for buckets in grown.values() if (value := _quantile(sorted(buckets))) is not None]
        return max(known, default=None)


def _bound(series: SeriesKey) -> _Bound | None:
    try:
        bound = float(series.labels.get("le", ""))
    except ValueError:
        return None
    return (series.name, bound) if bound > 0.0 else None


def _quantile(buckets: list[tuple[float, float]]) -> float | None:
    """Return the quantile of cumulative buckets as Prometheus computes it: linear within a bucket."""
    if not buckets or buckets[-1][0] != math.inf or buckets[-1][1] <= 0.0:
        return None
    wanted = QUANTILE * buckets[-1][1]
    lower, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted:
            if bound == math.inf:
                return lower or None
            return lower + (bound - lower) * (wanted - below) / max(count - below, 1e-9)
        lower, below = bound, count
    return None
