"""Divides a process's wall time between its phases, nested and concurrent, so that nothing is counted twice.

Only the innermost open spans are credited. With one thread that is one span: nested phases are exclusive, and phases
sum to the wall time exactly (integer nanoseconds). If several threads or asyncio tasks are in spans at once, they share
the time equally, so the sum is still the wall time. Open spans are credited at every flush, so a phase of an hour shows
while it lasts.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar

from raymon.monitor.accumulator import Cell
from raymon.monitor.capture import Notes, PhaseNotes

_current: ContextVar["Span | None"] = ContextVar("raymon_span", default=None)


class Span:
    """One visit to a phase; `inner` counts the open spans directly inside it, `own` its nanoseconds outside those.

    `parent` is the enclosing span of the same `WallTime`, `outer` the enclosing span of any: a driver may sample
    itself. `cell` holds the nanoseconds of the phase; None if they are not counted. `whole` is a second name for
    captures, for a rollout that consists of one phase.
    """

    __slots__ = ("began", "cell", "inner", "opened", "outer", "own", "parent", "phase", "wall_time", "whole")

    def __init__(
        self,
        wall_time: "WallTime",
        phase: str,
        cell: Cell | None,
        outer: "Span | None",
        parent: "Span | None",
        began: int,
        whole: str,
    ) -> None:
        self.wall_time = wall_time
        self.phase = phase
        self.cell = cell
        self.outer = outer
        self.parent = parent
        self.began = began
        self.whole = whole
        self.inner = 0
        self.own = 0
        self.opened: bool = True


def entered() -> Iterator[Span]:
    """Yield the spans that this thread or task entered, of any `WallTime`, the innermost first."""
    span = _current.get()
    while span is not None:
        yield span
        span = span.outer


class WallTime:
    """Credits wall time to the cells of phases, in nanoseconds; a phase without a cell is overhead and counted nowhere.

    Args:
        cells: Phase to the cell that holds its nanoseconds.
        lock: The accumulator's lock, so that crediting and taking exclude each other.
        clock: Monotonic nanoseconds.
    """

    def __init__(
        self, cells: Mapping[str, Cell], lock: threading.RLock, clock: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self.lock = lock
        self._cells = cells
        self._clock = clock
        self._leaves: dict[Span, None] = {}
        self._mark = clock()
        self._idle: str | None = None
        self._notes: Notes | None = None

    def enter(self, phase: str, whole: str = "") -> Span:
        """Open a span inside the innermost open one of this thread or task."""
        with self.lock:
            outer = _current.get()
            while outer is not None and not outer.opened:
                outer = outer.outer
            parent = outer
            while parent is not None and not (parent.wall_time is self and parent.opened):
                parent = parent.outer
            span = Span(self, phase, self._cells.get(phase), outer, parent, self.settle(), whole)
            if parent is not None:
                parent.inner += 1
                self._leaves.pop(parent, None)
            self._leaves[span] = None
        _current.set(span)
        return span

    def leave(self, span: Span) -> int:
        """Close a span unless it is closed already; return the clock's reading."""
        with self.lock:
            now = self.settle()
            if span.opened:
                self._close(span)
        if _current.get() is span:
            _current.set(span.outer)
        return now

    def idle(self, phase: str | None) -> None:
        """Credit the time outside all spans to a phase from now on; None ends that."""
        with self.lock:
            if phase != self._idle:
                self.settle()
                self._idle = phase

    def add(self, phase: str, nanoseconds: int) -> None:
        """Credit time measured elsewhere; subtract it from the innermost open span, at most what that span has."""
        with self.lock:
            now = self.settle()
            if self._notes is not None:
                self._notes.part(phase, now, nanoseconds)
            self._credit(phase, nanoseconds)
            around = self.innermost()
            if around is not None:
                inside = min(nanoseconds, around.own)
                around.own -= inside
                if around.cell is not None:
                    around.cell.total -= inside

    def settle(self) -> int:
        """Credit the time since the last event to the innermost open spans; return the clock's reading."""
        now = self._clock()
        elapsed, self._mark = now - self._mark, now
        if self._leaves:
            share, rest = (elapsed, 0) if len(self._leaves) == 1 else divmod(elapsed, len(self._leaves))
            for span in self._leaves:
                span.own += share + rest
                if span.cell is not None:
                    span.cell.total += share + rest
                rest = 0
        elif self._idle is not None:
            self._credit(self._idle, elapsed)
        return now

    def innermost(self) -> Span | None:
        """Return the innermost span of this `WallTime` that is open in this thread or task."""
        span = _current.get()
        while span is not None and not (span.opened and span.wall_time is self):
            span = span.outer
        return span

    def passing(self) -> str | None:
        """Return the phase that is credited now; of several, the one entered last."""
        with self.lock:
            return next(reversed(self._leaves)).phase if self._leaves else self._idle

    def entered_at(self) -> int | None:
        """Return when the span that is credited now was entered; None outside all spans."""
        with self.lock:
            return next(reversed(self._leaves)).began if self._leaves else None

    def start_notes(self) -> None:
        """Record each phase from now on: a capture begins."""
        with self.lock:
            self._notes = Notes()

    def end_notes(self) -> PhaseNotes | None:
        """Stop recording phases; return those recorded and those still open, or None if no capture runs."""
        with self.lock:
            notes, self._notes = self._notes, None
            if notes is None:
                return None
            now = self.settle()
            for span in self._open():
                _note(notes, span, now)
            return notes.notes

    def _open(self) -> list[Span]:
        spans: dict[Span, None] = {}
        for leaf in self._leaves:
            span: Span | None = leaf
            while span is not None:
                if span.opened:
                    spans[span] = None
                span = span.parent
        return list(spans)

    def renew_after_fork(self, lock: threading.RLock) -> None:
        """In a forked child: close what only the parent's threads could close."""
        self.lock = lock
        for span in self._leaves:
            span.opened = False
        self._leaves.clear()
        self._mark = self._clock()
        self._idle = None
        self._notes = None

    def _credit(self, phase: str, nanoseconds: int) -> None:
        cell = self._cells.get(phase)
        if cell is not None:
            cell.total += nanoseconds

    def _close(self, span: Span) -> None:
        span.opened = False
        if self._notes is not None:
            _note(self._notes, span, self._mark)
        self._leaves.pop(span, None)
        parent = span.parent
        while parent is not None and not parent.opened:
            parent = parent.parent
        if parent is not None:
            parent.inner += span.inner - 1  # spans left open inside the closed one now count as inside its parent
            if parent.inner == 0:
                self._leaves[parent] = None


def _note(notes: Notes, span: Span, until: int) -> None:
    notes.span(span.phase, span.began, until)
    if span.whole:
        notes.span(span.whole, span.began, until)
