"""Phases of the driver's iterations, for the metrics and for the run's records."""

import contextlib
import time
from collections.abc import Iterator
from typing import Final

from raymon import DriverMonitor

_HAND_OVER_SECONDS: Final = 0.2


class Phases:
    """Times phases, which do not nest, and passes them to the monitor."""

    def __init__(self, monitor: DriverMonitor) -> None:
        self._monitor = monitor
        self._since = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._owed: dict[str, float] = {}
        self._handed = 0.0
        self.totals: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a phase, one of `catalog.DRIVER_PHASES`."""
        with self._monitor.phase(name):
            began = time.perf_counter()
            try:
                yield
            finally:
                self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - began

    @contextlib.contextmanager
    def brief(self, name: str) -> Iterator[None]:
        """Time a phase of microseconds that occurs thousands of times a second; the monitor gets sums in batches."""
        began = time.perf_counter()
        try:
            yield
        finally:
            now = time.perf_counter()
            self._seconds[name] = self._seconds.get(name, 0.0) + now - began
            self._owed[name] = self._owed.get(name, 0.0) + now - began
            if now - self._handed > _HAND_OVER_SECONDS:
                self._hand_over(now)

    def begin(self) -> None:
        """Restart the clock: time before training counts nowhere."""
        self._since, self._seconds, self._owed, self.totals = time.perf_counter(), {}, {}, {}

    def lap(self) -> dict[str, float]:
        """Return the seconds per phase since the last lap, the rest as `other`, and start the next lap."""
        now = time.perf_counter()
        self._hand_over(now)
        seconds, self._seconds = self._seconds, {}
        seconds["other"] = max(0.0, now - self._since - sum(seconds.values()))
        self._since = now
        for name, value in seconds.items():
            self.totals[name] = self.totals.get(name, 0.0) + value
        return seconds

    def _hand_over(self, now: float) -> None:
        for name, seconds in self._owed.items():
            self._monitor.add_phase(name, seconds)
        self._owed, self._handed = {}, now
