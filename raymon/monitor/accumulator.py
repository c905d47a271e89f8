"""What one monitor has counted and not yet exported: cells of sums, last values, observations.

The threads of the user's process write it; the flush thread reads it. Every change is made under the accumulator's
lock, so sums are exact whatever the interleaving; the lock is held for well under a microsecond. It is re-entrant
because a signal handler or a finalizer may record in the middle of a recording.
"""

import math
import threading
from typing import Final, NamedTuple

from raymon.catalog import Metric

MOST_LABEL_SETS: Final = 200
"""Most series of one family in one monitor; a label without enumerated values could otherwise grow without bound."""
MOST_WORKER_SETS: Final = 4_000
"""The same for a family of the driver with a series per worker: 2,000 workers, each lost once."""
MOST_OBSERVATIONS: Final = 5_000
"""Observations of one series kept until the next flush: Ray's agent replays each in Python (about 3 µs)."""
LONGEST_LABEL: Final = 64

Values = tuple[str, ...]
Key = tuple[str, Values]


class RefusedError(ValueError):
    """An observation that does not fit its family; it is dropped and counted, never raised to the user."""


class Cell:
    """A sum that only grows, and how much of it was exported; `scale` converts its unit to the metric's."""

    __slots__ = ("handed", "scale", "total")

    def __init__(self, scale: float = 1.0) -> None:
        self.total: float = 0
        self.handed: float = 0
        self.scale = scale


class Pending(NamedTuple):
    """What one flush exports: increases since the last one, current values, observations since the last one."""

    increases: list[tuple[Key, Cell, float]]
    values: list[tuple[Key, float]]
    observations: list[tuple[Key, list[float]]]


class Accumulator:
    """Exact sums per series, last values, and observations that wait for the next flush."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.metrics: dict[str, Metric] = {}
        self._cells: dict[Key, Cell] = {}
        self._values: dict[Key, float] = {}
        self._observations: dict[Key, list[float]] = {}
        self._sets: dict[str, set[Values]] = {}
        self._keys: dict[tuple[object, ...], Key] = {}

    def renew_after_fork(self) -> None:
        """In a forked child: drop what the parent will export, and replace a lock that a vanished thread may hold."""
        self.lock = threading.RLock()
        for cell in self._cells.values():
            cell.handed = cell.total
        self._observations.clear()

    def key(self, metric: Metric, labels: dict[str, object]) -> Key:
        """Return the key of a series; a combination of labels is checked once.

        Raises:
            RefusedError: A label is missing, unknown or outside its values, or the family has too many series.
        """
        for value in labels.values():
            if value.__class__ is not str and value.__class__ is not int:  # 1, 1.0 and True would be one in a dict
                return self._checked_key(metric, labels)
        combination = (metric.name, *labels.items())
        key = self._keys.get(combination)
        if key is None:
            key = self._keys[combination] = self._checked_key(metric, labels)
        return key

    def _checked_key(self, metric: Metric, labels: dict[str, object]) -> Key:
        if labels.keys() != set(metric.labels):
            raise RefusedError(f"{metric.name}: found labels {sorted(labels)}, expected {sorted(metric.labels)}")
        values = []
        for label in metric.labels:
            value = str(labels[label])
            allowed = metric.values.get(label)
            if (allowed and value not in allowed) or not 0 < len(value) <= LONGEST_LABEL:
                raise RefusedError(f"{metric.name}: found {label}={value!r}, expected {allowed or 'a short text'}")
            values.append(value)
        checked = tuple(values)
        with self.lock:
            known = self._sets.setdefault(metric.name, set())
            if checked not in known:
                most = MOST_WORKER_SETS if "worker" in metric.labels else MOST_LABEL_SETS
                if len(known) >= most:
                    raise RefusedError(f"{metric.name}: more than {most} sets of label values")
                known.add(checked)
                self.metrics.setdefault(metric.name, metric)
        return metric.name, checked

    def cell(self, metric: Metric, labels: dict[str, object] | None = None, scale: float = 1.0) -> Cell:
        """Return the cell of a counter's series. A new one is exported as 0, so `increase()` sees its first event."""
        if metric.kind != "counter":
            raise RefusedError(f"{metric.name} is a {metric.kind}, it cannot be counted")
        key = self.key(metric, labels or {})
        cell = self._cells.get(key)
        if cell is None:
            with self.lock:
                cell = self._cells.setdefault(key, Cell(scale))
        return cell

    def set(self, metric: Metric, labels: dict[str, object], value: float) -> None:
        """Set a gauge; a value that is not finite is refused."""
        if metric.kind != "gauge":
            raise RefusedError(f"{metric.name} is a {metric.kind}, it cannot be set")
        self._values[self.key(metric, labels)] = finite(value)

    def observe(self, metric: Metric, labels: dict[str, object], value: float) -> None:
        """Keep an observation of a histogram for the next flush."""
        if metric.kind != "histogram":
            raise RefusedError(f"{metric.name} is a {metric.kind}, it cannot be observed")
        key = self.key(metric, labels)
        with self.lock:
            waiting = self._observations.setdefault(key, [])
            if len(waiting) >= MOST_OBSERVATIONS:
                raise RefusedError(f"{metric.name}: more than {MOST_OBSERVATIONS} observations between two flushes")
            waiting.append(finite(value))

    def hand_over_again(self) -> None:
        """Export whole totals at the next flush, because the labels have changed."""
        with self.lock:
            for cell in self._cells.values():
                cell.handed = 0

    def take(self) -> Pending:
        """Take what was not exported yet; the caller exports it or counts it as dropped."""
        with self.lock:
            increases = []
            for key, cell in self._cells.items():
                increase = cell.total - cell.handed
                if increase >= 0:
                    cell.handed = cell.total
                    increases.append((key, cell, increase))
            observations = [(key, values) for key, values in self._observations.items() if values]
            self._observations = {}
            return Pending(increases, list(self._values.items()), observations)


def finite(value: float) -> float:
    """Return the value as a float.

    Raises:
        RefusedError: It is not one finite number.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RefusedError(f"found {type(value).__name__}, expected a number") from error
    if not math.isfinite(number):
        raise RefusedError(f"found {number}, expected a finite number")
    return number


def amount(value: float) -> float:
    """Return a finite number, 0 or more, that may be added to a counter; whole numbers stay exact.

    Raises:
        RefusedError: It is negative or not one finite number.
    """
    number = finite(value)
    if number < 0:
        raise RefusedError(f"found {number}, expected an amount that is not negative")
    return int(number) if number.is_integer() else number
