"""Iterations of the driver: how long they take, and the context manager that times one."""

from collections import deque
from types import TracebackType
from typing import Final, Protocol, Self

from raymon.monitor.timeline import Span

WINDOW_SECONDS: Final = 10.0


class Durations:
    """Mean duration of the iterations of the last seconds; the running one counts when it is longer than that."""

    def __init__(self) -> None:
        self._ended: deque[tuple[float, float]] = deque()
        self._began: float | None = None

    def begin(self, now: float) -> None:
        """Note that an iteration begins, by a monotonic clock in seconds."""
        self._began = now

    def end(self, now: float, finished: bool) -> None:
        """Note that it ends; one that came to nothing has no duration."""
        began, self._began = self._began, None
        if finished and began is not None:
            self._ended.append((now, now - began))
            self._forget(now)

    def mean(self, now: float) -> float:
        """Return the mean; of the last one alone when none ended within the window; 0 before the first."""
        self._forget(now)
        running = 0.0 if self._began is None else now - self._began
        mean = sum(seconds for _, seconds in self._ended) / len(self._ended) if self._ended else 0.0
        return max(mean, running)

    def _forget(self, now: float) -> None:
        while len(self._ended) > 1 and self._ended[0][0] < now - WINDOW_SECONDS:
            self._ended.popleft()


class Iterating(Protocol):
    """What an iteration needs of the monitor it belongs to."""

    enabled: bool

    def drop(self, what: str, error: BaseException) -> None:
        """Count an observation that could not be recorded."""

    def _begin_iteration(self) -> Span: ...

    def _end_iteration(self, span: Span, finished: bool) -> None: ...


class Iteration:
    """The context manager of `DriverMonitor.iteration`."""

    __slots__ = ("_monitor", "_span", "_updated")

    def __init__(self, monitor: Iterating) -> None:
        self._monitor = monitor
        self._span: Span | None = None
        self._updated = True

    def without_update(self) -> None:
        """Say that this iteration made no new policy: its time counts, an update does not."""
        self._updated = False

    def __enter__(self) -> Self:
        monitor = self._monitor
        if monitor.enabled:
            try:
                self._span = monitor._begin_iteration()
            except Exception as error:  # noqa: BLE001  # recording never breaks training
                monitor.drop("iteration", error)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if self._span is not None:
            try:
                self._monitor._end_iteration(self._span, finished=kind is None and self._updated)
            except Exception as error:  # noqa: BLE001  # recording never breaks training
                self._monitor.drop("iteration", error)
