"""Bounded history of a run for charts and slopes: ten minutes at a second, older samples thinned."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from raymon.live.snapshot import STRIP, Floats, RunHistory, WorkerHistory

MOST_SAMPLES: Final = 900
MOST_CELLS: Final = 1_000_000
"""Workers times samples; beyond a thousand workers each keeps fewer samples, so that memory does not grow."""
COPIED_SAMPLES: Final = 60
"""Copies have room for a multiple of so many samples: blocks of one size follow each other for a minute, in the same
place. Copies as long as the history, a little longer each second, fragment the memory."""
STEP_BACK_SECONDS: Final = 2.0
"""A moment this far before the last one means that the clock was set back; the history then moves with it."""
_Number = TypeVar("_Number", bound=np.generic)
_STRIP_INDEX: Final[Mapping[str, int]] = {name: index for index, name in enumerate(STRIP)}


@dataclass(frozen=True, slots=True)
class WorkerSample:
    """One worker at one moment: `latency_seconds` is its p95, `doing` is one of `STRIP`."""

    steps_per_second: float
    rss_bytes: float
    latency_seconds: float
    doing: str


@dataclass(slots=True)
class Ring:
    """The history of one run: K columns in time, W rows for workers; when full, half of the older half is dropped."""

    _rows: dict[str, int] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)
    _size: int = 0
    _times: Floats = field(default_factory=lambda: np.empty(MOST_SAMPLES))
    _values: Floats = field(default_factory=lambda: np.empty((0, MOST_SAMPLES)))
    _steps: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, MOST_SAMPLES), np.float32))
    _memory: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, MOST_SAMPLES), np.float32))
    _latency: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, MOST_SAMPLES), np.float32))
    _strip: NDArray[np.int8] = field(default_factory=lambda: np.empty((0, MOST_SAMPLES), np.int8))

    def add(self, moment: float, values: Mapping[str, float | None], workers: Mapping[str, WorkerSample]) -> None:
        """Append one sample; a moment not after the last is ignored unless the clock was set back."""
        if self._size and moment <= (last := self._times[self._size - 1]):
            if moment > last - STEP_BACK_SECONDS:
                return
            self._times[: self._size] += moment - 1.0 - last
        self._grow(values, workers)
        while self._size >= self._capacity():
            self._thin()
        at = self._size
        self._times[at] = moment
        self._values[:, at] = np.nan
        for name, value in values.items():
            if value is not None:
                self._values[self._names[name], at] = value
        self._steps[:, at] = self._memory[:, at] = self._latency[:, at] = np.nan
        self._strip[:, at] = 0
        for worker, sample in workers.items():
            row = self._rows[worker]
            self._steps[row, at] = sample.steps_per_second
            self._memory[row, at] = sample.rss_bytes
            self._latency[row, at] = sample.latency_seconds
            self._strip[row, at] = _STRIP_INDEX[sample.doing]
        self._size += 1

    def freeze(self) -> RunHistory:
        """Return a copy that no later sample changes: one block of all values, and one for each number of workers."""
        size, height = self._size, len(self._rows)
        workers = WorkerHistory(
            workers=tuple(self._rows),
            times=_copied(self._times[None], 1, size)[0],
            steps_per_second=_copied(self._steps, height, size),
            strip=_copied(self._strip, height, size),
            rss_bytes=_copied(self._memory, height, size),
            latency_seconds=_copied(self._latency, height, size),
        )
        values = _copied(self._values, len(self._names), size)
        return RunHistory(workers.times, {name: values[row] for name, row in self._names.items()}, workers)

    def recent(self, name: str, seconds: float) -> tuple[Floats, Floats]:
        """Return the moments and values of one series over the last `seconds`, unknown values left out."""
        if name not in self._names or not self._size:
            return np.empty(0), np.empty(0)
        begin = self._since(seconds)
        times, values = self._times[begin : self._size], self._values[self._names[name], begin : self._size]
        known = ~np.isnan(values)
        return times[known], values[known]

    def memory_slopes(self, seconds: float) -> dict[str, float]:
        """Return every worker's steady growth of resident memory in bytes per second; empty after too short a time."""
        begin = self._since(seconds)
        times, memory = self._times[begin : self._size], self._memory[:, begin : self._size]
        steady = steady_growth(times, memory, seconds)
        return {} if steady is None else {worker: float(steady[row]) for worker, row in self._rows.items()}

    def _since(self, seconds: float) -> int:
        last = self._times[self._size - 1] if self._size else 0.0
        return int(np.searchsorted(self._times[: self._size], last - seconds))

    def _capacity(self) -> int:
        return max(120, min(MOST_SAMPLES, MOST_CELLS // max(1, len(self._rows))))

    def _grow(self, values: Mapping[str, float | None], workers: Mapping[str, WorkerSample]) -> None:
        for name in values:
            self._names.setdefault(name, len(self._names))
        for worker in workers:
            self._rows.setdefault(worker, len(self._rows))
        if len(self._names) > len(self._values):
            self._values = _taller(self._values, len(self._names), np.nan)
        if len(self._rows) > len(self._steps):
            height = max(len(self._rows), len(self._steps) * 5 // 4)
            self._steps = _taller(self._steps, height, np.nan)
            self._memory = _taller(self._memory, height, np.nan)
            self._latency = _taller(self._latency, height, np.nan)
            self._strip = _taller(self._strip, height, 0)

    def _thin(self) -> None:
        half = self._size // 2
        keep = np.concatenate([np.arange(0, half, 2), np.arange(half, self._size)])
        for array in (self._times[None], self._values, self._steps, self._memory, self._latency, self._strip):
            array[:, : len(keep)] = array[:, keep]
        self._size = len(keep)


def _copied(array: NDArray[_Number], height: int, size: int) -> NDArray[_Number]:
    """Return a copy of the first rows and samples, with room for a multiple of `COPIED_SAMPLES`."""
    width = -(-size // COPIED_SAMPLES) * COPIED_SAMPLES
    copied: NDArray[_Number] = array[:height, :width].copy()
    return copied[:, :size]


def _taller(array: NDArray[_Number], height: int, fill: float) -> NDArray[_Number]:
    taller = np.full((height, MOST_SAMPLES), fill, array.dtype)
    taller[: len(array)] = array
    return taller


def steady_growth(times: Floats, rows: NDArray[np.floating[Any]], seconds: float) -> Floats | None:
    """Return the growth per second of each row `[R, K]` at the moments `[K]`; 0 where it is not steady.

    It is the least of the slopes between the thirds of the window, so that one jump (a buffer allocated, an import) is
    no growth. None while the moments span less than half of `seconds`.
    """
    if len(times) < 6 or times[-1] - times[0] < seconds / 2:
        return None
    edges = np.linspace(0, len(times) - 1, 4).round().astype(int)
    slopes = np.diff(rows[:, edges], axis=1) / np.diff(times[edges])
    return np.where(np.isnan(slopes).any(axis=1), 0.0, np.maximum(0.0, slopes.min(axis=1)))


def slope(times: Floats, values: Floats) -> float | None:
    """Return the least-squares slope per second; None from fewer than three points."""
    if len(times) < 3 or times[-1] <= times[0]:
        return None
    centred = times - times.mean()
    return float((centred * (values - values.mean())).sum() / (centred * centred).sum())
