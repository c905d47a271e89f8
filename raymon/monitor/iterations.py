"""Iterations of the driver: their mean duration, and the context manager that times one."""

from collections import deque
from typing import Final, Protocol

from raymon.monitor.phase import Entry, Guarded, SpanContext
from raymon.monitor.wall_time import Span

WINDOW_SECONDS: Final = 10.0


class Durations:
    """Mean duration of the iterations that ended within the last seconds.

    The running one is left out: limits on silence are multiples of this mean and would grow during a hang.
    """

    def __init__(self) -> None:
        self._ended: deque[tuple[float, float]] = deque()
        self._began: float | None = None

    def begin(self, now: float) -> None:
        """Register the start of an iteration, in seconds of a monotonic clock."""
        self._began = now

    def end(self, now: float, finished: bool) -> None:
        """Register its end; an unfinished one has no duration."""
        began, self._began = self._began, None
        if finished and began is not None:
            self._ended.append((now, now - began))
            self._forget(now)

    def mean(self, now: float) -> float:
        """Return the mean; the last duration if none ended within the window; 0 before the first."""
        self._forget(now)
        return sum(seconds for _, seconds in self._ended) / len(self._ended) if self._ended else 0.0

    def _forget(self, now: float) -> None:
        while len(self._ended) > 1 and self._ended[0][0] < now - WINDOW_SECONDS:
            self._ended.popleft()


class Iterating(Guarded, Protocol):
    """What an iteration needs from its monitor."""

    def _begin_iteration(self) -> Entry: ...

    def _end_iteration(self, span: Span, finished: bool) -> None: ...


class Iteration(SpanContext[Iterating]):
    """The context manager of `DriverMonitor.iteration`."""

    __slots__ = ("_updated",)
    WHAT = "iteration"

    def __init__(self, monitor: Iterating) -> None:
        super().__init__(monitor)
        self._updated = True

    def without_update(self) -> None:
        """Mark this iteration as one without an update: its time counts, an update does not."""
        self._updated = False

    def _enter(self) -> Entry:
        span, own = self._monitor._begin_iteration()
        self._updated = self._updated or own
        return span, own

    def _leave(self, span: Span, error: BaseException | None) -> None:
        self._monitor._end_iteration(span, error is None and self._updated)
